//! `pushctl queues`

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::commands::Context;
use crate::commands::notification::{NOTHING, or_nothing};
use crate::commands::status::mood;
use crate::escape::escape;
use crate::failure::Failure;
use crate::screen::{Mood, Paint, drawn, keep_whole};
use crate::when::{exact, length};

/// Queues and lanes, as the API tells of them.
#[derive(Debug, Deserialize)]
pub struct Queues {
    pub broker: Connection,
    pub queues: Vec<Queue>,
    pub providers: Vec<Lane>,
}

/// How push-api is connected to the broker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    pub state: String,
    pub reason: Option<String>,
    pub unpublished_age_seconds: Option<u64>,
}

/// A queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    pub name: String,
    pub depth: Option<u64>,
    pub consumers: Option<u64>,
    pub age_seconds: Option<u64>,
    pub problem: Option<String>,
}

/// A provider's lane.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    pub provider: String,
    pub state: Option<String>,
    pub paused_by: Option<String>,
    pub paused_at: Option<DateTime<Utc>>,
    pub workers: Vec<WorkerLane>,
}

/// A lane in one worker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerLane {
    pub worker: String,
    pub state: String,
    pub in_flight: u64,
    pub limit: u64,
    pub report_age_seconds: u64,
}

/// Tells them.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let answer = context.client.get(&["admin", "queues"]).answer().await?;
    let queues: Queues = answer.read()?;
    context
        .screen
        .answer(&answer.body, |paint| told(&queues, paint))
}

/// A length of time, or that there is none.
fn age(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || NOTHING.to_owned(),
        |seconds| length(Duration::from_secs(seconds)),
    )
}

fn told(queues: &Queues, paint: Paint) -> String {
    let Connection {
        state,
        reason,
        unpublished_age_seconds,
    } = &queues.broker;
    let mut told = format!("Broker {}", paint.mood(mood(state), &escape(state)));
    if let Some(reason) = reason {
        told.push_str(&format!(": {}", escape(reason)));
    }
    if unpublished_age_seconds.is_some() {
        let waits = age(*unpublished_age_seconds);
        told.push_str(&format!(
            "; the oldest that it has not taken waits for {waits}"
        ));
    }
    told.push_str("\n\n");
    let mut table = paint.table(["QUEUE", "DEPTH", "CONSUMERS", "OLDEST", "PROBLEM"]);
    let count = |count: Option<u64>| count.map_or_else(|| NOTHING.to_owned(), |n| n.to_string());
    for queue in &queues.queues {
        table.add_row([
            escape(&queue.name),
            count(queue.depth),
            count(queue.consumers),
            age(queue.age_seconds),
            or_nothing(queue.problem.as_deref()),
        ]);
    }
    told.push_str(&drawn(&table));
    for lane in &queues.providers {
        told.push_str("\n\n");
        told.push_str(&lane_told(lane, paint));
    }
    told
}

fn lane_told(lane: &Lane, paint: Paint) -> String {
    let name = paint.mood(Mood::Strong, &escape(&lane.provider));
    let Some(state) = &lane.state else {
        return format!("Lane {name}: no running worker is set up for it");
    };
    let mut told = format!("Lane {name}: {}", paint.mood(mood(state), &escape(state)));
    if let (Some(by), Some(at)) = (&lane.paused_by, lane.paused_at) {
        told.push_str(&format!(" by {}, {}", escape(by), exact(at)));
    }
    if lane.workers.is_empty() {
        return told;
    }
    let mut table = paint.table(["WORKER", "STATE", "IN FLIGHT", "LIMIT", "TOLD"]);
    for worker in &lane.workers {
        table.add_row([
            escape(&worker.worker),
            escape(&worker.state),
            worker.in_flight.to_string(),
            worker.limit.to_string(),
            format!("{} s ago", worker.report_age_seconds),
        ]);
    }
    keep_whole(&mut table, &[0]);
    format!("{told}\n{}", drawn(&table))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queues_and_lanes_are_told() {
        let queues = json!({
            "success": true, "message": "m",
            "broker": {"state": "blocked", "reason": "memory\u{1b}", "unpublishedAgeSeconds": 61},
            "queues": [{"name": "push.jobs", "depth": 12, "consumers": 0, "ageSeconds": 4, "problem": null},
                       {"name": "push.dead", "depth": null, "consumers": null, "ageSeconds": null, "problem": "away"}],
            "providers": [
                {"provider": "fcm", "state": "paused", "paused": true, "pausedBy": "ops", "pausedAt": "2026-01-02T03:04:05.678Z",
                 "workers": [{"worker": "w1", "state": "open", "inFlight": 1, "limit": 2, "reportAgeSeconds": 3}]},
                {"provider": "expo", "state": null, "paused": false, "pausedBy": null, "pausedAt": null, "workers": []}],
        });
        let told = told(&serde_json::from_value(queues).unwrap(), Paint::PLAIN);
        for part in [
            "Broker blocked: memory\\u{1b}; the oldest that it has not taken waits for 1 min 1 s",
            "push.jobs",
            "paused by ops, 2026-01-02 03:04:05.678 UTC",
            "3 s ago",
            "Lane expo: no running worker",
        ] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
    }
}
