//! `pushctl dead replay` and `pushctl dead discard`: one by one by their ids, or many by a filter.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::filter::Filter;
use super::letter::Details;
use super::many::Many;
use crate::commands::Context;
use crate::confirm::sure;
use crate::escape::escape;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::follow;
use crate::progress::Progress;
use crate::when::seconds;

/// So many can be named without being asked.
const UNASKED_MAX: usize = 10;
/// How long to look what came of replays: longer than a provider may take.
const OUTCOME_MAX: Duration = Duration::from_secs(30);

/// Which dead letters.
#[derive(clap::Args, Debug)]
#[group(id = "which", required = true, multiple = true, args = ["ids", "all", "reason", "provider", "customer", "notification", "from", "to", "replayed"])]
pub struct Which {
    /// The dead letters
    #[arg(value_name = "ID", conflicts_with_all = ["filter", "all"])]
    ids: Vec<u64>,
    #[command(flatten)]
    filter: Filter,
    /// All that are open
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    /// Only count them
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// How many a second at most, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "ids", value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_second: Option<u32>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Do not wait for the end; print the operation's id
    #[arg(long)]
    no_wait: bool,
}

/// Which to replay, and how.
#[derive(clap::Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    which: Which,
    /// Give more time to what has expired: 3600, 90s, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    extend_ttl: Option<i64>,
}

/// Which to discard, and why.
#[derive(clap::Args, Debug)]
pub struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why, for those who look at them later
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    because: Option<String>,
}

impl Replay {
    /// Tries them again.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut how = json!({});
        if let Some(seconds) = self.extend_ttl {
            how["extendTtlSeconds"] = seconds.into();
        }
        self.which.act(context, Act::Replay, how).await
    }
}

impl Discard {
    /// Puts them aside.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut how = json!({});
        if let Some(reason) = self.because {
            how["reason"] = reason.into();
        }
        self.which.act(context, Act::Discard, how).await
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Replay,
    Discard,
}

impl Act {
    /// The last part of the path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    /// A question's first word.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Replay => "Replay",
            Self::Discard => "Discard",
        }
    }
}

impl Which {
    async fn act(self, context: &Context, act: Act, how: Value) -> Result<(), Failure> {
        if self.ids.is_empty() {
            let many = Many {
                filter: self.filter,
                per_second: self.per_second,
                act,
                how,
            };
            if self.dry_run {
                return many.count(context).await;
            }
            return many.run(context, self.yes, self.no_wait).await;
        }
        let ids: BTreeSet<u64> = self.ids.into_iter().collect();
        if ids.len() > UNASKED_MAX {
            let question = format!("{} {} dead letters?", act.title(), ids.len());
            sure(&question, self.yes)?;
        }
        let mut worst = Exit::Fine;
        let mut replayed = Vec::new();
        let progress = (ids.len() > 1).then(|| Progress::new("asked for"));
        for (id, done) in ids.iter().zip(1_u64..) {
            match one(context, act, *id, &how).await {
                Ok(()) => replayed.push(*id),
                // What concerns this one only; who has no key, or no service, has it for no other.
                Err(Failure::Refused(refusal)) if [404, 409].contains(&refusal.status) => {
                    if context.screen.json {
                        context.screen.item(&with_id(&refusal.body, *id))?;
                    }
                    context.screen.note(&format!("dead letter {id}: {refusal}"));
                    worst = worst.max(Failure::Refused(refusal).exit());
                }
                Err(failure) => return Err(failure),
            }
            if let Some(progress) = &progress {
                progress.set(done, ids.len() as u64, "");
            }
        }
        drop(progress);
        if act == Act::Replay && !self.no_wait && !replayed.is_empty() {
            worst = worst.max(outcomes(context, &replayed).await?);
        }
        if worst == Exit::Fine {
            return Ok(());
        }
        Err(Failure::Found {
            exit: worst,
            found: "not all of them came about",
        })
    }
}

async fn one(context: &Context, act: Act, id: u64, how: &Value) -> Result<(), Failure> {
    let letter = id.to_string();
    let path = ["admin", "deadLetters", &letter, act.path()];
    let post = || context.client.post(&path, how);
    let answer = follow::while_busy(context.screen, post).await?;
    if context.screen.json {
        return context.screen.item(&with_id(&answer.body, id));
    }
    let message = answer.body["message"].as_str().unwrap_or_default();
    context
        .screen
        .text(&format!("dead letter {id}: {}", escape(message)))
}

