//! FCM HTTP v1: `POST /v1/projects/{project}/messages:send`.
//!
//! A request is judged in the order of the real service: access token, JSON layer, FCM layer. Only a
//! request that passes all three reaches the scripts, so that no script can hide a faulty payload.

mod limits;
mod message;
mod refusal;
mod schema;
mod validate;

use std::fmt::Write as _;

use axum::body::Body;
use http::request::Parts;
use http::{Response, StatusCode, header};

use self::message::Message;
use self::refusal::Refusal;
use crate::json::Json;
use crate::lane::Provider;
use crate::record::Entry;
use crate::reply;
use crate::script;
use crate::sim::{Sim, Verdict};

/// The project of a path, if it is that of `messages:send`.
pub(crate) fn project_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/projects/")?
        .strip_suffix("/messages:send")
        .filter(|project| !project.is_empty() && !project.contains('/'))
}

/// Judges one send, records it and shows it on the phone.
pub(crate) fn send(sim: &Sim, project: &str, head: &Parts, body: &[u8]) -> Verdict {
    let now_ms = sim.clock.now_ms();
    let request = sim.record.next_request();
    let parsed = Json::parse(body);
    let message = parsed.as_ref().ok().map(Message::read);
    let target = message.as_ref().and_then(|message| message.target);
    let token = target.map_or("", message::Target::name);
    let verdict = sim
        .outage(Provider::Fcm)
        .or_else(|| unauthenticated(sim, head, now_ms))
        .or_else(|| invalid(&parsed, message.as_ref()))
        .unwrap_or_else(|| answer(sim, token, || named(project, now_ms, request)));
    let validate_only = message
        .as_ref()
        .is_some_and(|message| message.validate_only);
    let accepted = verdict.accepted && !validate_only;
    sim.record.push(&Entry {
        request,
        at_ms: now_ms,
        provider: Provider::Fcm,
        token,
        http: head.version,
        status: verdict.status(),
        accepted,
        note: verdict.note.or(validate_only.then_some("validate_only")),
        headers: &head.headers,
        body,
    });
    if let Some(tokens) = sim.tokens(Provider::Fcm) {
        tokens.count(token, accepted);
    }
    if accepted {
        sim.lane(Provider::Fcm).count_accepted(1);
        if let Some(message) = message.filter(|_| target.is_some_and(message::Target::is_device)) {
            sim.phones
                .arrive(now_ms, Provider::Fcm, token, &message.push());
        }
    }
    verdict
}

fn unauthenticated(sim: &Sim, head: &Parts, now_ms: u64) -> Option<Verdict> {
    let header = head.headers.get(header::AUTHORIZATION);
    let bearer = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match bearer {
        Some(token) if sim.oauth.is_valid(token, now_ms) => None,
        // Neither has an FcmError (providers' page "Error shape", row 401 without errorCode).
        Some(_) => Some(Verdict::refused(
            script::recorded(Provider::Fcm, "bad_access_token"),
            "bad_access_token",
        )),
        None => Some(Verdict::refused(
            reply::json(StatusCode::UNAUTHORIZED, CREDENTIALS_MISSING),
            "no_access_token",
        )),
    }
}

const CREDENTIALS_MISSING: &str = r#"{"error":{"code":401,"message":"Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.","status":"UNAUTHENTICATED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CREDENTIALS_MISSING","domain":"googleapis.com","metadata":{"service":"fcm.googleapis.com","method":"google.firebase.fcm.v1.FcmService.SendMessage"}}]}}"#;

fn invalid(
    parsed: &serde_json::Result<Json<'_>>,
    message: Option<&Message<'_>>,
) -> Option<Verdict> {
    let refusal = match parsed {
        Err(error) => Refusal::NotJson(error.to_string()),
        Ok(request) => {
            let violations = validate::violations(request);
            if violations.is_empty() {
                limits::check(message?).err()?
            } else {
                Refusal::Json(violations)
            }
        }
    };
    Some(Verdict::refused(refusal.response(), "invalid_argument"))
}

fn answer(sim: &Sim, token: &str, ordinary: impl FnOnce() -> Response<Body>) -> Verdict {
    match sim.scripts.take(Provider::Fcm, token) {
        Some(scripted) => Verdict::scripted(&scripted, ordinary),
        None => Verdict::accepted(ordinary()),
    }
}

/// `projects/<project>/messages/0:<microseconds>%<hex>`: the shape of device sends in Firebase's docs.
fn named(project: &str, now_ms: u64, number: u64) -> Response<Body> {
    let mut body = String::with_capacity(96);
    // Writing to a String does not fail.
    let _ = write!(
        body,
        r#"{{"name":"projects/{project}/messages/0:{}%{number:016x}"}}"#,
        now_ms * 1000
    );
    reply::json(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_path_sends() {
        assert_eq!(
            project_of("/v1/projects/my-app/messages:send"),
            Some("my-app")
        );
        for path in [
            "/v1/projects//messages:send",
            "/v1/projects/a/b/messages:send",
            "/v1/projects/a/messages:send/",
            "/v1/projects/a/messages",
            "/batch",
        ] {
            assert_eq!(project_of(path), None, "{path}");
        }
    }
}
