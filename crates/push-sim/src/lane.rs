//! One provider endpoint as the simulator plays it: its weather (latency, outage) and its counters.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The four endpoints that are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    /// `POST /v1/projects/{project}/messages:send`.
    Fcm,
    /// `POST /--/api/v2/push/send`.
    Expo,
    /// `POST /token`.
    Oauth,
    /// `POST /--/api/v2/push/getReceipts`.
    Receipts,
}

impl Provider {
    pub(crate) const ALL: [Provider; 4] = [
        Provider::Fcm,
        Provider::Expo,
        Provider::Oauth,
        Provider::Receipts,
    ];

    pub(crate) fn index(self) -> usize {
        match self {
            Provider::Fcm => 0,
            Provider::Expo => 1,
            Provider::Oauth => 2,
            Provider::Receipts => 3,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Provider::Fcm => "fcm",
            Provider::Expo => "expo",
            Provider::Oauth => "oauth",
            Provider::Receipts => "receipts",
        }
    }
}

/// What is wrong with a whole provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outage {
    #[default]
    Ok,
    /// Connections are reset.
    Down,
    /// Requests are read and never answered.
    Hang,
    /// Every request gets the provider's 503.
    #[serde(rename = "503")]
    Unavailable,
}

/// Weather and counters of one endpoint. Everything is atomic: the hot path takes no lock here.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    latency_ms: AtomicU64,
    outage: AtomicU8,
    requests: AtomicU64,
    accepted: AtomicU64,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
}

impl Lane {
    /// Counts a request in; it is in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        if now > self.in_flight_max.load(Ordering::Relaxed) {
            self.in_flight_max.fetch_max(now, Ordering::Relaxed);
        }
        InFlight(self)
    }

    pub(crate) fn count_accepted(&self, messages: u64) {
        self.accepted.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.latency_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn outage(&self) -> Outage {
        match self.outage.load(Ordering::Relaxed) {
            1 => Outage::Down,
            2 => Outage::Hang,
            3 => Outage::Unavailable,
            _ => Outage::Ok,
        }
    }

    pub(crate) fn set_outage(&self, outage: Outage) {
        let number = match outage {
            Outage::Ok => 0,
            Outage::Down => 1,
            Outage::Hang => 2,
            Outage::Unavailable => 3,
        };
        self.outage.store(number, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> LaneCounts {
        LaneCounts {
            requests: self.requests.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            max_concurrent: self.in_flight_max.load(Ordering::Relaxed),
        }
    }

    /// Counters to zero. What is in flight stays counted, or its end would count below zero.
    pub(crate) fn reset(&self, latency: Duration) {
        self.set_latency(latency);
        self.set_outage(Outage::Ok);
        self.requests.store(0, Ordering::Relaxed);
        self.accepted.store(0, Ordering::Relaxed);
        let now = self.in_flight.load(Ordering::Relaxed);
        self.in_flight_max.store(now, Ordering::Relaxed);
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Lane);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What `GET /sim/counts` tells of a provider.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaneCounts {
    requests: u64,
    accepted: u64,
    in_flight: u64,
    max_concurrent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_concurrency_is_remembered() {
        let lane = Lane::default();
        let first = lane.enter();
        let second = lane.enter();
        drop(first);
        drop(lane.enter());
        let counts = lane.counts();
        assert_eq!(
            (counts.requests, counts.in_flight, counts.max_concurrent),
            (3, 1, 2)
        );
        lane.reset(Duration::ZERO);
        assert_eq!(lane.counts().in_flight, 1);
        drop(second);
        assert_eq!(lane.counts().in_flight, 0);
    }
}
