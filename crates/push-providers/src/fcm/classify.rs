//! What an answer of FCM means: the table of its error codes (Firebase docs, "ErrorCode" and "FCM
//! error codes"; the recorded bodies beside the tests).
//!
//! The code in the body decides, not the status: a 404 without `UNREGISTERED` is a wrong address,
//! not a dead token. Only two exact conditions switch a token off.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use serde_json::Value;

use crate::http::Answer;
use crate::transport::FLOOR;

/// Firebase docs, "Best practices when sending FCM messages at scale": 60 s after a 429 that names
/// no other time.
pub(crate) const FLOOR_429: Duration = Duration::from_secs(60);

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// That is it.
    Final(Outcome),
    /// Google does not take our access token: once more with a new one, then [`access_token_refused`].
    AccessTokenRefused,
}

/// A new access token was refused as well.
pub(crate) fn access_token_refused() -> Cause {
    Cause::new(
        "UNAUTHENTICATED",
        "Google refuses our access tokens: check the service account and the machine's clock.",
    )
}

/// The table. `now` is what a date in `Retry-After` is measured from.
pub(crate) fn classify(answer: &Answer, now: DateTime<Utc>) -> Verdict {
    if answer.status == 200 {
        return Verdict::Final(accepted(&answer.body));
    }
    let error = GoogleError::read(&answer.body);
    let code = error.code(answer.status);
    let later = |floor, sent, text| {
        let pause = answer.pause(now, floor);
        Outcome::Retry(Retry {
            cause: Cause::new(&code, text),
            pause,
            sent,
            trouble: if answer.status == 429 {
                Trouble::Quota
            } else {
                Trouble::Provider
            },
        })
    };
    Verdict::Final(match (answer.status, error.fcm_code.as_deref()) {
        (400, Some("INVALID_ARGUMENT")) if error.blames_token => {
            dead(&code, "FCM says that this is no registration token.")
        }
        (400, _) => refused(&code, error.payload_text()),
        (401, None) => return Verdict::AccessTokenRefused,
        (401, _) => operator(&code, error.unauthenticated_text()),
        (403, _) => operator(&code, error.forbidden_text()),
        (404, Some("UNREGISTERED")) => dead(
            &code,
            "The app was removed, or its registration has expired.",
        ),
        (404, _) => operator(&code, WRONG_ADDRESS),
        (429, _) => later(
            FLOOR_429,
            Sent::SurelyNot,
            "FCM's quota is used up for now.",
        ),
        // FCM itself says that it did not take the message. Google's front end says UNAVAILABLE as
        // well, without FCM's code, when what is behind it breaks in the middle of a request.
        (503, Some("UNAVAILABLE")) => later(FLOOR, Sent::SurelyNot, "FCM is overloaded."),
        (408 | 500..=599, _) => later(FLOOR, Sent::Maybe, "FCM failed, or a gateway before it."),
        (402..=499, _) => refused(&code, "FCM refuses the message and does not document why."),
        _ => later(
            FLOOR,
            Sent::Maybe,
            "The answer is none that FCM would give.",
        ),
    })
}

const WRONG_ADDRESS: &str =
    "No such address or project: check FIREBASE_PROJECT_ID and FCM_BASE_URL.";

/// A 200 counts only with the message's name in it (v1 discovery document, `Message.name`).
fn accepted(body: &[u8]) -> Outcome {
    let name = serde_json::from_slice::<Value>(body).ok();
    match name
        .as_ref()
        .and_then(|body| body["name"].as_str())
        .filter(|name| !name.is_empty())
    {
        Some(name) => Outcome::Accepted(ProviderMessageId::new(name)),
        None => Outcome::Retry(Retry {
            cause: Cause::new(
                "not_json",
                "FCM's answer has no message name; the message may have been taken.",
            ),
            pause: Pause::AtLeast(FLOOR),
            sent: Sent::Maybe,
            trouble: Trouble::Provider,
        }),
    }
}

fn dead(code: &str, text: &str) -> Outcome {
    Outcome::TokenDead(Cause::new(code, text))
}

fn operator(code: &str, text: &str) -> Outcome {
    Outcome::operator_must_act(Cause::new(code, text))
}

fn refused(code: &str, text: &str) -> Outcome {
    Outcome::Refused(Cause::new(code, text))
}

/// What matters of a Google API error. Its message is looked at, and kept nowhere: it may hold a token.
#[derive(Debug, Default)]
struct GoogleError {
    /// The canonical gRPC name; Google's front end gives it, too.
    status: Option<String>,
    /// `errorCode` of the FcmError detail, the only place where FCM's own code stands.
    fcm_code: Option<String>,
    /// `reason` of the ErrorInfo detail.
    reason: Option<String>,
    blames_token: bool,
    too_big: bool,
}

impl GoogleError {
    /// Whatever is not as documented counts as not said.
    fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        let error = &body["error"];
        let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
        let of_type = |name: &str| {
            details.iter().find(|detail| {
                detail["@type"]
                    .as_str()
                    .is_some_and(|kind| kind.ends_with(name))
            })
        };
        let message = error["message"].as_str().unwrap_or_default();
        Self {
            status: error["status"].as_str().and_then(code),
            fcm_code: of_type("google.firebase.fcm.v1.FcmError")
                .and_then(|detail| detail["errorCode"].as_str())
                .and_then(code),
            reason: of_type("google.rpc.ErrorInfo")
                .and_then(|detail| detail["reason"].as_str())
                .and_then(code),
            blames_token: details.iter().any(names_token_field)
                || message.contains("not a valid FCM registration token"),
            too_big: message.contains("too big") || message.contains("too large"),
        }
    }

    /// The most telling code that was given.
    fn code(&self, status: u16) -> String {
        let given = self
            .fcm_code
            .as_ref()
            .or(self.reason.as_ref())
            .or(self.status.as_ref());
        given.cloned().unwrap_or_else(|| format!("http_{status}"))
    }

    const fn payload_text(&self) -> &'static str {
        if self.too_big {
            "The message is over FCM's 4,096 bytes."
        } else {
            "FCM refuses the message as it is: a fault of the push service, or of a value in it."
        }
    }

    fn unauthenticated_text(&self) -> &'static str {
        if self.fcm_code.as_deref() == Some("THIRD_PARTY_AUTH_ERROR") {
            "The Firebase project's APNs key or web push key is missing or wrong; only those platforms fail."
        } else {
            "Google does not accept our credentials for a reason that is not documented."
        }
    }

    fn forbidden_text(&self) -> &'static str {
        if self.fcm_code.as_deref() == Some("SENDER_ID_MISMATCH") {
            "The token belongs to another Firebase project, or the service account does."
        } else if self.reason.as_deref() == Some("SERVICE_DISABLED") {
            "The Firebase Cloud Messaging API is disabled: enable it in the Google Cloud console."
        } else {
            "The service account may not send: wrong project, or the role with cloudmessaging.messages.create is missing."
        }
    }
}

fn names_token_field(detail: &Value) -> bool {
    let violations = detail["fieldViolations"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    violations
        .iter()
        .any(|violation| violation["field"] == "message.token")
}

/// Only what looks like a code is taken for one, since codes are logged and shown.
fn code(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(plain)).then(|| text.to_owned())
}
