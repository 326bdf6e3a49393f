//! What the tables of both providers' outcomes have in common: how their rows are run.

use std::collections::BTreeSet;
use std::time::Duration;

use push_core::outcome::Outcome;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{self, Reply, Server};
use super::{IMPATIENT, PATIENT, TITLE, fixture_cases, install_crypto, outcome_words, recorded};

/// What an answer is called, the answer, and the outcome in words.
pub type Row = (&'static str, Reply, &'static str);

/// A provider whose outcomes are looked at.
pub trait Subject {
    /// Part of the token; no outcome may hold it.
    const SECRET: &str;

    /// Sends one push to a provider at this address, which has so much time for a request.
    async fn send(base_url: &str, request_timeout: Duration) -> Outcome;
}

/// How long a test waits for this: where nothing ever comes, not for long.
pub fn patience(reply: &Reply) -> Duration {
    if reply.is_slow() { IMPATIENT } else { PATIENT }
}

/// Sends one push to a server that always gives this answer.
pub async fn outcome_of<S: Subject>(reply: Reply) -> Outcome {
    install_crypto();
    let patience = patience(&reply);
    let server = Server::start(move |_| reply.clone()).await;
    let outcome = S::send(&server.url, patience).await;
    let told = format!("{outcome:?}");
    assert!(
        !told.contains(S::SECRET) && !told.contains(TITLE),
        "neither token nor content is told: {told}"
    );
    outcome
}

/// Runs rows of the table.
pub async fn run<S: Subject>(rows: impl IntoIterator<Item = Row>) {
    for (what, reply, expected) in rows {
        assert_eq!(
            outcome_words(&outcome_of::<S>(reply).await),
            expected,
            "{what}"
        );
    }
}

/// Runs all recorded cases below `key`, each of which has a row. `within` are those where what
/// should be tried again has been, within the call.
pub async fn run_recorded<S: Subject>(
    file: &str,
    key: &str,
    rows: &[(&str, &str)],
    within: &[&str],
) {
    let cases = fixture_cases(file, key);
    let ids: BTreeSet<&str> = cases.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        rows.iter().map(|(id, _)| *id).collect(),
        "a row for each case, a case for each row"
    );
    for (id, case) in &cases {
        let (_, expected) = rows.iter().find(|(row, _)| row == id).unwrap();
        let outcome = outcome_of::<S>(recorded(case)).await;
        assert_eq!(outcome_words(&outcome), *expected, "{id}");
        agrees(&outcome, case, within.contains(&id.as_str()));
    }
}

/// The fixture has an opinion as well, in two words.
fn agrees(outcome: &Outcome, case: &Value, tried_within: bool) {
    let recommended = &case["recommended"];
    let dead = matches!(outcome, Outcome::TokenDead(_));
    assert_eq!(recommended["deactivate_token"], dead, "{case}");
    if !tried_within {
        let retry = matches!(outcome, Outcome::Retry(_));
        assert_eq!(recommended["retry"], retry, "{case}");
    }
}

/// Runs the ways in which no connection comes about.
pub async fn run_without_connection<S: Subject>() {
    install_crypto();
    let refusing = server::refusing().await;
    let plaintext = server::on_accept(|mut stream| async move {
        let greeting = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(greeting).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let resetting = server::on_accept(|mut stream| async move {
        let _ = stream.read_u8().await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let silent = server::on_accept(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let cases = [
        (
            format!("http://{refusing}"),
            "retry: connection_refused, at least 10 s, surely not sent",
        ),
        // A label of 64 letters: refused by the resolver itself, without asking anybody.
        (
            format!("http://{}.invalid", "x".repeat(64)),
            "retry: dns_failed, at least 10 s, surely not sent",
        ),
        (
            format!("https://{plaintext}"),
            "retry: tls_failed, at least 10 s, surely not sent",
        ),
        // In the middle of the handshake.
        (
            format!("https://{resetting}"),
            "retry: connect_failed, at least 10 s, surely not sent",
        ),
        // A handshake without end: the time for a connection is over long before that for a request.
        (
            format!("https://{silent}"),
            "retry: connect_timeout, at least 10 s, surely not sent",
        ),
    ];
    for (base_url, expected) in cases {
        let outcome = S::send(&base_url, PATIENT).await;
        assert_eq!(outcome_words(&outcome), expected, "{base_url}");
    }
}
