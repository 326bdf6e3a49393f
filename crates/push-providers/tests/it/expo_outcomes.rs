//! What every answer of Expo, and every way in which a connection can fail, means: over real sockets.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use push_core::outcome::{Outcome, ProviderMessageId};
use push_core::receipt::Receipt;
use push_providers::{Expo, PushProvider};
use serde_json::{Value, json};

use crate::support::outcomes::{Row, Subject, patience, run, run_recorded, run_without_connection};
use crate::support::server::{Reply, Server};
use crate::support::{
    expo_settings, expo_token, fixture_cases, install_crypto, outcome_words, push,
};

const FIXTURE: &str = include_str!("../../../../tests/fixtures/providers/expo/errors.json");

const TICKET: &str = "accepted 00000000-0000-4000-8000-000000000000";

/// The recorded answers to one message, by their ids in the fixture.
const RECORDED: &[(&str, &str)] = &[
    ("ticket_ok", TICKET),
    ("single_object_instead_of_array", TICKET),
    ("ticket_device_not_registered", "dead: DeviceNotRegistered"),
    (
        "ticket_device_not_registered_with_token",
        "dead: DeviceNotRegistered",
    ),
    ("ticket_error_without_details", "refused: unknown_error"),
    ("ticket_message_too_big", "refused: MessageTooBig"),
    (
        "ticket_message_rate_exceeded",
        "retry: MessageRateExceeded, at least 60 s, surely not sent",
    ),
    ("ticket_invalid_credentials", "operator: InvalidCredentials"),
    // Some were taken, and nobody knows which: not sent again, a person decides.
    (
        "too_few_tickets",
        "operator: ticket_count_mismatch, maybe sent",
    ),
    ("errors_in_200", "refused: PUSH_TOO_MANY_NOTIFICATIONS"),
    // Of one message alone these make no sense, or it is the bad one.
    (
        "too_many_experience_ids",
        "refused: PUSH_TOO_MANY_EXPERIENCE_IDS",
    ),
    (
        "too_many_notifications",
        "refused: PUSH_TOO_MANY_NOTIFICATIONS",
    ),
    ("validation_error", "refused: VALIDATION_ERROR"),
    ("unauthorized", "operator: UNAUTHORIZED"),
    ("invalid_bearer", "operator: http_401"),
    (
        "rate_limited",
        "retry: TOO_MANY_REQUESTS, at least 5 s, surely not sent",
    ),
    // May have been accepted.
    (
        "internal",
        "retry: INTERNAL_SERVER_ERROR, at least 10 s, maybe sent",
    ),
    ("bad_gateway", "retry: http_502, at least 10 s, maybe sent"),
    (
        "unavailable_text",
        "retry: http_503, at least 10 s, maybe sent",
    ),
    (
        "gateway_timeout",
        "retry: http_504, at least 10 s, maybe sent",
    ),
    ("not_json_200", "retry: not_json, at least 10 s, maybe sent"),
    (
        "connection_reset",
        "retry: connection_lost, at least 10 s, maybe sent",
    ),
];

fn ticket_error(code: &str) -> Reply {
    Reply::json(
        200,
        &json!({"data": [{"status": "error", "message": "x", "details": {"error": code}}]}),
    )
}

