//! A provider that lies, and whoever answers in Google's name when an access token is asked for: each
//! lie ends as an ordinary outcome, in time, after few bytes, and nobody else gets to see anything.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use push_core::outcome::ProviderMessageId;
use push_providers::{Expo, Fcm, PushProvider};
use serde_json::{Value, json};

use crate::support::server::{self, Reply, Server};
use crate::support::{
    IMPATIENT, PATIENT, expo_settings, expo_token, fcm_settings, fcm_token, install_crypto, push,
    token_endpoint, words,
};

/// What may be taken of an answer without an end. Most of it lies in the sockets' buffers: 10 MB a
/// connection, three connections for an access token.
const TAKEN_MAX: usize = 48 * 1024 * 1024;

const UNREADABLE: &str = "retry: not_json, at least 10 s, maybe sent";
const LOST: &str = "retry: connection_lost, at least 10 s, maybe sent";
const BROKEN_OFF: &str = "retry: answer_broken_off, at least 10 s, maybe sent";
const LATE: &str = "retry: timeout, at least 10 s, maybe sent";
const ANOTHER_PROTOCOL: &str = "retry: http_101, at least 10 s, maybe sent";
const NO_TOKEN: &str = "retry: token_answer_unreadable, at least 10 s, surely not sent";
const NO_TOKEN_PROTOCOL: &str = "retry: token_http_101, at least 10 s, surely not sent";
const NO_ENDPOINT: &str = "retry: token_endpoint_unreachable, at least 10 s, surely not sent";

/// A lie; what FCM's and Expo's pushes come to by it; what FCM's do when the token endpoint tells it.
struct Lie {
    what: &'static str,
    reply: Reply,
    message: &'static str,
    access_token: &'static str,
}

fn lie(what: &'static str, reply: Reply, message: &'static str, access_token: &'static str) -> Lie {
    Lie {
        what,
        reply,
        message,
        access_token,
    }
}

/// An answer that says yes, whoever asks.
fn yes() -> Value {
    json!({
        "name": "projects/p/messages/1",
        "data": [{"status": "ok", "id": "1"}],
        "access_token": "access", "expires_in": 3599,
    })
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn head(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}").into_bytes()
}

fn lies() -> Vec<Lie> {
    let yes = yes().to_string();
    let bomb = packed(&vec![b' '; 8 * 1024 * 1024]);
    let deep = [b"{\"name\":".to_vec(), b"[".repeat(60_000)].concat();
    let broken = b"{\"name\": \"\xff\", \"data\": [{\"status\": \"ok\", \"id\": \"\xff\"}], \
        \"access_token\": \"\xff\", \"expires_in\": 3599}";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    vec![
        lie(
            "a body without an end",
            Reply::endless(200, "connection: close"),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "blanks without an end before the answer",
            Reply::forever(&head("\r\n"), &[b' '; 16 * 1024]),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "gzip that unpacks to a thousand times as much, without an end",
            Reply::forever(&head("content-encoding: gzip\r\n\r\n"), &bomb),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "headers without an end",
            Reply::forever(&head(""), b"name: value\r\n"),
            LOST,
            NO_ENDPOINT,
        ),
        lie(
            "one header without an end",
            Reply::forever(&head("name: "), &[b'x'; 16 * 1024]),
            LOST,
            NO_ENDPOINT,
        ),
        lie(
            "a status without an end",
            Reply::forever(b"HTTP/1.1 200 ", &[b'x'; 16 * 1024]),
            LOST,
            NO_ENDPOINT,
        ),
        lie(
            "a chunk larger than any number",
            Reply::Bytes([head(chunked), b"fffffffffffffffff\r\n".to_vec()].concat()),
            BROKEN_OFF,
            NO_ENDPOINT,
        ),
        lie(
            "chunks of one byte without an end",
            Reply::forever(&head(chunked), &b"1\r\n \r\n".repeat(1_000)),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "the extension of a chunk without an end",
            Reply::forever(
                &[head(chunked), b"1;".to_vec()].concat(),
                &[b'x'; 16 * 1024],
            ),
            BROKEN_OFF,
            NO_ENDPOINT,
        ),
        lie(
            "trailers without an end",
            Reply::forever(
                &[head(chunked), b"0\r\n".to_vec()].concat(),
                b"name: value\r\n",
            ),
            BROKEN_OFF,
            NO_ENDPOINT,
        ),
        lie(
            "two lengths",
            Reply::Bytes(head("content-length: 2\r\ncontent-length: 3\r\n\r\n{}x")),
            LOST,
            NO_ENDPOINT,
        ),
        lie(
            "another protocol from now on",
            Reply::Bytes(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()),
            ANOTHER_PROTOCOL,
            NO_TOKEN_PROTOCOL,
        ),
        lie(
            "JSON without an end in depth",
            Reply::http(200, &[], &deep),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "text that is no UTF-8",
            Reply::http(
                200,
                &[("content-type", "application/json; charset=utf-8")],
                broken,
            ),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "the text of another charset",
            Reply::http(
                200,
                &[("content-type", "application/json; charset=utf-16")],
                &yes.encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>(),
            ),
            UNREADABLE,
            NO_TOKEN,
        ),
        lie(
            "a page of a hotel's network",
            Reply::http(200, &[("content-type", "text/html")], b"<p>Welcome</p>"),
            UNREADABLE,
            NO_TOKEN,
        ),
    ]
}

