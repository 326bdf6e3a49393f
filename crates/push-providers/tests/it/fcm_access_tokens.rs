//! Access tokens: one for all, and a new one when FCM wants it.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use push_providers::{CheckError, Fcm, PushProvider};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::server::{self, Reply, Request, Server};
use crate::support::{
    clock_reads, expiry, fcm_settings, fcm_token, fixture_cases, gated_token_endpoint,
    install_crypto, push, push_for_a_moment, recorded, token_endpoint, words,
};

const FIXTURE: &str = include_str!("../../../../tests/fixtures/providers/fcm/errors.json");

/// Takes these access tokens and no others.
async fn fcm_that_takes(good: &'static [&'static str]) -> Server {
    Server::start(move |request| {
        if good
            .iter()
            .any(|token| authorization(request) == format!("Bearer {token}"))
        {
            return Reply::json(200, &json!({"name": "projects/p/messages/1"}));
        }
        Reply::json(
            401,
            &json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}),
        )
    })
    .await
}

fn authorization(request: &Request) -> String {
    request.headers["authorization"].clone()
}

#[tokio::test]
async fn a_stale_one_is_replaced_at_once_and_for_all() {
    install_crypto();
    let (server, tokens) = (fcm_that_takes(&["access-2"]).await, token_endpoint().await);
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    let outcomes = join_all((0..30).map(|_| fcm.send(push(fcm_token("device"))))).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    assert_eq!(
        tokens.seen().len(),
        2,
        "one at first, and one for all who were refused"
    );
    assert!(words(&fcm.send(push(fcm_token("device"))).await).starts_with("accepted"));
    assert_eq!(tokens.seen().len(), 2, "the new one is kept");
}

#[tokio::test]
async fn when_the_new_one_is_refused_too_an_operator_must_act() {
    install_crypto();
    let (server, tokens) = (fcm_that_takes(&[]).await, token_endpoint().await);
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    assert_eq!(
        words(&fcm.send(push(fcm_token("device"))).await),
        "operator: UNAUTHENTICATED"
    );
    let seen: Vec<String> = server.seen().iter().map(authorization).collect();
    assert_eq!(
        seen,
        ["Bearer access-1", "Bearer access-2"],
        "once more, not more often"
    );
    assert_eq!(
        words(&fcm.send(push(fcm_token("device"))).await),
        "operator: UNAUTHENTICATED"
    );
    assert_eq!(
        (server.seen().len(), tokens.seen().len()),
        (2, 2),
        "for a while, nobody is bothered with it"
    );
}