fn request_error(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "message": "x"}]}))
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Rows of Expo's table that nobody recorded.
fn documented() -> Vec<Row> {
    vec![
        (
            "MismatchSenderId",
            ticket_error("MismatchSenderId"),
            "operator: MismatchSenderId",
        ),
        (
            "DeveloperError",
            ticket_error("DeveloperError"),
            "refused: DeveloperError",
        ),
        (
            "ExpoError",
            ticket_error("ExpoError"),
            "retry: ExpoError, at least 10 s, maybe sent",
        ),
        (
            "ProviderError",
            ticket_error("ProviderError"),
            "retry: ProviderError, at least 10 s, maybe sent",
        ),
        (
            "a new ticket error",
            ticket_error("SomethingNew"),
            "refused: SomethingNew",
        ),
        (
            "a code that looks like a token is none",
            ticket_error("ExpoPushToken[secret]"),
            "refused: unknown_error",
        ),
        (
            "PUSH_TOO_MANY_RECEIPTS",
            request_error(400, "PUSH_TOO_MANY_RECEIPTS"),
            "refused: PUSH_TOO_MANY_RECEIPTS",
        ),
        (
            "400 in HTML",
            Reply::http(400, &[], b"<p>"),
            "refused: http_400",
        ),
        ("403", Reply::http(403, &[], b""), "operator: http_403"),
        ("404", Reply::http(404, &[], b"<p>"), "operator: http_404"),
        (
            "408",
            Reply::http(408, &[], b""),
            "retry: http_408, at least 10 s, maybe sent",
        ),
        ("413", Reply::http(413, &[], b""), "refused: http_413"),
        (
            "429 in HTML",
            Reply::http(429, &[("retry-after", "30")], b"<p>"),
            "retry: TOO_MANY_REQUESTS, asked 30 s, surely not sent",
        ),
        (
            "a transient error in a 200",
            request_error(200, "INTERNAL_SERVER_ERROR"),
            "retry: INTERNAL_SERVER_ERROR, at least 10 s, maybe sent",
        ),
        (
            "429 in a 200",
            request_error(200, "TOO_MANY_REQUESTS"),
            "retry: TOO_MANY_REQUESTS, at least 5 s, surely not sent",
        ),
        (
            "503 with a time",
            Reply::http(503, &[("retry-after", "20")], b""),
            "retry: http_503, asked 20 s, maybe sent",
        ),
        (
            "no errors in errors",
            Reply::json(200, &json!({"errors": []})),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "too many tickets",
            Reply::json(
                200,
                &json!({"data": [{"status": "ok", "id": "a"}, {"status": "ok", "id": "b"}]}),
            ),
            "operator: ticket_count_mismatch, maybe sent",
        ),
        (
            "a ticket without id",
            Reply::json(200, &json!({"data": [{"status": "ok"}]})),
            "retry: ticket_unreadable, at least 10 s, maybe sent",
        ),
        (
            "a ticket that is none",
            Reply::json(200, &json!({"data": [7]})),
            "retry: ticket_unreadable, at least 10 s, maybe sent",
        ),
    ]
}

/// Answers that no server should give.
fn lies() -> Vec<Row> {
    let ticket = json!({"data": [{"status": "ok", "id": "a"}]}).to_string();
    let bomb = packed(&vec![b' '; 50_000_000]);
    vec![
        (
            "gzip",
            Reply::http(
                200,
                &[("content-encoding", "gzip")],
                &packed(ticket.as_bytes()),
            ),
            "accepted a",
        ),
        (
            "deflate",
            Reply::http(
                200,
                &[("content-encoding", "deflate")],
                &deflated(ticket.as_bytes()),
            ),
            "accepted a",
        ),
        (
            "a bomb",
            Reply::http(200, &[("content-encoding", "gzip")], &bomb),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "gzip that is none",
            Reply::http(200, &[("content-encoding", "gzip")], b"plain"),
            "retry: answer_broken_off, at least 10 s, maybe sent",
        ),
        (
            "cut short, accepted",
            Reply::cut_short(200),
            "retry: answer_broken_off, at least 10 s, maybe sent",
        ),
        (
            "cut short, refused",
            Reply::cut_short(400),
            "retry: answer_broken_off, at least 10 s, surely not sent",
        ),
        (
            "closed instead of an answer",
            Reply::Close,
            "retry: connection_lost, at least 10 s, maybe sent",
        ),
        (
            "no answer",
            Reply::Silence,
            "retry: timeout, at least 10 s, maybe sent",
        ),
        (
            "a slow drip",
            Reply::drip(200),
            "retry: timeout, at least 10 s, maybe sent",
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
            "a redirect",
            Reply::http(307, &[("location", "http://127.0.0.1:1/")], b""),
            "retry: http_307, at least 10 s, maybe sent",
        ),
    ]
}

fn expo(base_url: &str, request_timeout: Duration) -> Expo {
    let mut settings = expo_settings(base_url);
    settings.request_timeout = request_timeout;
    Expo::new(settings).unwrap()
}

/// One that always gets this answer.
async fn answered(reply: Reply) -> Expo {
    install_crypto();
    let patience = patience(&reply);
    let server = Server::start(move |_| reply.clone()).await;
    expo(&server.url, patience)
}

struct ThroughExpo;

impl Subject for ThroughExpo {
    const SECRET: &str = "xxxx";

