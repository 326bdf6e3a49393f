//! What a transaction changes in the counts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::notification::Notification;
use push_core::provider::{PerProvider, Provider};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use serde::{Deserialize, Serialize};
use sqlx::MySqlConnection;

use super::counter::{Counter, Counts, add};
use super::spread::Slot;
use crate::bulk;
use crate::decode::millis;
use crate::error::StoreError;

const CHANGE_COUNTERS: &str = "INSERT INTO notification_counter_changes (changes) VALUES (?)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("CHANGE_COUNTERS", CHANGE_COUNTERS)];

/// Keys of one row: the row stays small, whatever a batch holds.
const KEYS_MAX: usize = 1_000;

/// Under what a notification is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `created_at`: its hour is the notification's.
    pub(crate) created_at: DateTime<Utc>,
    /// `send_at`.
    pub(crate) send_at: Option<DateTime<Utc>>,
    /// `notification_type`.
    pub(crate) kind: String,
}

impl Counted {
    /// As its row will say.
    pub(crate) fn of(notification: &Notification) -> Self {
        Self {
            created_at: notification.created_at,
            send_at: notification.send_at,
            kind: notification.kind.as_str().to_owned(),
        }
    }

    fn key(&self) -> Key {
        Key {
            hour: hour_of(self.created_at),
            kind: self.kind.clone(),
        }
    }

    /// From when on the customer has been waiting for it.
    fn since(&self) -> DateTime<Utc> {
        millis(self.send_at.unwrap_or(self.created_at))
    }
}

/// How a notification has ended: what its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `status` and `reason`.
    pub(crate) ending: Ending,
    /// `fcm_result` and `expo_result`.
    pub(crate) results: PerProvider<ProviderResult>,
    /// `sent_at`.
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

impl Standing {
    /// Reads the columns. `None`: it is pending. (Nor is one counted that has failed for no reason: our programs write none.)
    pub(crate) fn of(
        status: Status,
        reason: Option<Reason>,
        results: PerProvider<ProviderResult>,
        sent_at: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        let ending = match status {
            Status::Pending => None,
            Status::Sent => Some(Ending::Sent),
            Status::Failed => reason.map(Ending::Failed),
            Status::Suppressed => reason.map(Ending::Suppressed),
        };
        ending.map(|ending| Self {
            ending,
            results,
            sent_at,
        })
    }

    fn counters(&self, counted: &Counted) -> Vec<Counter> {
        let mut counters = match self.ending {
            Ending::Sent => vec![Counter::Sent],
            Ending::Failed(reason) => vec![Counter::Failed(reason)],
            Ending::Suppressed(reason) => vec![Counter::Suppressed(reason)],
        };
        counters.extend(Provider::ALL.iter().filter_map(
            |provider| match self.results.get(*provider) {
                ProviderResult::Success => Some(Counter::Success(*provider)),
                ProviderResult::Failed => Some(Counter::Failure(*provider)),
                ProviderResult::Queued | ProviderResult::NotSent => None,
            },
        ));
        if let (Ending::Sent, Some(sent_at)) = (self.ending, self.sent_at) {
            counters.push(Counter::Took(Slot::between(
                counted.since(),
                millis(sent_at),
            )));
        }
        counters
    }
}

/// Collects what a transaction changes. See [the module](super) for how it is used.
#[derive(Debug, Default)]
#[must_use = "what is not written is not counted"]
pub(crate) struct Changes {
    by_key: BTreeMap<Key, Counts>,
}

impl Changes {
    /// These are new, and pending.
    pub(crate) fn accepted(notifications: &[&Notification]) -> Self {
        let mut changes = Self::default();
        for notification in notifications {
            changes.found(&Counted::of(notification));
        }
        changes
    }

    /// There is one.
    pub(super) fn found(&mut self, counted: &Counted) {
        self.change(counted, Counter::Accepted, 1);
    }

    /// So much is counted already. Whatever a newer program counts is its own affair.
    pub(super) fn less(&mut self, key: Key, counted: &Counts) {
        let counts = self.by_key.entry(key).or_default();
        let ours = |counter: &String| Counter::from_spelling(counter).is_some();
        for (counter, n) in counted.iter().filter(|(counter, _)| ours(counter)) {
            *counts.entry(counter.clone()).or_default() -= n;
        }
    }

    /// What is left to be counted.
    pub(super) fn told(&mut self) -> impl Iterator<Item = (&Key, &Counts)> {
        for counts in self.by_key.values_mut() {
            add(counts, Counts::new());
        }
        self.by_key.iter().filter(|(_, counts)| !counts.is_empty())
    }

    /// One has another standing than before; `None` is pending.
    pub(crate) fn moved(
        &mut self,
        counted: &Counted,
        from: Option<&Standing>,
        to: Option<&Standing>,
    ) {
        for (standing, n) in [(from, -1), (to, 1)] {
            for counter in standing
                .into_iter()
                .flat_map(|standing| standing.counters(counted))
            {
                self.change(counted, counter, n);
            }
        }
    }

    /// Its customer opened it, for the first time.
    pub(crate) fn opened(&mut self, counted: &Counted) {
        self.change(counted, Counter::Opened, 1);
    }

    /// A provider took a push to one of its devices.
    pub(crate) fn reached(&mut self, counted: &Counted, provider: Provider, at: DateTime<Utc>) {
        self.device(counted, provider, at, 1);
    }

    /// A push that the provider took `at` that time was not delivered after all.
    pub(crate) fn not_reached(&mut self, counted: &Counted, provider: Provider, at: DateTime<Utc>) {
        self.device(counted, provider, at, -1);
    }

    fn device(&mut self, counted: &Counted, provider: Provider, at: DateTime<Utc>, n: i64) {
        let slot = Slot::between(counted.since(), millis(at));
        self.change(counted, Counter::Device(provider, slot), n);
    }

    fn change(&mut self, counted: &Counted, counter: Counter, n: i64) {
        let counts = self.by_key.entry(counted.key()).or_default();
        *counts.entry(counter.to_string()).or_default() += n;
    }

    /// Writes them down, to count when the transaction is committed.
    pub(crate) async fn write(self, connection: &mut MySqlConnection) -> Result<(), StoreError> {
        let rows: Vec<Change> = self
            .by_key
            .into_iter()
            .map(|(key, mut counts)| {
                add(&mut counts, Counts::new());
                Change { key, counts }
            })
            .filter(|change| !change.counts.is_empty())
            .collect();
        for some in bulk::arrays(&rows, KEYS_MAX)? {
            sqlx::query(CHANGE_COUNTERS)
                .bind(some.json)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// The hour and the type under which something is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) hour: u32,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What is added to the counts of an hour and a type: an element of the column's array.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) counts: Counts,
}

/// Hours since 1970.
pub(crate) fn hour_of(time: DateTime<Utc>) -> u32 {
    u32::try_from(time.timestamp().div_euclid(3_600)).unwrap_or(0)
}
