//! Locking notifications before something is decided about them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use push_core::admit::Recorded;
use push_core::id::{CustomerId, NotificationId};
use push_core::status::Status;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::TABLE;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::stats::Counted;

/// Row by row in the order of the array, by the index: a scan would wait for the locks of strangers.
/// The inner SELECT keeps the array out of `FOR UPDATE`, which MySQL refuses for it.
const LOCK_HISTORY: &str = "\
    SELECT history.notification_id, history.customer_id, history.status, history.round, \
        history.notification_type, history.created_at, history.send_at, history.sent_at, \
        history.claimed_by, history.claimed_until IS NOT NULL AS in_hand, \
        history.collapse_key IS NOT NULL AS collapses \
    FROM (SELECT UNHEX(id) AS id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = wanted.id \
    FOR UPDATE";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("LOCK_HISTORY", LOCK_HISTORY)];

/// A notification that nobody else changes until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct Locked {
    pub(crate) customer: CustomerId,
    pub(crate) recorded: Recorded,
    /// Under what it is counted.
    pub(crate) counted: Counted,
    /// When it became sent, if it ever was.
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) claimed_by: Option<Uuid>,
    /// A worker has the next round in hand, or was interrupted at it.
    pub(crate) in_hand: bool,
    /// It has a collapse key.
    pub(crate) collapses: bool,
}

impl Locked {
    /// Whether `round` is news: the notification is still pending, and the round not yet recorded.
    pub(crate) fn awaits(&self, round: u32) -> bool {
        self.recorded.status == Status::Pending && self.recorded.round < round
    }
}

#[derive(FromRow)]
struct LockedRow {
    notification_id: Uuid,
    customer_id: i64,
    status: String,
    round: u32,
    notification_type: String,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    claimed_by: Option<Uuid>,
    in_hand: bool,
    collapses: bool,
}

impl TryFrom<LockedRow> for Locked {
    type Error = StoreError;

    fn try_from(row: LockedRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        Ok(Self {
            customer: at.read("customer_id", CustomerId::try_from(row.customer_id).ok())?,
            recorded: Recorded {
                status: at.read("status", Status::from_spelling(&row.status))?,
                round: row.round,
            },
            counted: Counted {
                created_at: row.created_at,
                send_at: row.send_at,
                kind: row.notification_type,
            },
            sent_at: row.sent_at,
            claimed_by: row.claimed_by,
            in_hand: row.in_hand,
            collapses: row.collapses,
        })
    }
}

/// Locks the rows of `ids`, in the order of the key, so that two transactions wait for each other and do not deadlock.
pub(crate) async fn lock(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = NotificationId>,
) -> Result<HashMap<NotificationId, Locked>, StoreError> {
    let mut ids: Vec<NotificationId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut locked = HashMap::with_capacity(ids.len());
    for some in ids.chunks(KEYS_MAX) {
        let rows: Vec<LockedRow> = sqlx::query_as(LOCK_HISTORY)
            .bind(bulk::ids(some)?)
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            locked.insert(row.notification_id.into(), row.try_into()?);
        }
    }
    Ok(locked)
}
