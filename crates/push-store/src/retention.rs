//! Retention: content that is older than it is kept is emptied, and the rows stay for the figures.
//!
//! Goes through each table in the order of time, some rows at a time; its place moves in the same transaction, so that
//! whoever comes next goes on there. What is still pending when its turn comes is kept in mind, and emptied once it has ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::NotificationId;
use push_core::status::Status;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use crate::Store;
use crate::bulk;
use crate::content::{Emptied, history_content, letter_content};
use crate::decode::millis;
use crate::erasure::{BEGINNING, Place};
use crate::error::StoreError;
use crate::history::lock::lock;
use crate::retry::Tries;

const PLACE: &str = "SELECT last_at, last_id FROM retention_places WHERE name = ?";

const MOVE_PLACE: &str = "\
    INSERT INTO retention_places (name, last_at, last_id) VALUES (?, ?, ?) \
    ON DUPLICATE KEY UPDATE last_at = VALUES(last_at), last_id = VALUES(last_id)";

const OLD_NOTIFICATIONS: &str = "\
    SELECT id, notification_id, created_at FROM notification_history FORCE INDEX (by_time) \
    WHERE created_at >= ? AND created_at < ? AND (created_at > ? OR id > ?) ORDER BY created_at, id LIMIT ?";

const OLD_LETTERS: &str = "\
    SELECT id, notification_id, created_at FROM dead_letters FORCE INDEX (created) \
    WHERE created_at >= ? AND created_at < ? AND (created_at > ? OR id > ?) ORDER BY created_at, id LIMIT ?";

const EMPTY_NOTIFICATIONS: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS old \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(old.id) \
    SET ",
    history_content!(),
    ", history.emptied = ? \
    WHERE history.status <> 'pending' AND history.emptied < ?"
);

/// Bytes that are about to be published again stay until they are, and are emptied then (`operations/bytes.rs`).
const EMPTY_LETTERS: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS old \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = old.id \
    SET ",
    letter_content!(),
    ", letter.emptied = ? \
    WHERE letter.emptied < ? AND letter.bytes_due_at IS NULL"
);

const LEAVE_OVER: &str = "\
    INSERT IGNORE INTO retention_leftovers (notification_id) \
    SELECT UNHEX(id) FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS pending";

/// Those that have ended meanwhile.
const LEFT_OVER: &str = "\
    SELECT leftover.notification_id FROM retention_leftovers AS leftover FORCE INDEX (PRIMARY) \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = leftover.notification_id \
    WHERE history.status <> 'pending' ORDER BY leftover.notification_id LIMIT ?";

const NOT_LEFT_OVER: &str = "\
    DELETE leftover FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN retention_leftovers AS leftover FORCE INDEX (PRIMARY) \
        ON leftover.notification_id = UNHEX(emptied.id)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("PLACE", PLACE),
    ("MOVE_PLACE", MOVE_PLACE),
    ("OLD_NOTIFICATIONS", OLD_NOTIFICATIONS),
    ("OLD_LETTERS", OLD_LETTERS),
    ("EMPTY_NOTIFICATIONS", EMPTY_NOTIFICATIONS),
    ("EMPTY_LETTERS", EMPTY_LETTERS),
    ("LEAVE_OVER", LEAVE_OVER),
    ("LEFT_OVER", LEFT_OVER),
    ("NOT_LEFT_OVER", NOT_LEFT_OVER),
];

/// What has content that gets old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aging {
    /// `notification_history`.
    Notifications,
    /// `dead_letters`: what has no content cannot be replayed any more.
    DeadLetters,
}

impl Aging {
    /// All there is.
    pub const ALL: [Self; 2] = [Self::Notifications, Self::DeadLetters];

    /// The table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Notifications => "notification_history",
            Self::DeadLetters => "dead_letters",
        }
    }

    const fn old(self) -> &'static str {
        match self {
            Self::Notifications => OLD_NOTIFICATIONS,
            Self::DeadLetters => OLD_LETTERS,
        }
    }
}

/// What came of emptying some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptiedRows {
    /// So many are emptied.
    pub rows: u64,
    /// There are more that are too old.
    pub more: bool,
    /// By how much the oldest of those is too old.
    pub behind: Duration,
}

