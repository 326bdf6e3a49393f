//! What every answer of FCM, and every way in which a connection can fail, means: over real sockets.

use std::time::Duration;

use push_core::outcome::Outcome;
use push_providers::{Fcm, PushProvider};
use serde_json::json;

use crate::support::outcomes::{
    Row, Subject, outcome_of, run, run_recorded, run_without_connection,
};
use crate::support::server::{self, Reply, Server};
use crate::support::{
    PATIENT, fcm_settings, fcm_token, install_crypto, outcome_words, push, token_endpoint,
};

const FIXTURE: &str = include_str!("../../../../tests/fixtures/providers/fcm/errors.json");

const ACCEPTED: &str =
    "accepted projects/your-project-id/messages/0:1500415314455276%31bd1c9631bd1c96";

/// The recorded answers, by their ids in the fixture.
const RECORDED: &[(&str, &str)] = &[
    ("ok", ACCEPTED),
    // 400: our payload, unless the body says that it is the token.
    ("invalid_token", "dead: INVALID_ARGUMENT"),
    ("invalid_token_documented", "dead: INVALID_ARGUMENT"),
    ("invalid_token_older_wording", "dead: INVALID_ARGUMENT"),
    ("no_target", "refused: INVALID_ARGUMENT"),
    ("unknown_field", "refused: INVALID_ARGUMENT"),
    ("non_string_data", "refused: INVALID_ARGUMENT"),
    ("too_big_android", "refused: INVALID_ARGUMENT"),
    ("too_big_generic", "refused: INVALID_ARGUMENT"),
    ("bare_invalid_argument", "refused: INVALID_ARGUMENT"),
    ("future_error_code", "refused: SOME_FUTURE_CODE"),
    // 401, 403, 404: configuration, unless the code says UNREGISTERED.
    ("third_party_auth", "operator: THIRD_PARTY_AUTH_ERROR"),
    (
        "third_party_auth_misleading_text",
        "operator: THIRD_PARTY_AUTH_ERROR",
    ),
    ("bad_access_token", "operator: UNAUTHENTICATED"),
    ("sender_id_mismatch", "operator: SENDER_ID_MISMATCH"),
    ("iam_permission_denied", "operator: IAM_PERMISSION_DENIED"),
    ("api_disabled", "operator: SERVICE_DISABLED"),
    ("unregistered", "dead: UNREGISTERED"),
    ("not_found_without_fcm_error", "operator: NOT_FOUND"),
    ("not_found_html", "operator: http_404"),
    // 429: not taken.
    (
        "project_quota",
        "retry: RATE_LIMIT_EXCEEDED, at least 60 s, surely not sent",
    ),
    (
        "quota_exceeded",
        "retry: QUOTA_EXCEEDED, asked 60 s, surely not sent",
    ),
    // 5xx: not taken only where FCM itself says so.
    ("internal", "retry: INTERNAL, at least 10 s, maybe sent"),
    (
        "internal_bare",
        "retry: INTERNAL, at least 10 s, maybe sent",
    ),
    (
        "bad_gateway_html",
        "retry: http_502, at least 10 s, maybe sent",
    ),
    (
        "unavailable",
        "retry: UNAVAILABLE, at least 10 s, surely not sent",
    ),
    (
        "unavailable_retry_after_1",
        "retry: UNAVAILABLE, asked 1 s, surely not sent",
    ),
    (
        "unavailable_retry_after_120",
        "retry: UNAVAILABLE, asked 120 s, surely not sent",
    ),
    (
        "unspecified_error",
        "retry: UNSPECIFIED_ERROR, at least 10 s, maybe sent",
    ),
    // No answer, or none that says anything.
    ("ok_not_json", "retry: not_json, at least 10 s, maybe sent"),
    (
        "connection_reset",
        "retry: connection_lost, at least 10 s, maybe sent",
    ),
    ("no_answer", "retry: timeout, at least 10 s, maybe sent"),
];

fn with_code(status: u16, code: &str) -> Reply {
    let detail =
        json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
    Reply::json(
        status,
        &json!({"error": {"code": status, "status": "WHATEVER", "message": "x", "details": [detail]}}),
    )
}

fn html(status: u16, headers: &[(&str, &str)]) -> Reply {
    Reply::http(status, headers, b"<!DOCTYPE html><p>no JSON")
}

