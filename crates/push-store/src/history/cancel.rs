//! Taking a pending notification back, wherever it waits.
//!
//! It is ended under the lock of its row. A worker that has it in hand goes first: what it is doing just now may get
//! through. Any other that takes its job out of a queue later finds that it has ended, as does its record.

use chrono::{DateTime, Utc};
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::settle::{Next, Settlement, cancel};
use push_core::status::{Ending, Reason, Status};
use push_seal::Keyring;
use sqlx::{FromRow, MySqlConnection};

use super::content::NotificationRow;
use super::lock::lock;
use super::state::StateRow;
use super::timeline::{bounded, lines};
use super::{State, TABLE};
use crate::Store;
use crate::decode::{Row, millis};
use crate::error::StoreError;
use crate::retry::Tries;
use crate::sealing;
use crate::stats::{Changes, Standing};

const CANCELLABLE: &str = "\
    SELECT notification_id, customer_id, notification_type, title, body, data, image_url, sealed, priority, collapse_key, \
        created_at, send_at, expires_at, round, next_job, claimed_until IS NOT NULL AS in_hand, \
        COALESCE(claimed_until > NOW(3), FALSE) AS claim_holds \
    FROM notification_history FORCE INDEX (notification) WHERE notification_id = ?";

const ENDED: &str = "\
    SELECT notification_id, status, fcm_result, expo_result, reason, attempts, \
        COALESCE(timeline, '') LIKE '%\"step\":\"cancelled\"%' AS cancelled \
    FROM notification_history FORCE INDEX (notification) WHERE notification_id = ?";

/// Whoever had it in hand before its claim ended must not take this for its own record.
const CANCEL: &str = concat!(
    "\
    UPDATE notification_history FORCE INDEX (notification) \
    SET status = ?, reason = ?, fcm_result = ?, expo_result = ?, attempts = GREATEST(attempts, ?), round = ?, \
        sent_at = IF(? IS NULL, NULL, COALESCE(sent_at, ?)), completed_at = ?, \
        due_at = NULL, claimed_by = NULL, claimed_until = NULL, interruptions = 0, unpublished = FALSE, next_at = NULL, next_job = NULL, \
        timeline = CONCAT(",
    bounded!("timeline"),
    ", ?) \
    WHERE notification_id = ? AND status = 'pending'"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("CANCELLABLE", CANCELLABLE),
    ("ENDED", ENDED),
    ("CANCEL", CANCEL),
];

/// What came of taking a notification back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// It is taken back: it has ended so just now.
    Now(State),
    /// It was taken back before.
    Before(State),
    /// A worker has it in hand just now.
    InDelivery,
    /// It has ended otherwise.
    TooLate(State),
    /// There is no such notification.
    Unknown,
}

impl Store {
    /// Takes a notification back that is pending and in nobody's hands: from then on it is not sent any more.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn cancel(
        &self,
        id: NotificationId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Cancelling, StoreError> {
        let mut tries = Tries::new();
        loop {
            let cancelled = self.opening(|keys| self.cancel_once(keys, id, by, now));
            match cancelled.await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn cancel_once(
        &self,
        keys: Keyring,
        id: NotificationId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Cancelling, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, [id]).await?.remove(&id) else {
            return Ok(Cancelling::Unknown);
        };
        match locked.recorded.status {
            Status::Pending => {}
            Status::Sent | Status::Failed | Status::Suppressed => {
                return ended(&mut transaction, id).await;
            }
        }
        let row = waiting(&mut transaction, id).await?;
        if row.claim_holds {
            return Ok(Cancelling::InDelivery);
        }
        let settlement = cancel(&row.job(&keys)?, by, now);
        let Next::Done(ending) = settlement.next else {
            return Err(StoreError::Unusable("a cancelled job goes on"));
        };
        end(&mut transaction, &settlement, ending, now).await?;
        let standing = Standing {
            ending,
            results: settlement.results,
            sent_at: locked.sent_at.or(Some(now)),
        };
        let mut changes = Changes::default();
        changes.moved(&locked.counted, None, Some(&standing));
        changes.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Cancelling::Now(State {
            status: ending.status(),
            fcm: settlement.results.fcm,
            expo: settlement.results.expo,
            reason: ending.reason(),
            attempts: settlement.attempts,
        }))
    }
}

async fn ended(
    connection: &mut MySqlConnection,
    id: NotificationId,
) -> Result<Cancelling, StoreError> {
    let row: EndedRow = sqlx::query_as(ENDED)
        .bind(id.as_uuid())
        .fetch_one(connection)
        .await?;
    let state = row.state.try_into()?;
    Ok(if row.cancelled {
        Cancelling::Before(state)
    } else {
        Cancelling::TooLate(state)
    })
}

/// A pending notification, whose row is locked.
pub(crate) async fn waiting(
    connection: &mut MySqlConnection,
    id: NotificationId,
) -> Result<WaitingRow, StoreError> {
    Ok(sqlx::query_as(CANCELLABLE)
        .bind(id.as_uuid())
        .fetch_one(connection)
        .await?)
}

/// Ends a pending notification, whose row is locked and that is in nobody's hands.
pub(crate) async fn end(
    connection: &mut MySqlConnection,
    settlement: &Settlement,
    ending: Ending,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sent_at = (ending == Ending::Sent).then_some(millis(now));
    let changed = sqlx::query(CANCEL)
        .bind(ending.status().as_str())
        .bind(ending.reason().map(Reason::as_str))
        .bind(settlement.results.fcm.as_str())
        .bind(settlement.results.expo.as_str())
        .bind(settlement.attempts)
        .bind(settlement.round)
        .bind(sent_at)
        .bind(sent_at)
        .bind(millis(now))
        .bind(lines(&settlement.timeline))
        .bind(settlement.notification.as_uuid())
        .execute(connection)
        .await?
        .rows_affected();
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Unusable("a cancelled row was not changed"))
    }
}

/// What waits.
#[derive(FromRow)]
pub(crate) struct WaitingRow {
    #[sqlx(flatten)]
    notification: NotificationRow,
    round: u32,
    next_job: Option<String>,
    in_hand: bool,
    /// A worker has it in hand.
    pub(crate) claim_holds: bool,
}

impl WaitingRow {
    /// The job that waits. Whoever had it in hand and was interrupted may have sent it.
    pub(crate) fn job(self, keys: &Keyring) -> Result<Job, StoreError> {
        let at = Row {
            table: TABLE,
            key: self.notification.notification_id,
        };
        let mut job = match self.next_job {
            Some(next) => sealing::read_next_job(keys, next, &at)?,
            None => Job::first(self.notification.read(keys)?),
        };
        job.round = job.round.max(self.round.saturating_add(1));
        job.interrupted = self.in_hand;
        Ok(job)
    }
}

#[derive(FromRow)]
struct EndedRow {
    #[sqlx(flatten)]
    state: StateRow,
    cancelled: bool,
}