impl Store {
    /// Empties the next rows of a table that are from `before` that time, and looks at `limit` at most.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn empty_old(
        &self,
        what: Aging,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<EmptiedRows, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.empty_old_once(what, before, limit).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn empty_old_once(
        &self,
        what: Aging,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<EmptiedRows, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let place = place(&mut transaction, what).await?;
        let old: Vec<OldRow> = sqlx::query_as(what.old())
            .bind(place.at)
            .bind(millis(before))
            .bind(place.at)
            .bind(place.id)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
        let mut rows = match what {
            Aging::Notifications => {
                let ids = old.iter().filter_map(|row| row.notification_id);
                let ids: Vec<_> = ids.map(NotificationId::from).collect();
                empty_notifications(&mut transaction, &ids).await?
            }
            Aging::DeadLetters => empty_letters(&mut transaction, &old).await?,
        };
        let more = old.len() == limit as usize;
        let last = old.last().map(|row| Place {
            at: row.created_at,
            id: row.id,
        });
        if let Some(last) = last {
            sqlx::query(MOVE_PLACE)
                .bind(what.table())
                .bind(last.at)
                .bind(last.id)
                .execute(&mut *transaction)
                .await?;
        }
        if what == Aging::Notifications && !more {
            rows += empty_leftovers(&mut transaction, limit).await?;
        }
        transaction.commit().await?;
        let behind = last.filter(|_| more).map(|last| before - last.at);
        Ok(EmptiedRows {
            rows,
            more,
            behind: behind
                .and_then(|behind| behind.to_std().ok())
                .unwrap_or_default(),
        })
    }
}

/// Where it stands; at the beginning of time where it was never emptied.
async fn place(connection: &mut MySqlConnection, what: Aging) -> Result<Place, StoreError> {
    let found: Option<(DateTime<Utc>, u64)> = sqlx::query_as(PLACE)
        .bind(what.table())
        .fetch_optional(connection)
        .await?;
    let (at, id) = found.unwrap_or((BEGINNING, 0));
    Ok(Place { at, id })
}

/// What is pending is left over.
async fn empty_notifications(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let locked = lock(connection, ids.iter().copied()).await?;
    let pending = |id: &&NotificationId| {
        let row = locked.get(*id);
        row.is_some_and(|row| row.recorded.status == Status::Pending)
    };
    let pending: Vec<NotificationId> = ids.iter().filter(pending).copied().collect();
    if !pending.is_empty() {
        sqlx::query(LEAVE_OVER)
            .bind(bulk::ids(&pending)?)
            .execute(&mut *connection)
            .await?;
    }
    let emptied = sqlx::query(EMPTY_NOTIFICATIONS)
        .bind(bulk::ids(ids)?)
        .bind(Emptied::Old.as_u8())
        .bind(Emptied::Old.as_u8())
        .execute(connection)
        .await?;
    Ok(emptied.rows_affected())
}

/// Those that were pending when their turn came, and have ended since.
async fn empty_leftovers(connection: &mut MySqlConnection, limit: u32) -> Result<u64, StoreError> {
    let ended: Vec<Uuid> = sqlx::query_scalar(LEFT_OVER)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    if ended.is_empty() {
        return Ok(0);
    }
    let ended: Vec<_> = ended.into_iter().map(NotificationId::from).collect();
    sqlx::query(NOT_LEFT_OVER)
        .bind(bulk::ids(&ended)?)
        .execute(&mut *connection)
        .await?;
    // One that was replayed just now is left over again.
    empty_notifications(connection, &ended).await
}

async fn empty_letters(
    connection: &mut MySqlConnection,
    old: &[OldRow],
) -> Result<u64, StoreError> {
    if old.is_empty() {
        return Ok(0);
    }
    let ids: Vec<u64> = old.iter().map(|row| row.id).collect();
    let emptied = sqlx::query(EMPTY_LETTERS)
        .bind(bulk::array(&ids)?)
        .bind(Emptied::Old.as_u8())
        .bind(Emptied::Old.as_u8())
        .execute(connection)
        .await?;
    Ok(emptied.rows_affected())
}

#[derive(FromRow)]
struct OldRow {
    id: u64,
    notification_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}
