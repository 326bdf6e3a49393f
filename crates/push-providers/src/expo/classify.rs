//! What an answer of Expo means: tickets, receipts and errors (Expo docs, "Send notifications with
//! the Expo Push Service"; the recorded bodies beside the tests).
//!
//! A code decides where there is one, else the status. `errors` count in a 200 as well.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::receipt::Receipt;
use serde_json::{Map, Value};

use crate::http::Answer;
use crate::transport::FLOOR;

/// "A few seconds", doubled by the ladder: 429 is a limit per second.
pub(crate) const FLOOR_429: Duration = Duration::from_secs(5);
/// Too many messages to one device: "slowly".
const FLOOR_DEVICE_RATE: Duration = Duration::from_secs(60);

/// What to do with the answer to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One outcome a message, in their order.
    Each(Vec<Outcome>),
    /// The same for all: it lies with the request, not with a message.
    All(Outcome),
    /// The tokens belong to several projects, and all were refused for that: send each group alone.
    SeveralProjects(Vec<Vec<String>>),
    /// All were refused because something in the request is wrong: find out which, one by one. Of a
    /// single message, this is the outcome.
    OneIsBad(Outcome),
}

/// The table for `push/send`, asked with `messages` messages.
pub(crate) fn sent(answer: &Answer, messages: usize, now: DateTime<Utc>) -> Verdict {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if let Some(error) = body["errors"].get(0) {
        return request_error(answer, error, now);
    }
    if answer.status != 200 {
        return by_status(answer, None, now);
    }
    let tickets = match &body["data"] {
        Value::Array(tickets) => tickets.as_slice(),
        // What a bare message would be answered with; clear enough for a single one.
        ticket @ Value::Object(_) => std::slice::from_ref(ticket),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Verdict::All(unclear(
                "not_json",
                "Expo's answer holds no tickets; the messages may have been taken.",
            ));
        }
    };
    if tickets.len() == messages {
        Verdict::Each(tickets.iter().map(ticket).collect())
    } else {
        Verdict::All(ticket_count_mismatch())
    }
}

/// Which message a ticket belongs to is unknown, so that some were taken and nobody can say which.
/// Sending again would surely send some twice, so a person decides.
fn ticket_count_mismatch() -> Outcome {
    Outcome::OperatorMustAct {
        cause: Cause::new(
            "ticket_count_mismatch",
            "Expo returned a wrong number of tickets; some of the messages may have been delivered.",
        ),
        sent: Sent::Maybe,
    }
}

/// An entry of `errors`.
fn request_error(answer: &Answer, error: &Value, now: DateTime<Utc>) -> Verdict {
    match error["code"].as_str() {
        Some("PUSH_TOO_MANY_EXPERIENCE_IDS") => Verdict::SeveralProjects(groups(&error["details"])),
        Some("UNAUTHORIZED") => Verdict::All(unauthorized("UNAUTHORIZED")),
        Some("TOO_MANY_REQUESTS") => Verdict::All(too_many_requests(answer, now)),
        Some(given @ "INTERNAL_SERVER_ERROR") => Verdict::All(failed(answer, given, now)),
        given => by_status(answer, given.and_then(code), now),
    }
}

/// `details` of PUSH_TOO_MANY_EXPERIENCE_IDS: project → its tokens among those that were sent.
fn groups(details: &Value) -> Vec<Vec<String>> {
    let tokens = |list: &Value| -> Vec<String> {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    details
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .map(tokens)
        .collect()
}

fn by_status(answer: &Answer, given: Option<String>, now: DateTime<Utc>) -> Verdict {
    let code = given.unwrap_or_else(|| format!("http_{}", answer.status));
    match answer.status {
        // Only with `errors`: the request failed as a whole.
        200 | 400 | 402 | 406..=407 | 409..=428 | 430..=499 => {
            Verdict::OneIsBad(Outcome::Refused(Cause::new(
                &code,
                "Expo refuses the request: a fault of the push service, or of a value in the message.",
            )))
        }
        401 | 403 => Verdict::All(unauthorized(&code)),
        404 | 405 => Verdict::All(operator(&code, WRONG_ADDRESS)),
        429 => Verdict::All(too_many_requests(answer, now)),
        408 | 500..=599 => Verdict::All(failed(answer, &code, now)),
        _ => Verdict::All(unclear(&code, "The answer is none that Expo would give.")),
    }
}

fn unauthorized(code: &str) -> Outcome {
    operator(
        code,
        "Expo does not accept EXPO_ACCESS_TOKEN, or wants one where none is set.",
    )
}

fn too_many_requests(answer: &Answer, now: DateTime<Utc>) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new(
            "TOO_MANY_REQUESTS",
            "Expo's limit of notifications a second is reached.",
        ),
        pause: answer.pause(now, FLOOR_429),
        sent: Sent::SurelyNot,
        trouble: Trouble::Quota,
    })
}

/// Retried 504s have led to duplicates (expo/expo#15152).
fn failed(answer: &Answer, code: &str, now: DateTime<Utc>) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new(
            code,
            "Expo failed, or a gateway before it; the message may have been taken.",
        ),
        pause: answer.pause(now, FLOOR),
        sent: Sent::Maybe,
        trouble: Trouble::Provider,
    })
}

