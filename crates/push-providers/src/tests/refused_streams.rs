//! What HTTP/2 refuses unprocessed is tried again at once, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use push_core::outcome::{Outcome, Sent, Withheld};
use serde_json::json;
use tokio::runtime::Handle;

use crate::expo::api::ExpoApi;
use crate::expo::batcher::Batcher;
use crate::fcm::client::FcmClient;
use crate::fcm::connections::Connections;
use crate::tests::golden;
use crate::tests::raw_h2::{self, Turn};
use crate::tests::server::{Reply, Server};
use crate::{ExpoSettings, FcmSettings, Look, StillWanted, http};

const PATIENT: Duration = Duration::from_secs(30);
const FCM_TAKES_IT: Turn = Turn::Answer(r#"{"name":"projects/p/messages/1"}"#);
const EXPO_TAKES_IT: Turn = Turn::Answer(r#"{"data":[{"status":"ok","id":"1"}]}"#);
const ACCEPTED: &str = "accepted";

/// What the server does, the outcome's code, whether it may have been sent, and how many requests that took.
const FCM: &[(&[Turn], &str, Sent, usize)] = &[
    (
        &[Turn::RefuseStream, FCM_TAKES_IT],
        ACCEPTED,
        Sent::SurelyNot,
        2,
    ),
    (
        &[Turn::GoAway, Turn::RefuseStream, FCM_TAKES_IT],
        ACCEPTED,
        Sent::SurelyNot,
        3,
    ),
    (&[Turn::RefuseStream], "stream_refused", Sent::SurelyNot, 3),
    (&[Turn::GoAway], "stream_refused", Sent::SurelyNot, 3),
    (&[Turn::BreakStream], "connection_lost", Sent::Maybe, 1),
    (
        &[Turn::BreakStream, FCM_TAKES_IT],
        "connection_lost",
        Sent::Maybe,
        1,
    ),
    (
        &[Turn::GoAwayAfter, FCM_TAKES_IT],
        "connection_lost",
        Sent::Maybe,
        1,
    ),
    (
        &[Turn::Hangup, FCM_TAKES_IT],
        "connection_lost",
        Sent::Maybe,
        1,
    ),
];
const EXPO: &[(&[Turn], &str, Sent, usize)] = &[
    (
        &[Turn::RefuseStream, EXPO_TAKES_IT],
        ACCEPTED,
        Sent::SurelyNot,
        2,
    ),
    (
        &[Turn::GoAway, Turn::RefuseStream, EXPO_TAKES_IT],
        ACCEPTED,
        Sent::SurelyNot,
        3,
    ),
    (&[Turn::RefuseStream], "stream_refused", Sent::SurelyNot, 3),
    (&[Turn::GoAway], "stream_refused", Sent::SurelyNot, 3),
    (&[Turn::BreakStream], "connection_lost", Sent::Maybe, 1),
    (
        &[Turn::BreakStream, EXPO_TAKES_IT],
        "connection_lost",
        Sent::Maybe,
        1,
    ),
    (
        &[Turn::GoAwayAfter, EXPO_TAKES_IT],
        "connection_lost",
        Sent::Maybe,
        1,
    ),
];

/// `http://` negotiates nothing, so the client is told to speak HTTP/2.
fn client(request_timeout: Duration) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    http::builder(request_timeout)
        .http2_prior_knowledge()
        .build()
        .unwrap()
}

pub(super) fn told(outcome: &Outcome) -> (String, Sent) {
    match outcome {
        Outcome::Accepted(_) => (ACCEPTED.to_owned(), Sent::SurelyNot),
        Outcome::Retry(retry) => (retry.cause.code.clone(), retry.sent),
        Outcome::TokenDead(_) | Outcome::OperatorMustAct { .. } | Outcome::Refused(_) => {
            panic!("{outcome:?}")
        }
    }
}

pub(super) async fn google() -> Server {
    Server::start(|_| Reply::json(200, &json!({"access_token": "a", "expires_in": 3599}))).await
}

pub(super) fn fcm_at(base_url: String, token_uri: String, request_timeout: Duration) -> FcmClient {
    let settings = FcmSettings {
        project_id: "p".to_owned(),
        client_email: "x@p.iam.gserviceaccount.com".to_owned(),
        private_key: include_str!("../../tests/it/data/throwaway_key.pem").into(),
        token_uri,
        base_url,
        max_in_flight: 1,
        request_timeout,
        look: Look::default(),
    };
    FcmClient::with(
        settings,
        Connections::with(vec![client(request_timeout)], 1),
    )
    .unwrap()
}

pub(super) fn expo_at(base_url: String, request_timeout: Duration) -> Batcher {
    let settings = ExpoSettings {
        base_url,
        access_token: None,
        rate: 600.try_into().unwrap(),
        request_timeout,
        look: Look::default(),
    };
    let api = ExpoApi::with_client(settings, client(request_timeout));
    Batcher::start(Arc::new(api), &Handle::current())
}

#[tokio::test]
async fn fcm() {
    let tokens = google().await;
    for (turns, code, sent, count) in FCM {
        let raw_h2::Server {
            url: base_url,
            requests,
            ..
        } = raw_h2::start(turns).await;
        let fcm = fcm_at(base_url, tokens.url.clone(), PATIENT);
        let outcome = fcm.send(&golden::push_now("fcm")).await.unwrap();
        assert_eq!(
            (told(&outcome), requests.load(SeqCst)),
            (((*code).to_owned(), *sent), *count),
            "{turns:?}"
        );
    }
}

#[tokio::test]
async fn expo() {
    for (turns, code, sent, count) in EXPO {
        let raw_h2::Server {
            url: base_url,
            requests,
            ..
        } = raw_h2::start(turns).await;
        let batcher = expo_at(base_url, PATIENT);
        let outcome = batcher.send(golden::push_now("expo")).await.unwrap();
        assert_eq!(
            (told(&outcome), requests.load(SeqCst)),
            (((*code).to_owned(), *sent), *count),
            "{turns:?}"
        );
    }
}

/// The claim ends with the first request.
#[derive(Debug)]
struct UntilAsked(Arc<AtomicUsize>);

impl StillWanted for UntilAsked {
    fn withheld(&self) -> Option<Withheld> {
        (self.0.load(SeqCst) > 0).then_some(Withheld::ClaimOver)
    }
}

#[tokio::test]
async fn what_is_wanted_no_more_is_not_tried_again_at_once() {
    let tokens = google().await;
    let raw_h2::Server {
        url: base_url,
        requests,
        ..
    } = raw_h2::start(&[Turn::RefuseStream, FCM_TAKES_IT]).await;
    let mut push = golden::push_now("fcm");
    push.still_wanted = Arc::new(UntilAsked(Arc::clone(&requests)));
    let sent = fcm_at(base_url, tokens.url.clone(), PATIENT)
        .send(&push)
        .await;
    assert_eq!((sent, requests.load(SeqCst)), (Err(Withheld::ClaimOver), 1));

    let raw_h2::Server {
        url: base_url,
        requests,
        ..
    } = raw_h2::start(&[Turn::RefuseStream, EXPO_TAKES_IT]).await;
    let mut push = golden::push_now("expo");
    push.still_wanted = Arc::new(UntilAsked(Arc::clone(&requests)));
    let sent = expo_at(base_url, PATIENT).send(push).await;
    assert_eq!((sent, requests.load(SeqCst)), (Err(Withheld::ClaimOver), 1));
}
