//! `pushctl dead show`

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::commands::Context;
use crate::commands::notification::{NOTHING, or_nothing};
use crate::commands::status::{Cause, mood};
use crate::escape::escape;
use crate::failure::Failure;
use crate::screen::{Mood, Paint};
use crate::when::exact;

/// Which dead letter.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The dead letter
    id: u64,
}

/// A dead letter in the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    pub id: u64,
    pub notification_id: Option<String>,
    pub customer_id: Option<i64>,
    pub provider: Option<String>,
    pub platform: Option<String>,
    pub token: Option<String>,
    pub reason: String,
    pub error: Cause,
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
    pub state: String,
    pub replayed_at: Option<DateTime<Utc>>,
    pub replayed_by: Option<String>,
    pub discarded_at: Option<DateTime<Utc>>,
    pub discarded_by: Option<String>,
    pub discard_reason: Option<String>,
}

/// All of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(flatten)]
    pub letter: Letter,
    trail: Vec<Entry>,
    bytes: Option<Bytes>,
    pub notification: Option<Now>,
    pub target: Option<Target>,
    pub newer_dead_letter_id: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at: DateTime<Utc>,
    provider: String,
    code: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Bytes {
    length: u32,
    complete: bool,
}

/// Where its notification stands.
#[derive(Debug, Deserialize)]
pub struct Now {
    pub status: String,
    pub reason: Option<String>,
}

/// What became of the device that it is about.
#[derive(Debug, Deserialize)]
pub struct Target {
    pub outcome: String,
}

impl Args {
    /// Tells it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.id.to_string();
        let answer = context
            .client
            .get(&["admin", "deadLetters", &id])
            .answer()
            .await?;
        let details: Details = answer.read()?;
        context
            .screen
            .answer(&answer.body, |paint| told(&details, paint))
    }
}

fn told(details: &Details, paint: Paint) -> String {
    let letter = &details.letter;
    let title = format!("Dead letter {}: {}", letter.id, escape(&letter.state));
    let done = |at: Option<DateTime<Utc>>, by: Option<&str>| {
        at.map(|at| format!("{} by {}", exact(at), or_nothing(by)))
    };
    let stands = details.notification.as_ref().map(|now| {
        let reason = now.reason.as_deref();
        let reason = reason.map_or_else(String::new, |reason| format!(" ({})", escape(reason)));
        format!(
            "{}{reason}",
            paint.mood(mood(&now.status), &escape(&now.status))
        )
    });
    let bytes = details.bytes.as_ref().map(|bytes| {
        let kept = if bytes.complete {
            "all kept"
        } else {
            "not all kept"
        };
        format!(
            "{} that were no job, {kept}; shown with --json",
            bytes.length
        )
    });
    let lines = [
        ("reason", Some(escape(&letter.reason))),
        (
            "error",
            Some(format!(
                "{}: {}",
                escape(&letter.error.code),
                escape(&letter.error.text)
            )),
        ),
        ("recorded", Some(exact(letter.created_at))),
        ("customer", letter.customer_id.map(|id| id.to_string())),
        (
            "notification",
            letter.notification_id.as_deref().map(escape),
        ),
        ("which is", stands),
        (
            "of the device",
            details
                .target
                .as_ref()
                .map(|target| escape(&target.outcome)),
        ),
        (
            "device",
            Some(format!(
                "{} {} {}",
                or_nothing(letter.provider.as_deref()),
                or_nothing(letter.platform.as_deref()),
                or_nothing(letter.token.as_deref())
            )),
        ),
        ("tries", Some(letter.attempts.to_string())),
        ("bytes", bytes),
        (
            "replayed",
            done(letter.replayed_at, letter.replayed_by.as_deref()),
        ),
        (
            "discarded",
            done(letter.discarded_at, letter.discarded_by.as_deref()),
        ),
        ("because", letter.discard_reason.as_deref().map(escape)),
        (
            "given up again",
            details
                .newer_dead_letter_id
                .map(|id| format!("as dead letter {id}")),
        ),
    ];
    let mut told = paint.mood(Mood::Strong, &title) + "\n";
    for (name, value) in lines {
        if let Some(value) = value.filter(|value| value != NOTHING) {
            told.push_str(&format!("  {name:<14} {value}\n"));
        }
    }
    told.push_str(&format!(
        "\n{}\n",
        paint.mood(Mood::Strong, "Failures (UTC)")
    ));
    for entry in &details.trail {
        told.push_str(&format!(
            "  {}  {:<5} {}: {}\n",
            entry.at.format("%Y-%m-%d %H:%M:%S%.3f"),
            escape(&entry.provider),
            escape(&entry.code),
            escape(&entry.text)
        ));
    }
    if letter.state == "open" {
        told.push_str(&format!(
            "\nOnce the cause is mended: pushctl dead replay {0}   Not wanted any more: pushctl dead discard {0} --because …",
            letter.id
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_of_a_letter_is_told() {
        let at = "2026-01-02T03:04:05.678Z";
        let details = json!({
            "success": true, "message": "m", "id": 17, "notificationId": "0198", "customerId": 7, "provider": "fcm",
            "platform": "android", "token": "…abcd", "reason": "operator_must_act",
            "error": {"code": "SENDER_ID_MISMATCH", "text": "another project\u{9b}"}, "attempts": 1, "createdAt": at,
            "state": "open", "replayedAt": null, "replayedBy": null, "discardedAt": null, "discardedBy": null,
            "discardReason": null, "trail": [{"at": at, "provider": "fcm", "code": "X", "text": "why"}], "bytes": null,
            "notification": {"status": "failed", "reason": "dead_lettered", "fcmResult": "failed", "expoResult": "not_sent"},
            "target": null, "newerDeadLetterId": 18,
        });
        let told = told(&serde_json::from_value(details).unwrap(), Paint::PLAIN);
        for part in [
            "Dead letter 17: open",
            "SENDER_ID_MISMATCH: another project\\u{9b}",
            "failed (dead_lettered)",
            "as dead letter 18",
            "X: why",
            "pushctl dead replay 17",
        ] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
        assert!(!told.contains("discarded  "), "{told}");
    }
}