/// A 200, or something that is no answer, out of which nobody gets wise.
fn unclear(code: &str, text: &str) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new(code, text),
        pause: Pause::AtLeast(FLOOR),
        sent: Sent::Maybe,
        trouble: Trouble::Provider,
    })
}

fn operator(code: &str, text: &str) -> Outcome {
    Outcome::operator_must_act(Cause::new(code, text))
}

fn ticket(ticket: &Value) -> Outcome {
    match (ticket["status"].as_str(), ticket["id"].as_str()) {
        (Some("ok"), Some(id)) if !id.is_empty() => Outcome::Accepted(ProviderMessageId::new(id)),
        (Some("error"), _) => delivery_error(&ticket["details"]["error"]),
        _ => unclear(
            "ticket_unreadable",
            "Expo's ticket says nothing; the message may have been taken.",
        ),
    }
}

/// A receipt; `None` when it says nothing, so that it is asked for again.
pub(crate) fn receipt(receipt: &Value) -> Option<Receipt> {
    match receipt["status"].as_str()? {
        "ok" => Some(Receipt::Delivered),
        "error" => Some(Receipt::Failed(delivery_error(
            &receipt["details"]["error"],
        ))),
        _ => None,
    }
}

/// `details.error` of a ticket or a receipt: the codes are the same in both (expo-server-sdk typings).
fn delivery_error(error: &Value) -> Outcome {
    match error.as_str() {
        Some(code @ "DeviceNotRegistered") => Outcome::TokenDead(Cause::new(
            code,
            "The app was removed, or its notifications are switched off.",
        )),
        Some(code @ "MessageTooBig") => Outcome::Refused(Cause::new(
            code,
            "The message is over the 4,096 bytes that Apple and Google take.",
        )),
        Some(code @ "MessageRateExceeded") => later(
            code,
            "Too many messages to this device.",
            FLOOR_DEVICE_RATE,
            (Sent::SurelyNot, Trouble::Device),
        ),
        Some(code @ "MismatchSenderId") => operator(
            code,
            "The Expo project's FCM credentials are not those that the app was built with.",
        ),
        Some(code @ "InvalidCredentials") => operator(
            code,
            "The Expo project's FCM or APNs credentials are missing or wrong: see `eas credentials`.",
        ),
        Some(code @ "DeveloperError") => Outcome::Refused(Cause::new(
            code,
            "Expo says that the fault is on our side, and not which.",
        )),
        Some(code @ ("ExpoError" | "ProviderError")) => later(
            code,
            "Expo, or Apple or Google behind it, failed.",
            FLOOR,
            (Sent::Maybe, Trouble::Provider),
        ),
        other => Outcome::Refused(Cause::new(
            &other
                .and_then(code)
                .unwrap_or_else(|| "unknown_error".to_owned()),
            "Expo refuses the message for a reason that is not documented.",
        )),
    }
}

fn later(code: &str, text: &str, floor: Duration, (sent, trouble): (Sent, Trouble)) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new(code, text),
        pause: Pause::AtLeast(floor),
        sent,
        trouble,
    })
}

/// The answer to `getReceipts`: ticket id → receipt. Whatever went wrong, asking again does no harm.
pub(crate) fn receipts(
    answer: &Answer,
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, Receipt>, Outcome> {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let error = body["errors"].get(0);
    match body["data"]
        .as_object()
        .filter(|_| answer.status == 200 && error.is_none())
    {
        Some(data) => Ok(data
            .iter()
            .filter_map(|(id, data)| Some((id.clone(), receipt(data)?)))
            .collect()),
        None => Err(receipts_refused(
            answer,
            error
                .and_then(|error| error["code"].as_str())
                .and_then(code),
            now,
        )),
    }
}

fn receipts_refused(answer: &Answer, given: Option<String>, now: DateTime<Utc>) -> Outcome {
    let code = given.unwrap_or_else(|| format!("http_{}", answer.status));
    let later = |floor| {
        Outcome::Retry(Retry {
            cause: Cause::new(&code, "Expo gives no receipts at the moment."),
            pause: answer.pause(now, floor),
            sent: Sent::SurelyNot,
            trouble: Trouble::Provider,
        })
    };
    match (answer.status, code.as_str()) {
        (401 | 403, _) | (_, "UNAUTHORIZED") => unauthorized(&code),
        (_, "PUSH_TOO_MANY_RECEIPTS") => Outcome::Refused(Cause::new(
            &code,
            "More receipts were asked for than Expo gives at once: a fault of the push service.",
        )),
        (404 | 405, _) => operator(&code, WRONG_ADDRESS),
        (429, _) => later(FLOOR_429),
        _ => later(FLOOR),
    }
}

const WRONG_ADDRESS: &str = "Expo has no such address: check EXPO_BASE_URL.";

/// Only what looks like a code is taken for one, since codes are logged and shown.
fn code(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(plain)).then(|| text.to_owned())
}