async fn to_fcm(fcm: &str, google: &str, patience: Duration) -> String {
    let mut settings = fcm_settings(fcm, google);
    settings.request_timeout = patience;
    let fcm = Fcm::new(settings).unwrap();
    words(&fcm.send(push(fcm_token("secret"))).await)
}

async fn to_expo(expo: &str, patience: Duration) -> String {
    let mut settings = expo_settings(expo);
    settings.request_timeout = patience;
    let expo = Expo::new(settings).unwrap();
    words(&expo.send(push(expo_token("secret"))).await)
}

async fn liar(reply: &Reply) -> Server {
    install_crypto();
    let reply = reply.clone();
    Server::start(move |_| reply.clone()).await
}

fn took_little(server: &Server, what: &str) {
    let taken = server.taken();
    assert!(taken < TAKEN_MAX, "{what}: {taken} bytes were taken");
}

#[tokio::test]
async fn a_lie_of_fcm_is_an_ordinary_outcome_after_few_bytes() {
    let google = token_endpoint().await;
    for lie in lies() {
        let server = liar(&lie.reply).await;
        let outcome = to_fcm(&server.url, &google.url, PATIENT).await;
        assert_eq!(outcome, lie.message, "{}", lie.what);
        took_little(&server, lie.what);
    }
}

#[tokio::test]
async fn a_lie_of_expo_is_an_ordinary_outcome_after_few_bytes() {
    for lie in lies() {
        let server = liar(&lie.reply).await;
        let outcome = to_expo(&server.url, PATIENT).await;
        assert_eq!(outcome, lie.message, "{}", lie.what);
        took_little(&server, lie.what);
    }
}

#[tokio::test]
async fn a_lie_about_access_tokens_is_an_ordinary_outcome_after_few_bytes() {
    let nobody = format!("http://{}", server::refusing().await);
    for lie in lies() {
        let server = liar(&lie.reply).await;
        let outcome = to_fcm(&nobody, &server.url, PATIENT).await;
        assert_eq!(outcome, lie.access_token, "{}", lie.what);
        took_little(&server, lie.what);
    }
}

/// Each of these goes on for as long as the client listens.
fn slow_lies() -> Vec<(&'static str, Reply)> {
    vec![
        (
            "a status, a byte now and then",
            Reply::drip_after(b"HTTP/1.1 200 "),
        ),
        (
            "headers, a byte now and then",
            Reply::drip_after(&head("name: x")),
        ),
        ("a body, a byte now and then", Reply::drip(200)),
        ("no answer", Reply::Silence),
    ]
}

