//! Claiming: one worker at a time has a notification in hand (P2).
//!
//! A job may be in the hands of two workers: the broker delivers again what a worker that lost its
//! connection is still sending, and anybody may publish a copy. The claim decides which of them sends.
//! It ends with the record of the round, or by itself when its owner was killed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use push_core::admit::{Claimed, Recorded};
use push_core::id::NotificationId;
use push_core::status::Status;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use super::TABLE;
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::{Row, millis};
use crate::error::StoreError;
use crate::retry::Tries;

const CLAIM: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', round BIGINT PATH '$.round')) AS job \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(job.id) \
    SET history.claimed_by = ?, history.claimed_until = ? \
    WHERE history.status = 'pending' AND history.round < job.round \
        AND (history.claimed_by IS NULL OR history.claimed_by = ? OR history.claimed_until <= ?)";

const CLAIMED: &str = "\
    SELECT history.notification_id, history.status, history.round, \
        COALESCE(history.claimed_by = ?, FALSE) AS ours \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id')) AS job \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(job.id)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("CLAIM", CLAIM), ("CLAIMED", CLAIMED)];

/// A round that a worker wants to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The notification.
    pub notification: NotificationId,
    /// The round of its job.
    pub round: u32,
}

/// The row of an array.
#[derive(Serialize)]
struct ClaimRow {
    id: String,
    round: u32,
}

impl Store {
    /// Takes each notification in hand for the process `worker` until `until`, where its round is news
    /// and nobody else has it; and says what is recorded of each. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; some may be claimed all the same.
    pub async fn claim(
        &self,
        worker: Uuid,
        claims: &[Claim],
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<HashMap<NotificationId, Claimed>, StoreError> {
        // Locked in the order of the key, as everywhere.
        let mut claims = claims.to_vec();
        claims.sort_unstable();
        let mut claimed = HashMap::with_capacity(claims.len());
        for some in claims.chunks(KEYS_MAX) {
            let rows = some.iter().map(|claim| ClaimRow {
                id: bulk::id(claim.notification),
                round: claim.round,
            });
            let rows = bulk::array(&rows.collect::<Vec<_>>())?;
            self.take(worker, &rows, now, until).await?;
            let found: Vec<ClaimedRow> = sqlx::query_as(CLAIMED)
                .bind(worker)
                .bind(&rows)
                .fetch_all(&self.pool)
                .await?;
            for row in found {
                claimed.insert(row.notification_id.into(), row.try_into()?);
            }
        }
        Ok(claimed)
    }

    async fn take(
        &self,
        worker: Uuid,
        rows: &str,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tries = Tries::new();
        loop {
            let taken = sqlx::query(CLAIM)
                .bind(rows)
                .bind(worker)
                .bind(millis(until))
                .bind(worker)
                .bind(millis(now))
                .execute(&self.pool)
                .await;
            match taken.map_err(StoreError::from) {
                Err(error) if tries.again(&error).await => {}
                result => return result.map(drop),
            }
        }
    }
}

#[derive(FromRow)]
struct ClaimedRow {
    notification_id: Uuid,
    status: String,
    round: u32,
    ours: bool,
}

impl TryFrom<ClaimedRow> for Claimed {
    type Error = StoreError;

    fn try_from(row: ClaimedRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        let status = at.read("status", Status::from_spelling(&row.status))?;
        Ok(Self {
            recorded: Recorded {
                status,
                round: row.round,
            },
            ours: row.ours,
        })
    }
}
