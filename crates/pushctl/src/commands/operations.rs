//! `pushctl operations`

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use comfy_table::Table;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Answer;
use crate::commands::Context;
use crate::commands::notification::or_nothing;
use crate::commands::status::mood;
use crate::escape::escape;
use crate::failure::Failure;
use crate::follow;
use crate::pages::{self, Paging};
use crate::progress::Progress;
use crate::screen::{Paint, keep_whole};
use crate::when::{exact, short};

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List operations, the newest first
    List(Paging),
    /// Tell how far one is
    Show {
        /// The operation
        operation: Uuid,
        /// Stay until it has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop one: what it has done stays done
    Cancel {
        /// The operation
        operation: Uuid,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    operation_id: String,
    kind: String,
    state: String,
    total: u64,
    done: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    waiting: u64,
    per_second: u32,
    reason: Option<String>,
    created_by: Option<String>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl Command {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::List(paging) => {
                pages::show(
                    context,
                    &paging,
                    || client.get(&["admin", "operations"]),
                    table,
                )
                .await
            }
            Self::Show { operation, follow } if follow => {
                self::follow(context, &operation.to_string()).await
            }
            Self::Show { operation, .. } => {
                let answer = ask(context, &operation.to_string()).await?;
                tell(context, &answer)
            }
            Self::Cancel { operation } => {
                let id = operation.to_string();
                let path = ["admin", "operations", &id, "cancel"];
                let answer = client.post(&path, &serde_json::json!({})).answer().await?;
                tell(context, &answer)
            }
        }
    }
}

async fn ask(context: &Context, id: &str) -> Result<Answer, Failure> {
    context
        .client
        .get(&["admin", "operations", id])
        .answer()
        .await
}

fn tell(context: &Context, answer: &Answer) -> Result<(), Failure> {
    let operation: Operation = answer.read()?;
    context
        .screen
        .answer(&answer.body, |paint| told(&operation, paint))
}

/// Shows how far it is until it ends, and how it ended.
pub async fn follow(context: &Context, id: &str) -> Result<(), Failure> {
    let again = again(id);
    let progress = Progress::new("handled");
    let ended = follow::until(
        &again,
        |text| progress.note(text),
        async || {
            let answer = ask(context, id).await?;
            let operation: Operation = answer.read()?;
            let handled = operation.done + operation.failed;
            progress.set(handled, operation.total, &trouble(&operation));
            Ok((operation.state != "running").then_some((answer, operation)))
        },
    )
    .await;
    drop(progress);
    let (answer, operation) = ended?;
    context
        .screen
        .answer(&answer.body, |paint| told(&operation, paint))?;
    if operation.state == "done" && operation.failed == 0 {
        Ok(())
    } else {
        Err(Failure::NotDone(format!(
            "{} of {} were not handled; the operation is {}",
            operation.total.saturating_sub(operation.done),
            operation.total,
            escape(&operation.state)
        )))
    }
}

/// How to come back to an operation that goes on without us.
pub fn again(id: &str) -> String {
    let id = escape(id);
    format!(
        "The operation goes on. To follow it again: pushctl operations show {id} --follow\nTo stop it: pushctl operations \
         cancel {id}. All of them: pushctl operations list"
    )
}

fn trouble(operation: &Operation) -> String {
    let mut parts = Vec::new();
    if operation.failed > 0 {
        parts.push(format!("{} failed", operation.failed));
    }
    if operation.waiting > 0 {
        parts.push(format!("{} wait for another replay", operation.waiting));
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!("({})", parts.join(", "))
    }
}

fn told(operation: &Operation, paint: Paint) -> String {
    let state = paint.mood(mood(&operation.state), &escape(&operation.state));
    let finished = operation.finished_at.map(exact);
    let mut told = format!(
        "Operation {} ({}): {state}\n  handled       {} of {}, at most {} a second\n  not handled   {}\n  started       {} by {}\n  ended         {}\n",
        escape(&operation.operation_id),
        escape(&operation.kind),
        operation.done,
        operation.total,
        operation.per_second,
        operation.failed,
        exact(operation.created_at),
        or_nothing(operation.created_by.as_deref()),
        or_nothing(finished.as_deref()),
    );
    if let Some(reason) = &operation.reason {
        told.push_str(&format!("  because       {}\n", escape(reason)));
    }
    for (why, count) in &operation.failures {
        told.push_str(&format!(
            "    {count:>6}  {}: {}\n",
            escape(why),
            advice(why)
        ));
    }
    told
}

/// What to do about what could not be handled.
fn advice(why: &str) -> &'static str {
    match why {
        "already_handled" => "somebody else has replayed or discarded them meanwhile",
        "expired" => "their time is over; if they are still worth sending: --extend-ttl 1h",
        "content_gone" => "their content was erased or purged; discard them",
        "cancelled" => "the notifications were cancelled since; discard them",
        "superseded" => "newer notifications have taken their place; discard them",
        "unknown_notification" => "the database has no such notifications; discard them",
        "incomplete_bytes" => {
            "they were too large to be kept; discard them, and have them published again"
        }
        "unreadable" => "a newer program wrote them: upgrade, or discard them",
        _ => "see `pushctl dead list --state open`",
    }
}

fn table(paint: Paint, operations: &[Operation]) -> Table {
    let mut table = paint.table([
        "STARTED (UTC)",
        "OPERATION",
        "KIND",
        "STATE",
        "DONE",
        "FAILED",
        "TOTAL",
        "BY",
    ]);
    for operation in operations {
        table.add_row([
            short(operation.created_at),
            escape(&operation.operation_id),
            escape(&operation.kind),
            escape(&operation.state),
            operation.done.to_string(),
            operation.failed.to_string(),
            operation.total.to_string(),
            or_nothing(operation.created_by.as_deref()),
        ]);
    }
    keep_whole(&mut table, &[0, 1]);
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_not_be_handled_is_told_with_what_to_do() {
        let operation = json!({
            "operationId": "0198", "kind": "replay_dead_letters", "state": "done", "total": 5, "done": 2, "failed": 3,
            "failures": {"expired": 2, "news": 1}, "waiting": 1, "filter": {}, "perSecond": 100, "extendTtlSeconds": null,
            "reason": "x\u{1b}", "createdBy": "ops", "createdAt": "2026-01-02T03:04:05.678Z", "finishedAt": null,
        });
        let operation: Operation = serde_json::from_value(operation).unwrap();
        let told = told(&operation, Paint::PLAIN);
        for part in [
            "2 of 5",
            "--extend-ttl 1h",
            "news: see",
            "x\\u{1b}",
            "by ops",
        ] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
        assert_eq!(trouble(&operation), "(3 failed, 1 wait for another replay)");
        assert!(again("0198").contains("operations show 0198 --follow"));
    }
}