#[tokio::test]
async fn who_is_slow_is_not_waited_for_longer_than_a_request_may_take() {
    let google = token_endpoint().await;
    for (what, reply) in slow_lies() {
        let server = liar(&reply).await;
        let fcm = to_fcm(&server.url, &google.url, IMPATIENT).await;
        let expo = to_expo(&server.url, IMPATIENT).await;
        assert_eq!([fcm.as_str(), &expo], [LATE; 2], "{what}");
    }
    // "Continue", for ever.
    let server = liar(&Reply::forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n")).await;
    let fcm = to_fcm(&server.url, &google.url, IMPATIENT).await;
    let expo = to_expo(&server.url, IMPATIENT).await;
    assert_eq!([fcm.as_str(), &expo], [LATE; 2]);
}

/// The clock of this test jumps to the next timer whenever all wait.
#[tokio::test(start_paused = true)]
async fn a_slow_token_endpoint_is_not_waited_for_longer_than_a_fetch_may_take() {
    for (what, reply) in slow_lies() {
        let server = liar(&reply).await;
        let outcome = to_fcm("http://unused", &server.url, PATIENT).await;
        let expected = "retry: token_timeout, at least 10 s, surely not sent";
        assert_eq!(outcome, expected, "{what}");
    }
}

#[tokio::test]
async fn nothing_follows_a_redirect_to_a_stranger() {
    install_crypto();
    let stranger = Server::start(|_| Reply::json(200, &yes())).await;
    let google = token_endpoint().await;
    for status in [301, 302, 303, 307, 308] {
        let location = [("location", stranger.url.as_str())];
        let server = liar(&Reply::http(status, &location, b"")).await;
        let redirected = format!("retry: http_{status}, at least 10 s, maybe sent");
        assert_eq!(
            to_fcm(&server.url, &google.url, PATIENT).await,
            redirected,
            "message and access token stay with FCM"
        );
        assert_eq!(to_expo(&server.url, PATIENT).await, redirected);
        assert_eq!(
            to_fcm(&stranger.url, &server.url, PATIENT).await,
            format!("retry: token_http_{status}, at least 10 s, surely not sent"),
            "what the account signed stays with Google"
        );
    }
    assert!(stranger.seen().is_empty());
}

#[tokio::test]
async fn a_grant_that_makes_no_sense_is_none() {
    let nobody = format!("http://{}", server::refusing().await);
    for grant in [
        json!({"access_token": "", "expires_in": 3599}),
        json!({"access_token": "two\nlines", "expires_in": 3599}),
        json!({"access_token": ["access"], "expires_in": 3599}),
        json!({"access_token": "access", "expires_in": -1}),
        json!({"access_token": "access", "expires_in": "3599"}),
        json!({"access_token": "access", "expires_in": 1e300}),
        json!({"access_token": "access"}),
        json!(null),
    ] {
        let server = liar(&Reply::json(200, &grant)).await;
        let outcome = to_fcm(&nobody, &server.url, PATIENT).await;
        assert_eq!(outcome, NO_TOKEN, "{grant}");
    }
}

#[tokio::test]
async fn an_access_token_for_ever_serves_like_any_other() {
    install_crypto();
    let fcm = Server::start(|_| Reply::json(200, &yes())).await;
    for seconds in [86_401, i64::MAX as u64, u64::MAX] {
        let grant = json!({"access_token": "access", "expires_in": seconds});
        let google = liar(&Reply::json(200, &grant)).await;
        let outcome = to_fcm(&fcm.url, &google.url, PATIENT).await;
        assert_eq!(outcome, "accepted projects/p/messages/1", "{seconds} s");
    }
}

/// What comes after the answer belongs to nobody: least of all to who asks next.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_taken_for_anothers() {
    install_crypto();
    let answer = |id: &str| {
        let body = json!({"data": [{"status": "ok", "id": id}]}).to_string();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let both = [answer("asked"), answer("not-asked")].concat();
    let server = liar(&Reply::Bytes(both.into_bytes())).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    for name in ["a", "b", "c"] {
        let outcome = words(&expo.send(push(expo_token(name))).await);
        assert_eq!(outcome, "accepted asked", "{name}");
    }
}

#[tokio::test]
async fn receipts_that_nobody_asked_for_are_nobodys() {
    let answer = json!({"data": {
        "foreign": {"status": "error", "details": {"error": "DeviceNotRegistered"}},
        "": {"status": "ok"},
    }});
    let server = liar(&Reply::json(200, &answer)).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let receipts = expo.receipts(&[ProviderMessageId::new("mine")]).await;
    assert_eq!(receipts, Ok(Vec::new()));
}

#[tokio::test]
async fn a_pause_of_years_is_one_of_a_day() {
    let google = token_endpoint().await;
    for asked in [
        "31536000",
        "18446744073709551616",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        let server = liar(&Reply::http(429, &[("retry-after", asked)], b"")).await;
        assert_eq!(
            to_fcm(&server.url, &google.url, PATIENT).await,
            "retry: http_429, asked 86400 s, surely not sent"
        );
        assert_eq!(
            to_expo(&server.url, PATIENT).await,
            "retry: TOO_MANY_REQUESTS, asked 86400 s, surely not sent"
        );
    }
}
