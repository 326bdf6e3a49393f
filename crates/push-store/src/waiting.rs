//! Since when the oldest of what lies on the queues has been waiting, as far as the database knows.
//!
//! What is published is due to be looked for a grace after it should have reached the front of its queue. So an index
//! that the reconciler needs anyway tells when that was: the time without the grace.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_seal::Keyring;
use sqlx::FromRow;
use uuid::Uuid;

use crate::decode::{Row, millis};
use crate::error::StoreError;
use crate::{Store, sealing};

/// What a worker has in hand does not wait any more.
const LONGEST_PENDING: &str = "\
    SELECT notification_id, due_at, next_job FROM notification_history FORCE INDEX (status_due) \
    WHERE status = 'pending' AND unpublished = ? AND due_at <= ? \
        AND (claimed_until IS NULL OR claimed_until <= NOW(3)) \
    ORDER BY due_at LIMIT ?";

/// Without a condition: then it is one look at the front of the index.
const LONGEST_TICKET: &str = "SELECT MIN(due_at) FROM expo_tickets";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LONGEST_PENDING", LONGEST_PENDING),
    ("LONGEST_TICKET", LONGEST_TICKET),
];

/// Jobs to work on and jobs that are given up stand in one index: so many are looked at to tell the first of each.
const LOOKED_AT: u32 = 100;

/// Since when the oldest has been waiting; `None` where nothing waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Published to be worked on now, and in nobody's hands.
    pub jobs: Option<DateTime<Utc>>,
    /// Published to be recorded as given up. `None` also where a hundred jobs have been waiting for longer.
    pub dead: Option<DateTime<Utc>>,
    /// Accepted or to be tried again now, and not taken by the broker.
    pub unpublished: Option<DateTime<Utc>>,
    /// Expo receipts that are to be asked for now.
    pub receipts: Option<DateTime<Utc>>,
}

impl Store {
    /// Since when what waits has been waiting. `grace` is what the broker is given before the reconciler looks.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn waiting(
        &self,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<Waiting, StoreError> {
        let grace = TimeDelta::from_std(grace).unwrap_or_default();
        let published = self.longest(false, now + grace, LOOKED_AT).await?;
        let (dead, jobs): (Vec<_>, Vec<_>) = published
            .iter()
            .partition(|row| row.is_given_up(&self.keys));
        let unpublished = self.longest(true, now, 1).await?;
        let receipts: Option<DateTime<Utc>> = sqlx::query_scalar(LONGEST_TICKET)
            .fetch_one(&self.pool)
            .await?;
        Ok(Waiting {
            jobs: jobs.first().map(|row| row.due_at - grace),
            dead: dead.first().map(|row| row.due_at - grace),
            unpublished: unpublished.first().map(|row| row.due_at),
            receipts: receipts
                .map(|due_at| due_at - grace)
                .filter(|since| *since <= now),
        })
    }

    async fn longest(
        &self,
        unpublished: bool,
        due_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<PendingRow>, StoreError> {
        let rows = sqlx::query_as(LONGEST_PENDING)
            .bind(unpublished)
            .bind(millis(due_until))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows)
    }
}

#[derive(FromRow)]
struct PendingRow {
    notification_id: Uuid,
    due_at: DateTime<Utc>,
    next_job: Option<String>,
}

impl PendingRow {
    /// What cannot be read is tried again, hence not given up.
    fn is_given_up(&self, keys: &Keyring) -> bool {
        let at = Row {
            table: "notification_history",
            key: self.notification_id,
        };
        let job = self.next_job.clone();
        job.and_then(|job| sealing::read_next_job(keys, job, &at).ok())
            .is_some_and(|job| job.is_given_up())
    }
}
