//! `pushctl status`

use std::cell::Cell;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Answer;
use crate::commands::Context;
use crate::commands::notification::{NOTHING, Notification, or_nothing};
use crate::escape::escape;
use crate::failure::Failure;
use crate::follow;
use crate::screen::{Mood, Paint, drawn, keep_whole};
use crate::when::{exact, short};

/// Which notification.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The notification
    notification: Uuid,
    /// Stay until it has ended, and tell each step
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(flatten)]
    notification: Notification,
    deliveries: Vec<Delivery>,
    timeline: Vec<Decision>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    device_id: Option<String>,
    platform: Option<String>,
    provider: String,
    token: Option<String>,
    outcome: String,
    attempts: u32,
    maybe_delivered: bool,
    error: Option<Cause>,
    receipt: Option<String>,
    at: DateTime<Utc>,
}

/// Why something failed.
#[derive(Debug, Deserialize)]
pub struct Cause {
    pub code: String,
    pub text: String,
}

#[derive(Debug, Deserialize)]
struct Decision {
    at: DateTime<Utc>,
    step: String,
    text: String,
}

impl Args {
    /// Tells it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.notification.to_string();
        if self.follow {
            return follow(context, &id).await;
        }
        let (answer, whole) = look(context, &id).await?;
        context
            .screen
            .answer(&answer.body, |paint| told(&whole, paint))
    }
}

async fn look(context: &Context, id: &str) -> Result<(Answer, Whole), Failure> {
    let answer = context.client.get(&["notifications", id]).answer().await?;
    let whole = answer.read()?;
    Ok((answer, whole))
}

/// Tells what there is, then each step as it comes, then how it ended.
async fn follow(context: &Context, id: &str) -> Result<(), Failure> {
    let screen = context.screen;
    let again = format!("It goes on. To follow it again: pushctl status {id} --follow");
    let told_steps = Cell::new(None);
    let ended = follow::until(
        &again,
        |text| screen.note(text),
        async || {
            let (answer, whole) = look(context, id).await?;
            if !screen.json {
                let news = match told_steps.replace(Some(whole.timeline.len())) {
                    None => head(&whole, screen.paint()) + &steps(&whole.timeline, screen.paint()),
                    Some(told) => steps(
                        whole.timeline.get(told..).unwrap_or_default(),
                        screen.paint(),
                    ),
                };
                if !news.is_empty() {
                    screen.text(&news)?;
                }
            }
            Ok((whole.notification.status != "pending").then_some((answer, whole)))
        },
    );
    let (answer, whole) = ended.await?;
    screen.answer(&answer.body, |paint| summary(&whole, paint))?;
    if whole.notification.status == "sent" {
        Ok(())
    } else {
        Err(Failure::NotDone("it was not sent".to_owned()))
    }
}

/// What a status says about itself.
pub fn mood(status: &str) -> Mood {
    match status {
        "sent" | "success" | "accepted" | "done" | "open" | "connected" => Mood::Good,
        "failed" | "broken" | "disconnected" => Mood::Bad,
        _ => Mood::Odd,
    }
}

fn told(whole: &Whole, paint: Paint) -> String {
    head(whole, paint) + &steps(&whole.timeline, paint) + "\n" + &summary(whole, paint)
}

/// What it is, up to the timeline.
fn head(whole: &Whole, paint: Paint) -> String {
    let item = &whole.notification;
    let time = |at: Option<DateTime<Utc>>| at.map(exact);
    let data = item.data.iter();
    let data: Vec<_> = data
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    let lines = [
        (
            "title",
            Some(escape(&item.title)).filter(|text| !text.is_empty()),
        ),
        (
            "body",
            Some(escape(&item.body)).filter(|text| !text.is_empty()),
        ),
        (
            "data",
            Some(data.join("  ")).filter(|text| !text.is_empty()),
        ),
        (
            "type",
            Some(format!(
                "{}, priority {}",
                escape(&item.kind),
                escape(&item.priority)
            )),
        ),
        ("collapse key", item.collapse_key.as_deref().map(escape)),
        ("accepted", Some(exact(item.created_at))),
        ("send at", time(item.send_at)),
        ("expires", time(item.expires_at)),
    ];
    let title = format!(
        "Notification {} for customer {}",
        escape(&item.notification_id),
        item.customer_id
    );
    let mut head = paint.mood(Mood::Strong, &title) + "\n";
    for (name, value) in lines {
        if let Some(value) = value {
            head.push_str(&format!("  {name:<13} {value}\n"));
        }
    }
    head + "\n" + &paint.mood(Mood::Strong, "Timeline (UTC)") + "\n"
}

