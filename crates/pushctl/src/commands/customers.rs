//! `pushctl customers`

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use crate::client::Answer;
use crate::commands::history::table;
use crate::commands::notification::{Notification, or_nothing};
use crate::commands::{Context, operations};
use crate::confirm::sure;
use crate::escape::escape;
use crate::failure::Failure;
use crate::screen::{Mood, Paint, drawn};
use crate::when::short;

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Tell a customer's devices, what the customer wants, and which notifications there were lately
    Show {
        /// The customer
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        customer: i64,
        /// How many notifications
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
    },
    /// Erase a customer: devices, preferences, what waits to be sent, and the content of all notifications
    Erase {
        /// The customer
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        customer: i64,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Do not wait until all content is gone; print the operation's id
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Customer {
    devices: Vec<Device>,
    tokens_off: Vec<TokenOff>,
    preferences: Preferences,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    device_id: Option<String>,
    platform: String,
    fcm_token: Option<String>,
    expo_push_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenOff {
    device_id: Option<String>,
    provider: String,
    token: Option<String>,
    reason: Option<String>,
    since: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preferences {
    push_enabled: bool,
    types: BTreeMap<String, bool>,
    quiet_hours: Option<QuietHours>,
    locale: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuietHours {
    start: String,
    end: String,
    time_zone: String,
}

#[derive(Deserialize)]
struct History {
    items: Vec<Notification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Erased {
    operation_id: String,
    state: String,
    done: u64,
}

impl Command {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show { customer, limit } => show(context, customer, limit).await,
            Self::Erase {
                customer,
                yes,
                no_wait,
            } => erase(context, customer, yes, no_wait).await,
        }
    }
}

/// The history needs a scope of its own: a key that may not see it is told so, and shown the rest.
async fn show(context: &Context, customer: i64, limit: u32) -> Result<(), Failure> {
    let id = customer.to_string();
    let found = context
        .client
        .get(&["admin", "customers", &id])
        .answer()
        .await?;
    let history = context.client.get(&["history"]);
    let history = history
        .query("customerId", Some(customer))
        .query("limit", Some(limit));
    let history = allowed(context, history.answer().await)?;
    if context.screen.json {
        return context.screen.document(&json!({
            "customer": found.body,
            "history": history.map(|answer| answer.body),
        }));
    }
    let paint = context.screen.paint();
    let mut told = paint.mood(Mood::Strong, &format!("Customer {customer}")) + "\n";
    told.push_str(&known(&found.read()?, paint));
    if let Some(answer) = history {
        told.push_str(&format!("\n\n{}", latest(&answer.read()?, paint)));
    }
    context.screen.text(&told)
}

fn allowed(context: &Context, answer: Result<Answer, Failure>) -> Result<Option<Answer>, Failure> {
    match answer {
        Err(Failure::Refused(refusal)) if refusal.status == 403 => {
            context.screen.note(&format!("history: {refusal}"));
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

fn known(customer: &Customer, paint: Paint) -> String {
    let mut told = wanted(&customer.preferences) + "\n";
    if customer.devices.is_empty() {
        told.push_str("There is no device that a push can go to.");
    } else {
        let mut table = paint.table(["DEVICE", "PLATFORM", "FCM", "EXPO"]);
        for device in &customer.devices {
            table.add_row([
                or_nothing(device.device_id.as_deref()),
                escape(&device.platform),
                or_nothing(device.fcm_token.as_deref()),
                or_nothing(device.expo_push_token.as_deref()),
            ]);
        }
        told.push_str(&drawn(&table));
    }
    if !customer.tokens_off.is_empty() {
        let mut table = paint.table(["OFF SINCE (UTC)", "DEVICE", "PROVIDER", "TOKEN", "WHY"]);
        for off in &customer.tokens_off {
            table.add_row([
                short(off.since),
                or_nothing(off.device_id.as_deref()),
                escape(&off.provider),
                or_nothing(off.token.as_deref()),
                or_nothing(off.reason.as_deref()),
            ]);
        }
        told.push_str(&format!("\n\n{}", drawn(&table)));
    }
    told
}

fn wanted(preferences: &Preferences) -> String {
    let switched_off: Vec<_> = preferences
        .types
        .iter()
        .filter(|(_, wanted)| !**wanted)
        .map(|(kind, _)| escape(kind))
        .collect();
    let quiet = preferences.quiet_hours.as_ref().map(|hours| {
        let QuietHours {
            start,
            end,
            time_zone,
        } = hours;
        format!("{start} to {end}, {time_zone}")
    });
    format!(
        "  push          {}\n  not wanted    {}\n  quiet hours   {}\n  language      {}\n",
        if preferences.push_enabled {
            "on"
        } else {
            "off"
        },
        or_nothing(
            Some(switched_off.join(", "))
                .as_deref()
                .filter(|text| !text.is_empty())
        ),
        or_nothing(quiet.as_deref()),
        or_nothing(preferences.locale.as_deref()),
    )
}

fn latest(history: &History, paint: Paint) -> String {
    if history.items.is_empty() {
        return "No notification was ever accepted.".to_owned();
    }
    drawn(&table(paint, &history.items))
}

async fn erase(context: &Context, customer: i64, yes: bool, no_wait: bool) -> Result<(), Failure> {
    let question = format!(
        "Erase customer {customer}: devices, preferences, what waits to be sent, and the content of all notifications? \
         This cannot be taken back."
    );
    sure(&question, yes)?;
    let answer = context.client.delete(&["customers", &customer.to_string()]);
    let answer = answer.answer().await?;
    let erased: Erased = answer.read()?;
    if erased.state == "done" {
        return context.screen.answer(&answer.body, |_| {
            format!(
                "Customer {customer} is erased; {} notifications were emptied.",
                erased.done
            )
        });
    }
    context
        .screen
        .note("Nothing is sent to the customer any more; content is still being emptied.");
    if no_wait {
        context
            .screen
            .note(&operations::again(&erased.operation_id));
        return context
            .screen
            .answer(&answer.body, |_| escape(&erased.operation_id));
    }
    operations::follow(context, &erased.operation_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_told_in_words() {
        let customer = json!({
            "customerId": 7,
            "devices": [{"deviceId": "pixel\u{1b}", "platform": "android", "fcmToken": "…aaaa", "expoPushToken": null}],
            "tokensOff": [{"deviceId": null, "provider": "expo", "token": null, "reason": "reported_dead",
                           "since": "2026-01-02T03:04:05.678Z"}],
            "preferences": {"pushEnabled": false, "types": {"offer": false, "news": true},
                            "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"},
                            "locale": null, "mandatoryTypes": []},
        });
        let told = known(&serde_json::from_value(customer).unwrap(), Paint::PLAIN);
        for part in [
            "push          off",
            "not wanted    offer\n",
            "22:00 to 07:00, Europe/Vienna",
            "language      –",
            "pixel\\u{1b}",
            "…aaaa",
            "2026-01-02 03:04:05",
            "reported_dead",
        ] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
    }
}
