//! `pushctl customers`

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use crate::client::Answer;
use crate::commands::history::table;
use crate::commands::notification::{Notification, or_nothing};
use crate::commands::{Context, operations};
use crate::confirm::sure;
use crate::escape::escape;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::{Mood, Paint, drawn};

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Tell what a customer wants, and which notifications there were lately
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

/// Each part needs a scope of its own: what the key may not see is said, and the rest is shown.
async fn show(context: &Context, customer: i64, limit: u32) -> Result<(), Failure> {
    let id = customer.to_string();
    let preferences = context.client.get(&["preferences", &id]).answer().await;
    let preferences = allowed(context, "preferences", preferences)?;
    let history = context.client.get(&["history"]);
    let history = history
        .query("customerId", Some(customer))
        .query("limit", Some(limit));
    let history = allowed(context, "history", history.answer().await)?;
    if preferences.is_none() && history.is_none() {
        let found = "the key may see nothing of a customer: it needs the scopes register and read";
        let exit = Exit::Credentials;
        return Err(Failure::Found { exit, found });
    }
    if context.screen.json {
        let body = |answer: &Option<Answer>| answer.as_ref().map(|answer| answer.body.clone());
        return context.screen.document(&json!({
            "customerId": customer,
            "preferences": body(&preferences),
            "history": body(&history),
        }));
    }
    let paint = context.screen.paint();
    let mut told = paint.mood(Mood::Strong, &format!("Customer {customer}"));
    if let Some(answer) = preferences {
        told.push_str(&format!("\n{}", wanted(&answer.read()?)));
    }
    if let Some(answer) = history {
        told.push_str(&format!("\n{}", latest(&answer.read()?, paint)));
    }
    context.screen.text(&told)
}

fn allowed(
    context: &Context,
    what: &str,
    answer: Result<Answer, Failure>,
) -> Result<Option<Answer>, Failure> {
    match answer {
        Err(Failure::Refused(refusal)) if refusal.status == 403 => {
            context.screen.note(&format!("{what}: {refusal}"));
            Ok(None)
        }
        answer => answer.map(Some),
    }
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
    fn preferences_are_told_in_words() {
        let preferences = json!({"customerId": 7, "pushEnabled": false, "types": {"offer": false, "news": true},
                                 "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"},
                                 "locale": null, "mandatoryTypes": []});
        let told = wanted(&serde_json::from_value(preferences).unwrap());
        assert_eq!(
            told,
            "  push          off\n  not wanted    offer\n  quiet hours   22:00 to 07:00, Europe/Vienna\n  language      –\n"
        );
    }
}
