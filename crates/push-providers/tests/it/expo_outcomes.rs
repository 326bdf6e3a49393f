//! What every answer of Expo, and every way in which a connection can fail, means: over real sockets.

use std::collections::BTreeSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use push_core::outcome::{Outcome, ProviderMessageId, Withheld};
use push_providers::{Expo, PushProvider, Receipt};
use serde_json::{Value, json};

use crate::support::server::{self, Reply, Server};
use crate::support::{
    IMPATIENT, PATIENT, TITLE, expo_settings, expo_token, fixture_cases, install_crypto,
    outcome_words, push, recorded, retry_words, words,
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

fn plain(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Reply::Http {
        status,
        headers,
        body: body.to_vec(),
    }
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
fn documented() -> Vec<(&'static str, Reply, &'static str)> {
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
        ("400 in HTML", plain(400, &[], b"<p>"), "refused: http_400"),
        ("403", plain(403, &[], b""), "operator: http_403"),
        ("404", plain(404, &[], b"<p>"), "operator: http_404"),
        (
            "408",
            plain(408, &[], b""),
            "retry: http_408, at least 10 s, maybe sent",
        ),
        ("413", plain(413, &[], b""), "refused: http_413"),
        (
            "429 in HTML",
            plain(429, &[("retry-after", "30")], b"<p>"),
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
            plain(503, &[("retry-after", "20")], b""),
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
fn lies() -> Vec<(&'static str, Reply, &'static str)> {
    let ticket = json!({"data": [{"status": "ok", "id": "a"}]}).to_string();
    let bomb = packed(&vec![b' '; 50_000_000]);
    let cut_short = |status| {
        Reply::Bytes(
            format!("HTTP/1.1 {status} X\r\ncontent-length: 1000\r\n\r\n{{\"data\"").into_bytes(),
        )
    };
    vec![
        (
            "gzip",
            plain(
                200,
                &[("content-encoding", "gzip")],
                &packed(ticket.as_bytes()),
            ),
            "accepted a",
        ),
        (
            "deflate",
            plain(
                200,
                &[("content-encoding", "deflate")],
                &deflated(ticket.as_bytes()),
            ),
            "accepted a",
        ),
        (
            "a bomb",
            plain(200, &[("content-encoding", "gzip")], &bomb),
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "gzip that is none",
            plain(200, &[("content-encoding", "gzip")], b"plain"),
            "retry: answer_broken_off, at least 10 s, maybe sent",
        ),
        (
            "cut short, accepted",
            cut_short(200),
            "retry: answer_broken_off, at least 10 s, maybe sent",
        ),
        (
            "cut short, refused",
            cut_short(400),
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
            Reply::Drip { status: 200 },
            "retry: timeout, at least 10 s, maybe sent",
        ),
        (
            "endless",
            Reply::Endless {
                status: 200,
                header: "connection: close",
            },
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "a gigabyte",
            Reply::Endless {
                status: 200,
                header: "content-length: 1073741824",
            },
            "retry: not_json, at least 10 s, maybe sent",
        ),
        (
            "a redirect",
            plain(307, &[("location", "http://127.0.0.1:1/")], b""),
            "retry: http_307, at least 10 s, maybe sent",
        ),
    ]
}

async fn expo(reply: Reply) -> Expo {
    let waits_for_nothing = matches!(reply, Reply::Silence | Reply::Drip { .. });
    let server = Server::start(move |_| reply.clone()).await;
    let mut settings = expo_settings(&server.url);
    settings.request_timeout = if waits_for_nothing {
        IMPATIENT
    } else {
        PATIENT
    };
    Expo::new(settings).unwrap()
}

/// Sends one push to a server that always gives this answer.
async fn outcome_of(reply: Reply) -> Result<Outcome, Withheld> {
    let outcome = expo(reply)
        .await
        .send(push(expo_token("xxxxxxxxxxxxxxxxxxxxxx")))
        .await;
    let told = format!("{outcome:?}");
    assert!(
        !told.contains("xxxx") && !told.contains(TITLE),
        "neither token nor content is told: {told}"
    );
    outcome
}

#[tokio::test]
async fn every_recorded_answer_has_its_row() {
    install_crypto();
    let cases = fixture_cases(FIXTURE, "push_send");
    let ids: BTreeSet<&str> = cases.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        RECORDED.iter().map(|(id, _)| *id).collect(),
        "a row for each case, a case for each row"
    );
    for (id, case) in &cases {
        let (_, expected) = RECORDED.iter().find(|(row, _)| row == id).unwrap();
        let outcome = outcome_of(recorded(case)).await;
        assert_eq!(words(&outcome), *expected, "{id}");
        agrees(&outcome, &case["recommended"], id);
    }
}

/// The fixture has an opinion as well, in two words.
fn agrees(outcome: &Result<Outcome, Withheld>, recommended: &Value, id: &str) {
    assert_eq!(
        recommended["deactivate_token"],
        matches!(outcome, Ok(Outcome::TokenDead(_))),
        "{id}"
    );
    assert_eq!(
        recommended["retry"],
        matches!(outcome, Ok(Outcome::Retry(_))),
        "{id}"
    );
}

#[tokio::test]
async fn every_other_answer_has_its_row() {
    install_crypto();
    for (what, reply, expected) in documented().into_iter().chain(lies()) {
        assert_eq!(words(&outcome_of(reply).await), expected, "{what}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    install_crypto();
    let plaintext = server::on_accept(|mut stream| async move {
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await;
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
    })
    .await;
    let cases = [
        (
            format!("http://{}", server::refusing().await),
            "retry: connection_refused, at least 10 s, surely not sent",
        ),
        (
            format!("http://{}.invalid", "x".repeat(64)),
            "retry: dns_failed, at least 10 s, surely not sent",
        ),
        (
            format!("https://{plaintext}"),
            "retry: tls_failed, at least 10 s, surely not sent",
        ),
    ];
    for (base_url, expected) in cases {
        let expo = Expo::new(expo_settings(&base_url)).unwrap();
        assert_eq!(
            words(&expo.send(push(expo_token("any"))).await),
            expected,
            "{base_url}"
        );
    }
}

#[tokio::test]
async fn every_recorded_receipt_has_its_row() {
    install_crypto();
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
    let expo = expo(Reply::json(200, &json!({ "data": data }))).await;
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
async fn receipts_that_cannot_be_had_are_asked_for_again() {
    install_crypto();
    let rows = [
        (
            plain(401, &[], b""),
            "retry: http_401, at least 10 s, surely not sent",
        ),
        (
            request_error(401, "UNAUTHORIZED"),
            "retry: UNAUTHORIZED, at least 10 s, surely not sent",
        ),
        (
            request_error(429, "TOO_MANY_REQUESTS"),
            "retry: TOO_MANY_REQUESTS, at least 5 s, surely not sent",
        ),
        (
            plain(503, &[("retry-after", "9")], b""),
            "retry: http_503, asked 9 s, surely not sent",
        ),
        (
            plain(200, &[], b"<p>"),
            "retry: http_200, at least 10 s, surely not sent",
        ),
        (
            request_error(200, "PUSH_TOO_MANY_RECEIPTS"),
            "retry: PUSH_TOO_MANY_RECEIPTS, at least 10 s, surely not sent",
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
        let retry = expo(reply)
            .await
            .receipts(&[ProviderMessageId::new("a")])
            .await
            .unwrap_err();
        assert_eq!(retry_words(&retry), expected);
    }
}

#[tokio::test]
async fn a_receipt_that_says_nothing_is_absent() {
    install_crypto();
    let expo = expo(Reply::json(200, &json!({"data": {"a": {"status": "new"}, "b": 5, "c": {"status": "ok"}, "stranger": {"status": "ok"}}}))).await;
    let asked = ["a", "b", "c"].map(ProviderMessageId::new);
    assert_eq!(
        expo.receipts(&asked).await.unwrap(),
        [(ProviderMessageId::new("c"), Receipt::Delivered)]
    );
}
