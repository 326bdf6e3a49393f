//! What `cargo xtask instructions` counts and cannot reach otherwise: bodies and verdicts, without the way between them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use push_core::outcome::Outcome;

use crate::expo::api::packed;
use crate::expo::classify as expo;
use crate::expo::message::message;
use crate::fcm::classify as fcm;
use crate::fcm::client;
use crate::http::Answer;
use crate::push::{Look, Push};

/// What FCM is sent.
///
/// # Errors
/// A message that cannot be written.
pub fn fcm_body(push: &Push, look: &Look, now: DateTime<Utc>) -> Result<Bytes, Outcome> {
    client::body(push, look, now)
}

/// What FCM's answer means; `None`: that our access token is refused.
pub fn fcm_outcome(status: u16, body: &[u8], now: DateTime<Utc>) -> Option<Outcome> {
    match fcm::classify(&answer(status, body), now) {
        fcm::Verdict::Final(outcome) => Some(outcome),
        fcm::Verdict::AccessTokenRefused => None,
    }
}

/// What Expo is sent for a batch, compressed where that pays.
///
/// # Errors
/// A message that cannot be written.
pub fn expo_body(
    pushes: &[Push],
    look: &Look,
    now: DateTime<Utc>,
) -> Result<Bytes, serde_json::Error> {
    let messages: Vec<_> = pushes.iter().map(|push| message(push, look, now)).collect();
    let (body, _gzipped) = packed(serde_json::to_vec(&messages)?);
    Ok(body)
}

/// What Expo's answer means for each of so many messages, where it tells them apart.
pub fn expo_outcomes(
    status: u16,
    body: &[u8],
    messages: usize,
    now: DateTime<Utc>,
) -> Option<Vec<Outcome>> {
    match expo::sent(&answer(status, body), messages, now) {
        expo::Verdict::Each(outcomes) => Some(outcomes),
        expo::Verdict::All(_) | expo::Verdict::SeveralProjects(_) | expo::Verdict::OneIsBad(_) => {
            None
        }
    }
}

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer {
        status,
        retry_after: None,
        body: body.to_vec(),
    }
}