/// Which of many an answer is about.
fn with_id(body: &Value, id: u64) -> Value {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("id".to_owned(), id.into());
    }
    body
}

/// Looks for a while what came of replays.
async fn outcomes(context: &Context, ids: &[u64]) -> Result<Exit, Failure> {
    let again = "They go on without this program: pushctl dead show ID tells what came of one";
    let deadline = Instant::now() + OUTCOME_MAX;
    let ended: RefCell<BTreeMap<u64, Outcome>> = RefCell::default();
    follow::until(
        again,
        |text| context.screen.note(text),
        async || {
            for id in ids {
                if ended.borrow().contains_key(id) {
                    continue;
                }
                let letter = id.to_string();
                let answer = context
                    .client
                    .get(&["admin", "deadLetters", &letter])
                    .answer()
                    .await?;
                if let Some(outcome) = outcome(&answer.read()?) {
                    context
                        .screen
                        .note(&format!("dead letter {id}: {}", outcome.told));
                    ended.borrow_mut().insert(*id, outcome);
                }
            }
            let all = ended.borrow().len() == ids.len();
            Ok((all || Instant::now() > deadline).then_some(()))
        },
    )
    .await?;
    let ended = ended.into_inner();
    for id in ids.iter().filter(|id| !ended.contains_key(id)) {
        context.screen.note(&format!(
            "dead letter {id}: the notification is still pending; pushctl dead show {id} tells what came of it"
        ));
    }
    let well = ended.values().filter(|outcome| outcome.good).count();
    Ok(if well == ids.len() {
        Exit::Fine
    } else {
        Exit::Failed
    })
}

/// What came of a replay.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    good: bool,
    told: String,
}

impl Outcome {
    fn of(good: bool, told: impl Into<String>) -> Self {
        let told = told.into();
        Self { good, told }
    }
}

/// `None`: nothing yet.
fn outcome(details: &Details) -> Option<Outcome> {
    if let Some(newer) = details.newer_dead_letter_id {
        let told = format!("given up again, as dead letter {newer}");
        return Some(Outcome::of(false, told));
    }
    // Bytes that were no job are published again, and that is all that is known of them.
    let Some(now) = &details.notification else {
        return Some(Outcome::of(true, "published again"));
    };
    if now.status == "pending" {
        return None;
    }
    // Another device may have got it before: what counts is the one that the letter is about.
    let device = details.target.as_ref();
    let good = device.map_or(now.status == "sent", |device| device.outcome == "accepted");
    let reason = now.reason.as_deref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", escape(reason)));
    let device = device.map_or_else(String::new, |device| {
        format!("; of the device: {}", escape(&device.outcome))
    });
    let status = escape(&now.status);
    let told = format!("the notification is {status}{reason}{device}");
    Some(Outcome::of(good, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_replay_is_judged_by_its_own_device() {
        let at = "2026-01-02T03:04:05.678Z";
        let judged = |status: &str, target: Value, newer: Value| {
            let details = json!({
                "id": 17, "notificationId": "0198", "customerId": 7, "provider": "fcm", "platform": "android",
                "token": "…abcd", "reason": "operator_must_act", "error": {"code": "X", "text": "x"}, "attempts": 1,
                "createdAt": at, "state": "replayed", "replayedAt": at, "replayedBy": "ops", "discardedAt": null,
                "discardedBy": null, "discardReason": null, "trail": [], "bytes": null,
                "notification": {"status": status, "reason": null}, "target": target, "newerDeadLetterId": newer,
            });
            outcome(&serde_json::from_value(details).unwrap()).map(|outcome| outcome.good)
        };
        let device = |outcome: &str| json!({ "outcome": outcome });
        assert_eq!(judged("pending", device("accepted"), Value::Null), None);
        assert_eq!(judged("sent", device("accepted"), Value::Null), Some(true));
        assert_eq!(
            judged("sent", device("token_dead"), Value::Null),
            Some(false)
        );
        assert_eq!(judged("sent", Value::Null, Value::Null), Some(true));
        assert_eq!(judged("failed", Value::Null, Value::Null), Some(false));
        assert_eq!(judged("pending", Value::Null, json!(18)), Some(false));
    }
}
