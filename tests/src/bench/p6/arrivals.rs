//! What the providers took, and when: read from the simulator's record as it grows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::lane::Lane;
use crate::sim::Sim;

/// The simulator keeps the bodies of the last 10,000: thousands may come a second.
const PACE: Duration = Duration::from_secs(1);
const PAGE: usize = 5_000;

/// A notification as a provider took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Its first time, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// How often the phone rang.
    pub(super) times: usize,
}

/// All of them so far.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<Read>);

#[derive(Debug, Default)]
struct Read {
    after: u64,
    arrivals: HashMap<(u128, Lane), Arrival>,
    problems: Vec<String>,
}

impl Arrivals {
    /// Until the task is dropped.
    pub(super) async fn follow(&self, sim: &Sim) {
        loop {
            self.catch_up(sim).await;
            sleep(PACE).await;
        }
    }

    /// All that is there now.
    pub(super) async fn catch_up(&self, sim: &Sim) {
        loop {
            let after = self.read().after;
            let page = sim.record_after(after, PAGE).await;
            let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
            self.read().take(after, items);
            if items.len() < PAGE {
                return;
            }
        }
    }

    /// All arrivals, and what could not be read: then the run proves nothing.
    pub(super) fn finish(&self) -> (HashMap<(u128, Lane), Arrival>, Vec<String>) {
        let mut read = self.read();
        let Read {
            arrivals, problems, ..
        } = std::mem::take(&mut *read);
        (arrivals, problems)
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    /// Items that follow `after`, unless they were taken before.
    fn take(&mut self, after: u64, items: &[Value]) {
        if self.after != after {
            return;
        }
        for item in items {
            let seq = item["seq"].as_u64().unwrap_or_default();
            if seq != self.after + 1 {
                self.problems
                    .push(format!("the simulator forgot {} to {seq}", self.after + 1));
            }
            self.after = seq;
            let Some(lane) = lane(item).filter(|_| item["accepted"] == true) else {
                continue;
            };
            match notification(item, lane) {
                Some(notification) => self.arrived(notification, lane, item),
                None => self.problems.push(format!("no notification in {item}")),
            }
        }
    }

    fn arrived(&mut self, notification: u128, lane: Lane, item: &Value) {
        let at_ms = item["atMs"].as_u64().unwrap_or_default();
        let first = Arrival { at_ms, times: 0 };
        let arrival = self.arrivals.entry((notification, lane)).or_insert(first);
        arrival.times += 1;
    }
}

/// `None`: not a push.
fn lane(item: &Value) -> Option<Lane> {
    match item["provider"].as_str() {
        Some("fcm") => Some(Lane::Fcm),
        Some("expo") => Some(Lane::Expo),
        Some(_) | None => None,
    }
}

fn notification(item: &Value, lane: Lane) -> Option<u128> {
    let data = match lane {
        Lane::Fcm => &item["body"]["message"]["data"],
        Lane::Expo => &item["body"]["data"],
    };
    let id = data["notificationId"].as_str()?;
    Some(Uuid::parse_str(id).ok()?.as_u128())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(seq: u64, at_ms: u64, accepted: bool) -> Value {
        json!({"seq": seq, "provider": "fcm", "accepted": accepted, "atMs": at_ms,
            "body": {"message": {"data": {"notificationId": Uuid::from_u128(1)}}}})
    }

    #[test]
    fn the_first_time_counts_that_a_provider_took_it() {
        let mut read = Read::default();
        read.take(0, &[item(1, 5, false), item(2, 7, true), item(3, 9, true)]);
        let first = Arrival { at_ms: 7, times: 2 };
        assert_eq!(read.arrivals.get(&(1, Lane::Fcm)), Some(&first));
        read.take(0, &[item(1, 5, true)]);
        assert_eq!(read.arrivals[&(1, Lane::Fcm)], first, "read before");
        assert_eq!(read.problems, Vec::<String>::new());
        read.take(3, &[item(5, 9, true)]);
        assert_eq!(read.problems.len(), 1, "a gap proves nothing");
    }
}
