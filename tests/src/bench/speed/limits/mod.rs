//! The limit: the cheapest raw parts that accepting, queueing, recording and sending a notification can be made of, on the
//! same servers. Nothing of them decides anything, retries or survives.

pub(super) mod accept;
pub(super) mod broker;
pub(super) mod database;
pub(super) mod providers;

use std::time::Duration;

use serde_json::Value;

/// Connections and caches, before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long a part is to measure.
fn lasting(told: &Value) -> Duration {
    Duration::from_secs_f64(told["seconds"].as_f64().expect("how long"))
}

/// A field of what a part is told.
fn text<'a>(told: &'a Value, name: &str) -> &'a str {
    told[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}
