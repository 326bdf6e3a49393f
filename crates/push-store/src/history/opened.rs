//! That the customer opened a notification.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::timeline::{Step, TimelineEntry};
use sqlx::MySqlConnection;

use super::Opened;
use super::lock::lock;
use super::timeline::{bounded, lines};
use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;
use crate::owner::Owner;
use crate::retry::Tries;
use crate::stats::Changes;

const OPEN: &str = concat!(
    "\
    UPDATE notification_history FORCE INDEX (notification) \
    SET opened_at = ?, timeline = CONCAT(",
    bounded!("timeline"),
    ", ?) \
    WHERE notification_id = ? AND opened_at IS NULL"
);

const OPENED_AT: &str = "SELECT opened_at FROM notification_history FORCE INDEX (notification) WHERE notification_id = ?";

/// Locks nothing, and waits for nobody.
const WHOSE: &str = "SELECT customer_id FROM notification_history FORCE INDEX (notification) WHERE notification_id = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("OPEN", OPEN), ("OPENED_AT", OPENED_AT), ("WHOSE", WHOSE)];

impl Store {
    /// Notes that a notification was opened, if it is the first time. Whatever its status: who opened it has it. One that is not the
    /// owner's is unknown.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was noted, unless the connection broke during the commit.
    pub async fn opened(
        &self,
        id: NotificationId,
        owner: Owner,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Opened, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.opened_once(id, owner, millis(at), now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn opened_once(
        &self,
        id: NotificationId,
        owner: Owner,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Opened, StoreError> {
        let mut transaction = self.pool.begin().await?;
        if !may_open(&mut transaction, id, owner).await? {
            return Ok(Opened::Unknown);
        }
        let mut locked = lock(&mut transaction, [id]).await?;
        let Some(row) = locked.remove(&id) else {
            return Ok(Opened::Unknown);
        };
        // A phone's clock may be behind.
        let at = at.max(millis(row.counted.created_at));
        let told = TimelineEntry::new(millis(now), Step::Opened, "opened by the customer");
        let changed = sqlx::query(OPEN)
            .bind(at)
            .bind(lines(&[told]))
            .bind(id.as_uuid())
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if changed == 0 {
            let before = opened_at(&mut transaction, id).await?;
            return Ok(Opened::Before(before.unwrap_or(at)));
        }
        let mut changes = Changes::default();
        changes.opened(&row.counted);
        changes.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Opened::First(at))
    }
}

/// Whether there is such a notification for the owner. Asked before the row is locked: who waits for the lock of another's
/// notification knows that there is one, and who holds it keeps its worker waiting. (It never changes hands.)
async fn may_open(
    connection: &mut MySqlConnection,
    id: NotificationId,
    owner: Owner,
) -> Result<bool, StoreError> {
    let whose: Option<i64> = sqlx::query_scalar(WHOSE)
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await?;
    let whose = whose.and_then(|id| CustomerId::try_from(id).ok());
    Ok(whose.is_some_and(|customer| owner.includes(customer)))
}

async fn opened_at(
    connection: &mut MySqlConnection,
    id: NotificationId,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let at: Option<Option<DateTime<Utc>>> = sqlx::query_scalar(OPENED_AT)
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await?;
    Ok(at.flatten())
}