    async fn send(base_url: &str, request_timeout: Duration) -> Outcome {
        let expo = expo(base_url, request_timeout);
        expo.send(push(expo_token("xxxxxxxxxxxxxxxxxxxxxx")))
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn every_recorded_answer_has_its_row() {
    run_recorded::<ThroughExpo>(FIXTURE, "push_send", RECORDED, &[]).await;
}

#[tokio::test]
async fn every_other_answer_has_its_row() {
    run::<ThroughExpo>(documented().into_iter().chain(lies())).await;
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    run_without_connection::<ThroughExpo>().await;
}

#[tokio::test]
async fn every_recorded_receipt_has_its_row() {
    let rows = [
        ("ok", "delivered"),
        ("DeviceNotRegistered", "dead: DeviceNotRegistered"),
        ("MessageTooBig", "refused: MessageTooBig"),
        (
            "MessageRateExceeded",
            "retry: MessageRateExceeded, at least 60 s, surely not sent",
        ),
        ("MismatchSenderId", "operator: MismatchSenderId"),
        ("InvalidCredentials", "operator: InvalidCredentials"),
        ("DeveloperError", "refused: DeveloperError"),
        ("ExpoError", "retry: ExpoError, at least 10 s, maybe sent"),
        (
            "ProviderError",
            "retry: ProviderError, at least 10 s, maybe sent",
        ),
        ("no_details", "refused: unknown_error"),
        ("absent", "absent"),
    ];
    let cases = fixture_cases(FIXTURE, "receipts");
    assert_eq!(
        cases.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        rows.map(|(id, _)| id)
    );
    let data: serde_json::Map<String, Value> = cases
        .iter()
        .filter(|(_, case)| !case["receipt"].is_null())
        .map(|(id, case)| (id.clone(), case["receipt"].clone()))
        .collect();
    let expo = answered(Reply::json(200, &json!({ "data": data }))).await;
    let tickets: Vec<_> = rows
        .iter()
        .map(|(id, _)| ProviderMessageId::new(id))
        .collect();
    let receipts = expo.receipts(&tickets).await.unwrap();
    for ((id, expected), (_, case)) in rows.iter().zip(&cases) {
        let receipt = receipts
            .iter()
            .find(|(ticket, _)| ticket.as_str() == *id)
            .map(|(_, receipt)| receipt);
        let told = match receipt {
            None => "absent".to_owned(),
            Some(Receipt::Delivered) => "delivered".to_owned(),
            Some(Receipt::Failed(outcome)) => outcome_words(outcome),
        };
        assert_eq!(told, *expected, "{id}");
        assert_eq!(
            case["recommended"]["deactivate_token"],
            told.starts_with("dead"),
            "{id}"
        );
        assert_eq!(
            case["recommended"]["retry"],
            told.starts_with("retry"),
            "{id}"
        );
    }
}

#[tokio::test]
async fn every_answer_without_receipts_has_its_row() {
    let rows = [
        (Reply::http(401, &[], b""), "operator: http_401"),
        (request_error(401, "UNAUTHORIZED"), "operator: UNAUTHORIZED"),
        (Reply::http(404, &[], b"<p>"), "operator: http_404"),
        (
            request_error(429, "TOO_MANY_REQUESTS"),
            "retry: TOO_MANY_REQUESTS, at least 5 s, surely not sent",
        ),
        (
            Reply::http(503, &[("retry-after", "9")], b""),
            "retry: http_503, asked 9 s, surely not sent",
        ),
        (
            Reply::http(200, &[], b"<p>"),
            "retry: http_200, at least 10 s, surely not sent",
        ),
        (
            request_error(200, "PUSH_TOO_MANY_RECEIPTS"),
            "refused: PUSH_TOO_MANY_RECEIPTS",
        ),
        (
            Reply::Reset,
            "retry: connection_lost, at least 10 s, surely not sent",
        ),
        (
            Reply::Silence,
            "retry: timeout, at least 10 s, surely not sent",
        ),
    ];
    for (reply, expected) in rows {
        let outcome = answered(reply)
            .await
            .receipts(&[ProviderMessageId::new("a")])
            .await
            .unwrap_err();
        assert_eq!(outcome_words(&outcome), expected);
    }
}

#[tokio::test]
async fn a_receipt_that_says_nothing_is_absent() {
    let expo = answered(Reply::json(200, &json!({"data": {"a": {"status": "new"}, "b": 5, "c": {"status": "ok"}, "stranger": {"status": "ok"}}}))).await;
    let asked = ["a", "b", "c"].map(ProviderMessageId::new);
    assert_eq!(
        expo.receipts(&asked).await.unwrap(),
        [(ProviderMessageId::new("c"), Receipt::Delivered)]
    );
}
