//! In `push-api`: from the request's bytes to the answer's, the row and the message.

use std::convert::Infallible;

use push_api::counted::{answer, read};
use push_api::keys::ApiKeys;
use push_api::privacy::{Guard, PrivacyGuard};
use push_api::request::Problems;
use push_core::job::Job;
use push_core::trace::TraceContext;
use push_queue::Message;
use push_seal::{Keyring, Place};
use push_store::counted::accepted;
use push_trace::{Span, SpanKind};
use serde_json::Value;

use crate::Case;
use crate::samples::{BODY, catalogue, job, keys, notification, now};

/// Who may call, as one who has several programs writes it.
const API_KEYS: &str = "backend:send+register:first-secret-of-the-backend,console:read+admin:secret-of-the-console,\
    app:register:secret-of-the-app,reports:read:secret-of-the-reports";
const SECRET: &str = "first-secret-of-the-backend";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub fn cases() -> anyhow::Result<Vec<Case>> {
    Ok(vec![
        api_key()?,
        reading()?,
        privacy_guard()?,
        row("api: row", Keyring::default())?,
        row("api: row sealed", keys()?)?,
        message()?,
        spans()?,
        sealing()?,
        answering()?,
    ])
}

fn api_key() -> anyhow::Result<Case> {
    let keys = ApiKeys::parse(API_KEYS).map_err(anyhow::Error::msg)?;
    Case::new("api: key", move || {
        keys.find(SECRET).map(|key| key.scopes()).ok_or("unknown")
    })
}

fn reading() -> anyhow::Result<Case> {
    let (catalogue, guard) = (catalogue()?, PrivacyGuard::Reject(Default::default()));
    Case::new("api: body", move || {
        read(BODY.as_bytes(), now(), &catalogue, guard.towards("backend"))
    })
}

/// Once more, by itself: it is a part of reading.
fn privacy_guard() -> anyhow::Result<Case> {
    let body: Value = serde_json::from_str(BODY)?;
    Case::new("api: privacy guard", move || {
        let (guard, mut problems) = (Guard::Reject(None), Problems::default());
        guard.check_text(&mut problems, "title", body["title"].as_str());
        guard.check_text(&mut problems, "body", body["body"].as_str());
        guard.check_data(&mut problems, body["data"].as_object());
        problems.finish(Some(()))
    })
}

fn row(name: &'static str, keys: Keyring) -> anyhow::Result<Case> {
    let notification = notification()?;
    Case::new(name, move || {
        accepted(&keys, &notification, "from backend", now())
    })
}

fn message() -> anyhow::Result<Case> {
    let notification = notification()?;
    let trace = TraceContext::parse(TRACE);
    Case::new("api: job", move || {
        let job = Job::first(notification.clone());
        Ok::<_, Infallible>(Message::job(&job, trace))
    })
}

/// Without a collector, in a trace that its caller records.
fn spans() -> anyhow::Result<Case> {
    let caller = TraceContext::parse(TRACE);
    Case::new("api: spans sent nowhere", move || {
        let request = Span::of_request(caller);
        let [commit, publish] = [(); 2].map(|()| Span::within(request.context()));
        for span in [&commit, &publish, &request] {
            span.end(SpanKind::Internal, "span", |_| {});
        }
        Ok::<_, Infallible>(publish.context())
    })
}

fn sealing() -> anyhow::Result<Case> {
    let (keys, json) = (keys()?, String::from_utf8(job()?.encode())?);
    Case::new("api: job sealed", move || {
        keys.seal(&Place::of("push.job", &[]), json.clone())
    })
}

fn answering() -> anyhow::Result<Case> {
    let notification = notification()?;
    Case::new("api: answer", move || {
        Ok::<_, Infallible>(answer(&notification))
    })
}