/// Rows of the provider's table that nobody recorded, and answers that no provider should give.
fn constructed() -> Vec<Row> {
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let unavailable = |retry_after: &str| match with_code(503, "UNAVAILABLE") {
        Reply::Http { status, body, .. } => {
            let body = String::from_utf8(body)
                .unwrap()
                .replace("WHATEVER", "UNAVAILABLE")
                .into_bytes();
            Reply::Http {
                status,
                headers: vec![("retry-after".to_owned(), retry_after.to_owned())],
                body,
            }
        }
        other => other,
    };
    vec![
        (
            "UNREGISTERED is a 404",
            with_code(400, "UNREGISTERED"),
            "refused: UNREGISTERED",
        ),
        (
            "an unknown code under 401",
            with_code(401, "NEW"),
            "operator: NEW",
        ),
        (
            "an unknown code under 403",
            with_code(403, "NEW"),
            "operator: NEW",
        ),
        (
            "an unknown code under 404",
            with_code(404, "NEW"),
            "operator: NEW",
        ),
        (
            "an unknown code under 409",
            with_code(409, "NEW"),
            "refused: NEW",
        ),
        (
            "a code that looks like a token is none",
            with_code(400, "dEaD:APA91b"),
            "refused: WHATEVER",
        ),
        ("401 in HTML", html(401, &[]), "operator: UNAUTHENTICATED"),
        (
            "408",
            html(408, &[]),
            "retry: http_408, at least 10 s, maybe sent",
        ),
        (
            "429 in HTML",
            html(429, &[("retry-after", "7")]),
            "retry: http_429, asked 7 s, surely not sent",
        ),
        (
            "Retry-After is nonsense",
            html(429, &[("retry-after", "soon")]),
            "retry: http_429, at least 60 s, surely not sent",
        ),
        (
            "503 of a gateway",
            html(503, &[]),
            "retry: http_503, at least 10 s, maybe sent",
        ),
        (
            "503 of Google's front end",
            Reply::json(
                503,
                &json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}),
            ),
            "retry: UNAVAILABLE, at least 10 s, maybe sent",
        ),
        (
            "504",
            html(504, &[]),
            "retry: http_504, at least 10 s, maybe sent",
        ),
        (
            "Retry-After is a date",
            unavailable(past),
            "retry: UNAVAILABLE, asked 0 s, surely not sent",
        ),
        (
            "Retry-After is a far date",
            unavailable("Fri, 31 Dec 2094 08:49:37 GMT"),
            "retry: UNAVAILABLE, asked 86400 s, surely not sent",
        ),
        (
            "200 without a name",
            Reply::json(200, &json!({})),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "200 with an odd name",
            Reply::json(200, &json!({"name": 5})),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "204",
            Reply::Http {
                status: 204,
                headers: Vec::new(),
                body: Vec::new(),
            },
            "retry: http_204, at least 10 s, maybe sent",
        ),
        (
            "details are no list",
            Reply::json(
                404,
                &json!({"error": {"details": {"errorCode": "UNREGISTERED"}}}),
            ),
            "operator: http_404",
        ),
        (
            "JSON without end",
            Reply::Http {
                status: 404,
                headers: Vec::new(),
                body: b"[".repeat(60_000),
            },
            "operator: http_404",
        ),
        (
            "cut short, accepted",
            Reply::cut_short(200),
            "retry: answer_broken_off, at least 10 s, maybe sent",
        ),
        (
            "cut short, refused",
            Reply::cut_short(404),
            "retry: answer_broken_off, at least 10 s, surely not sent",
        ),
        (
            "cut short, failed",
            Reply::cut_short(500),
            "retry: http_500, at least 10 s, maybe sent",
        ),
        (
            "closed instead of an answer",
            Reply::Close,
            "retry: connection_lost, at least 10 s, maybe sent",
        ),
        (
            "not HTTP",
            Reply::Bytes(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
            "retry: connection_lost, at least 10 s, maybe sent",
        ),
        (
            "endless",
            Reply::endless(200, "connection: close"),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "a gigabyte",
            Reply::endless(200, "content-length: 1073741824"),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "an endless 404",
            Reply::endless(404, "connection: close"),
            "operator: http_404",
        ),
        (
            "endless headers",
            Reply::Bytes([b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(200)].concat()),
            "retry: connection_lost, at least 10 s, maybe sent",
        ),
    ]
}

struct ThroughFcm;

impl Subject for ThroughFcm {
    const SECRET: &str = "APA91b";

    async fn send(base_url: &str, request_timeout: Duration) -> Outcome {
        let tokens = token_endpoint().await;
        let mut settings = fcm_settings(base_url, &tokens.url);
        settings.request_timeout = request_timeout;
        let fcm = Fcm::new(settings).unwrap();
        fcm.send(push(fcm_token("secret"))).await.unwrap()
    }
}

#[tokio::test]
async fn every_recorded_answer_has_its_row() {
    run_recorded::<ThroughFcm>(FIXTURE, "cases", RECORDED, &["bad_access_token"]).await;
}

#[tokio::test]
async fn every_other_answer_has_its_row() {
    run::<ThroughFcm>(constructed()).await;
}

#[tokio::test]
async fn a_slow_drip_ends_with_the_time_for_a_request() {
    let drip = |status| outcome_of::<ThroughFcm>(Reply::drip(status));
    assert_eq!(
        outcome_words(&drip(200).await),
        "retry: timeout, at least 10 s, maybe sent"
    );
    assert_eq!(
        outcome_words(&drip(400).await),
        "retry: timeout, at least 10 s, surely not sent"
    );
    assert_eq!(
        outcome_words(&drip(503).await),
        "retry: http_503, at least 10 s, maybe sent"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stranger =
        Server::start(|_| Reply::json(200, &json!({"name": "projects/x/messages/1"}))).await;
    for status in [301, 302, 307, 308] {
        let location = [("location", stranger.url.as_str())];
        let outcome = outcome_of::<ThroughFcm>(Reply::http(status, &location, b"")).await;
        assert_eq!(
            outcome_words(&outcome),
            format!("retry: http_{status}, at least 10 s, maybe sent")
        );
    }
    assert!(
        stranger.seen().is_empty(),
        "the token stays with the provider"
    );
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    run_without_connection::<ThroughFcm>().await;
}

#[tokio::test]
async fn a_connection_that_is_reset_at_once_may_have_had_the_request() {
    install_crypto();
    let resetting =
        server::on_accept(|stream| async move { stream.set_zero_linger().unwrap() }).await;
    let outcome = ThroughFcm::send(&format!("http://{resetting}"), PATIENT).await;
    // Whether the request was written before the reset arrived is a matter of luck, so nobody knows.
    assert_eq!(
        outcome_words(&outcome),
        "retry: connection_lost, at least 10 s, maybe sent"
    );
}