#[tokio::test]
async fn what_expires_while_an_access_token_is_waited_for_is_not_sent() {
    install_crypto();
    let gate = Arc::new(Semaphore::new(0));
    let (server, tokens) = (
        fcm_that_takes(&["access-1"]).await,
        gated_token_endpoint(Arc::clone(&gate)).await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    let push = push_for_a_moment(fcm_token("device"));
    let meanwhile = async {
        expiry(&push).await;
        gate.add_permits(1);
    };
    let (outcome, ()) = futures::join!(fcm.send(push.clone()), meanwhile);
    assert_eq!(words(&outcome), "withheld: Expired");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_waits_for_another_access_token_has_less_time_to_live() {
    install_crypto();
    let gate = Arc::new(Semaphore::new(1));
    let (server, tokens) = (
        fcm_that_takes(&["access-2"]).await,
        gated_token_endpoint(Arc::clone(&gate)).await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    let meanwhile = async {
        server.arrival().await;
        clock_reads(Utc::now() + TimeDelta::seconds(1)).await;
        gate.add_permits(1);
    };
    let (outcome, ()) = futures::join!(fcm.send(push(fcm_token("device"))), meanwhile);
    assert!(words(&outcome).starts_with("accepted"), "{outcome:?}");
    let ttl = |request: &Request| {
        let ttl = request.json()["message"]["android"]["ttl"].clone();
        let seconds = ttl.as_str().and_then(|ttl| ttl.strip_suffix('s'));
        seconds.unwrap().parse::<u64>().unwrap()
    };
    let seen = server.seen();
    assert!(ttl(&seen[1]) < ttl(&seen[0]), "a second has passed");
}

#[tokio::test]
async fn a_wrong_apns_key_is_not_cured_by_a_new_access_token() {
    install_crypto();
    let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "THIRD_PARTY_AUTH_ERROR"});
    let server =
        Server::start(move |_| Reply::json(401, &json!({"error": {"details": [detail]}}))).await;
    let tokens = token_endpoint().await;
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    assert_eq!(
        words(&fcm.send(push(fcm_token("device"))).await),
        "operator: THIRD_PARTY_AUTH_ERROR"
    );
    assert_eq!((server.seen().len(), tokens.seen().len()), (1, 1));
}

#[tokio::test]
async fn many_who_wait_share_one_fetch() {
    install_crypto();
    let (server, tokens) = (fcm_that_takes(&["access-1"]).await, token_endpoint().await);
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    join_all((0..50).map(|_| fcm.send(push(fcm_token("device"))))).await;
    fcm.check().await.unwrap();
    assert_eq!(tokens.seen().len(), 1);
    let form = String::from_utf8(tokens.seen()[0].body.clone()).unwrap();
    assert!(form.starts_with(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
    ));
}

#[tokio::test]
async fn every_recorded_answer_of_the_token_endpoint_has_its_row() {
    install_crypto();
    let rows = [
        ("invalid_grant", "operator: invalid_grant"),
        ("account_not_found", "operator: invalid_grant"),
        ("clock_skew", "operator: invalid_grant"),
        (
            "server_error",
            "retry: token_http_503, at least 10 s, surely not sent",
        ),
    ];
    let cases = fixture_cases(FIXTURE, "oauth_token_endpoint");
    assert_eq!(
        cases.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        rows.map(|(id, _)| id)
    );
    for ((id, case), (_, expected)) in cases.iter().zip(rows) {
        assert_eq!(without_token(recorded(case)).await, expected, "{id}");
    }
}

#[tokio::test]
async fn other_troubles_of_the_token_endpoint_pass_by_themselves() {
    install_crypto();
    let rows = [
        (
            Reply::json(429, &json!({})),
            "retry: token_http_429, at least 10 s, surely not sent",
        ),
        (
            Reply::json(200, &json!({"token_type": "Bearer"})),
            "retry: token_answer_unreadable, at least 10 s, surely not sent",
        ),
        (
            Reply::Close,
            "retry: token_endpoint_unreachable, at least 10 s, surely not sent",
        ),
        (
            Reply::json(404, &json!({"error": "has spaces and eyJhbGci"})),
            "operator: token_http_404",
        ),
    ];
    for (reply, expected) in rows {
        assert_eq!(without_token(reply).await, expected);
    }
}

/// What a push becomes when the token endpoint always answers this; FCM is never asked.
async fn without_token(reply: Reply) -> String {
    let (server, tokens) = (
        fcm_that_takes(&[]).await,
        Server::start(move |_| reply.clone()).await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    let words = words(&fcm.send(push(fcm_token("device"))).await);
    assert!(server.seen().is_empty());
    let before = tokens.seen().len();
    assert!(
        fcm.check().await.is_err(),
        "for a moment, the answer stands for all who ask"
    );
    assert_eq!(tokens.seen().len(), before);
    words
}

#[tokio::test]
async fn the_check_tells_a_refusal_from_an_outage() {
    install_crypto();
    let server = Server::start(|_| Reply::json(400, &json!({"error": "invalid_grant"}))).await;
    let refused = Fcm::new(fcm_settings("http://unused", &server.url))
        .unwrap()
        .check()
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, CheckError::Refused { code, .. } if code == "invalid_grant"),
        "{refused}"
    );

    let nobody = format!("http://{}/token", server::refusing().await);
    let unreachable = Fcm::new(fcm_settings("http://unused", &nobody))
        .unwrap()
        .check()
        .await
        .unwrap_err();
    assert!(
        matches!(&unreachable, CheckError::Unreachable { .. }),
        "{unreachable}"
    );
}

/// The clock of this test jumps to the next timer whenever all wait.
#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_hangs_is_given_up() {
    install_crypto();
    let silent = Server::start(|_| Reply::Silence).await;
    let fcm = Fcm::new(fcm_settings("http://unused", &silent.url)).unwrap();
    let told = fcm.check().await.unwrap_err();
    assert!(
        matches!(&told, CheckError::Unreachable { code, .. } if code == "token_timeout"),
        "{told}"
    );
}