fn steps(timeline: &[Decision], paint: Paint) -> String {
    let line = |decision: &Decision| {
        let at = paint.mood(
            Mood::Dim,
            &decision.at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        );
        format!(
            "  {at}  {:<13} {}\n",
            escape(&decision.step),
            escape(&decision.text)
        )
    };
    timeline.iter().map(line).collect()
}

/// How it stands, device by device.
fn summary(whole: &Whole, paint: Paint) -> String {
    let item = &whole.notification;
    let mut lines = vec![paint.mood(Mood::Strong, "Devices")];
    if whole.deliveries.is_empty() {
        lines.push("  none was asked".to_owned());
    } else {
        lines.push(devices(&whole.deliveries, paint));
    }
    let reason = item.reason.as_deref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", escape(reason)));
    let ended = item.completed_at.map(exact);
    lines.push(format!(
        "\nStatus {}{reason}   fcm {}   expo {}   tries {}   ended {}   opened {}",
        paint.mood(mood(&item.status), &escape(&item.status)),
        escape(&item.fcm_result),
        escape(&item.expo_result),
        item.attempts,
        or_nothing(ended.as_deref()),
        or_nothing(item.opened_at.map(exact).as_deref()),
    ));
    lines.join("\n")
}

fn devices(deliveries: &[Delivery], paint: Paint) -> String {
    let mut table = paint.table([
        "DEVICE", "PLATFORM", "PROVIDER", "TOKEN", "OUTCOME", "TRIES", "RECEIPT", "AT (UTC)", "WHY",
    ]);
    for delivery in deliveries {
        let outcome = escape(&delivery.outcome);
        let error = delivery.error.as_ref();
        table.add_row([
            or_nothing(delivery.device_id.as_deref()),
            or_nothing(delivery.platform.as_deref()),
            escape(&delivery.provider),
            or_nothing(delivery.token.as_deref()),
            if delivery.maybe_delivered {
                format!("{outcome}, maybe delivered")
            } else {
                outcome
            },
            delivery.attempts.to_string(),
            or_nothing(delivery.receipt.as_deref()),
            short(delivery.at),
            error.map_or_else(
                || NOTHING.to_owned(),
                |cause| format!("{}: {}", escape(&cause.code), escape(&cause.text)),
            ),
        ]);
    }
    keep_whole(&mut table, &[7]);
    drawn(&table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Whole {
        let at = "2026-01-02T03:04:05.678Z";
        serde_json::from_value(json!({
            "success": true, "message": "Notification found", "notificationId": "0198", "customerId": 123,
            "type": "reached", "title": "Arrived\u{1b}]0;x\u{7}", "body": "b", "data": {"bookingId": "4"}, "imageUrl": null,
            "status": "failed", "reason": "invalid_tokens", "fcmResult": "failed", "expoResult": "not_sent", "attempts": 1,
            "priority": "high", "collapseKey": null, "createdAt": at, "sendAt": null, "expiresAt": at, "completedAt": at,
            "openedAt": null,
            "deliveries": [{"deviceId": "d-1", "platform": "android", "provider": "fcm", "token": "…wxyz",
                "outcome": "token_dead", "providerId": null, "attempts": 1, "maybeDelivered": true,
                "error": {"code": "UNREGISTERED", "text": "the token is dead"}, "receipt": null, "at": at}],
            "timeline": [{"at": at, "step": "accepted", "text": "from booking"}, {"at": at, "step": "new", "text": "x"}],
        }))
        .unwrap()
    }

    #[test]
    fn everything_is_told_and_nothing_reaches_the_terminal_raw() {
        let told = told(&whole(), Paint::PLAIN);
        for part in [
            "Notification 0198 for customer 123",
            "Arrived\\u{1b}]0;x\\u{7}",
            "bookingId=4",
            "2026-01-02 03:04:05.678  accepted      from booking",
            "…wxyz",
            "token_dead, maybe delivered",
            "UNREGISTERED: the token is dead",
            "Status failed (invalid_tokens)",
            "ended 2026-01-02 03:04:05.678 UTC",
        ] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn colours_tell_how_it_ended() {
        let paint = Paint {
            colours: true,
            width: Some(100),
        };
        assert!(summary(&whole(), paint).contains(&paint.mood(Mood::Bad, "failed")));
    }
}
