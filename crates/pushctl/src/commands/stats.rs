//! `pushctl stats`

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::commands::Context;
use crate::commands::notification::NOTHING;
use crate::escape::escape;
use crate::failure::Failure;
use crate::screen::{Mood, Paint, drawn};
use crate::when::{When, short};

/// Which figures.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// From the hour or day on that this lies in [default: 24h ago; of days 30d]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    from: Option<When>,
    /// To the end of the hour or day that this lies in [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    to: Option<When>,
    /// How long a bucket is
    #[arg(long, default_value = "hour", value_parser = ["hour", "day"])]
    interval: String,
    /// Also by status, reason, provider or type
    #[arg(long, value_name = "WHAT", value_parser = ["status", "reason", "provider", "type"])]
    group_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stats {
    totals: Bucket,
    buckets: Vec<Bucket>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    from: DateTime<Utc>,
    accepted: u64,
    sent: u64,
    failed: u64,
    suppressed: u64,
    pending: u64,
    opened: u64,
    success_rate: Option<f64>,
    open_rate: Option<f64>,
    delivery_time_ms: Percentiles,
    failed_by_reason: BTreeMap<String, u64>,
    suppressed_by_reason: BTreeMap<String, u64>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Percentiles {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Group {
    key: String,
    count: u64,
}

impl Args {
    /// Tells them.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let now = Utc::now();
        let answer = context
            .client
            .get(&["stats"])
            .query("from", self.from.map(|from| from.before(now)))
            .query("to", self.to.map(|to| to.before(now)))
            .query("interval", Some(&self.interval))
            .query("groupBy", self.group_by.as_ref())
            .answer()
            .await?;
        let stats: Stats = answer.read()?;
        context
            .screen
            .answer(&answer.body, |paint| told(&stats, paint))
    }
}

fn told(stats: &Stats, paint: Paint) -> String {
    let mut table = paint.table([
        "FROM (UTC)",
        "ACCEPTED",
        "SENT",
        "FAILED",
        "SUPPRESSED",
        "PENDING",
        "OPENED",
        "SUCCESS",
        "OPEN",
        "P50",
        "P95",
        "P99",
    ]);
    let buckets = stats.buckets.iter().filter(|bucket| bucket.accepted > 0);
    for bucket in buckets {
        table.add_row(row(short(bucket.from), bucket));
    }
    table.add_row(row("all".to_owned(), &stats.totals));
    let mut told = drawn(&table);
    let all = &stats.totals;
    let groups = all
        .groups
        .iter()
        .map(|group| (&group.key, group.count))
        .collect();
    for (what, counts) in [
        (
            "Failed because",
            all.failed_by_reason
                .iter()
                .map(|(why, count)| (why, *count))
                .collect(),
        ),
        (
            "Suppressed because",
            all.suppressed_by_reason
                .iter()
                .map(|(why, count)| (why, *count))
                .collect(),
        ),
        ("Of these", groups),
    ] {
        let counts: Vec<(&String, u64)> = counts;
        if !counts.is_empty() {
            told.push_str(&format!("\n\n{}", paint.mood(Mood::Strong, what)));
            for (key, count) in counts {
                told.push_str(&format!("\n  {count:>8}  {}", escape(key)));
            }
        }
    }
    told
}

fn row(name: String, bucket: &Bucket) -> [String; 12] {
    let rate = |rate: Option<f64>| {
        rate.map_or_else(
            || NOTHING.to_owned(),
            |rate| format!("{:.1} %", rate * 100.0),
        )
    };
    let time =
        |time: Option<u64>| time.map_or_else(|| NOTHING.to_owned(), |time| format!("{time} ms"));
    [
        name,
        bucket.accepted.to_string(),
        bucket.sent.to_string(),
        bucket.failed.to_string(),
        bucket.suppressed.to_string(),
        bucket.pending.to_string(),
        bucket.opened.to_string(),
        rate(bucket.success_rate),
        rate(bucket.open_rate),
        time(bucket.delivery_time_ms.p50),
        time(bucket.delivery_time_ms.p95),
        time(bucket.delivery_time_ms.p99),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bucket(accepted: u64) -> Value {
        json!({"from": "2026-01-02T03:00:00.000Z", "to": "2026-01-02T04:00:00.000Z", "accepted": accepted, "sent": accepted,
               "failed": 0, "suppressed": 0, "pending": 0, "opened": 0, "successRate": 0.9871, "openRate": null,
               "failedByReason": {"refused": 3}, "suppressedByReason": {},
               "deliveryTimeMs": {"count": 1, "p50": 5, "p95": 6, "p99": 7},
               "providers": {}, "groups": [{"key": "offer\u{1b}", "count": 4}]})
    }

    #[test]
    fn hours_in_which_nothing_was_accepted_are_left_out() {
        let stats = json!({"totals": bucket(9), "buckets": [bucket(9), bucket(0)]});
        let told = told(&serde_json::from_value(stats).unwrap(), Paint::PLAIN);
        assert_eq!(told.matches("2026-01-02 03:00:00").count(), 1, "{told}");
        for part in ["98.7 %", "7 ms", "3  refused", "4  offer\\u{1b}"] {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
    }
}
