//! `collapse_heads`: which notification of a collapse key is the newest, and which one is on its way just now (P3).
//!
//! Newest is who was accepted last, in the order of the locks on the key's row: so that replicas and their clocks agree.
//! One that was scheduled takes its place when its time comes. To deliver a notification a worker needs the key as well as
//! the notification itself; see `history/claim.rs`, which takes both with one statement.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::{CollapseKey, NotificationType};
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::history::ClaimId;

const TABLE: &str = "collapse_heads";

/// What was scheduled does not take the place of one that came after its time, when it is published once more.
const RAISE: &str = "\
    INSERT INTO collapse_heads (customer_id, collapse_key, notification_id, raised_at) \
    SELECT raised.customer, raised.collapse_key, UNHEX(raised.id), raised.raised_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            customer BIGINT PATH '$.customer', \
            collapse_key MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.collapse_key', \
            id CHAR(32) PATH '$.id', \
            raised_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.raised_at', \
            scheduled TINYINT PATH '$.scheduled' \
        )) AS raised \
    ON DUPLICATE KEY UPDATE \
        notification_id = IF(raised.scheduled AND collapse_heads.raised_at > raised.raised_at, \
            collapse_heads.notification_id, UNHEX(raised.id)), \
        raised_at = GREATEST(collapse_heads.raised_at, raised.raised_at)";

const IN_HAND: &str = "\
    SELECT DISTINCT head.customer_id \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (customer BIGINT PATH '$.customer', \
        collapse_key MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.collapse_key')) AS raised \
    STRAIGHT_JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = raised.customer \
        AND head.collapse_key = CONVERT(raised.collapse_key USING ascii) COLLATE ascii_bin \
    WHERE head.claimed_until > NOW(3)";

const LET_THROUGH: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', claim CHAR(32) PATH '$.claim')) AS recorded \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(recorded.id) \
    STRAIGHT_JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
    SET head.claimed_until = NULL \
    WHERE head.claimed_by = UNHEX(recorded.claim) AND head.claimed_for = history.notification_id";

const NEWEST_OF_TYPE: &str = "\
    SELECT head.notification_id FROM collapse_heads AS head FORCE INDEX (PRIMARY) \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = head.notification_id \
    WHERE head.customer_id = ? AND head.collapse_key = ? AND history.notification_type = ?";

const PURGE_HEADS: &str =
    "DELETE FROM collapse_heads WHERE raised_at < ? ORDER BY raised_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("RAISE", RAISE),
    ("IN_HAND", IN_HAND),
    ("LET_THROUGH", LET_THROUGH),
    ("NEWEST_OF_TYPE", NEWEST_OF_TYPE),
    ("PURGE_HEADS", PURGE_HEADS),
];

/// A notification that becomes the newest of its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raised<'a> {
    pub(crate) customer: CustomerId,
    pub(crate) key: &'a CollapseKey,
    pub(crate) notification: NotificationId,
    /// When it was accepted; or, for one that was scheduled, the time that has come.
    pub(crate) at: DateTime<Utc>,
    pub(crate) scheduled: bool,
}

/// Makes them the newest of their keys, each in its turn. Returns the customers one of whose older notifications is on its
/// way just now: count their versions up, so that its worker hears of it and lets it go.
pub(crate) async fn raise(
    connection: &mut MySqlConnection,
    raised: impl IntoIterator<Item = Raised<'_>>,
) -> Result<Vec<CustomerId>, StoreError> {
    // Locks are taken in the order of the key. Of several of one key the last counts.
    let mut heads: BTreeMap<(CustomerId, &str), RaisedRow<'_>> = BTreeMap::new();
    for raised in raised {
        let key = raised.key.as_str();
        let row = RaisedRow {
            customer: raised.customer,
            collapse_key: key,
            id: bulk::id(raised.notification),
            raised_at: bulk::time(raised.at),
            scheduled: u8::from(raised.scheduled),
        };
        heads.insert((raised.customer, key), row);
    }
    let rows: Vec<_> = heads.into_values().collect();
    let mut in_hand = Vec::new();
    for some in bulk::arrays(&rows, KEYS_MAX)? {
        sqlx::query(RAISE)
            .bind(&some.json)
            .execute(&mut *connection)
            .await?;
        let found: Vec<HeadRow> = sqlx::query_as(IN_HAND)
            .bind(&some.json)
            .fetch_all(&mut *connection)
            .await?;
        for row in found {
            in_hand.push(row.try_into()?);
        }
    }
    Ok(in_hand)
}

/// Their rounds are recorded: the next one of each key may go out.
pub(crate) async fn let_through(
    connection: &mut MySqlConnection,
    recorded: impl Iterator<Item = (NotificationId, ClaimId)>,
) -> Result<(), StoreError> {
    let mut rows: Vec<_> = recorded
        .map(|(notification, claim)| RecordedRow {
            id: bulk::id(notification),
            claim: claim.hex(),
        })
        .collect();
    rows.sort_unstable();
    for some in bulk::arrays(&rows, KEYS_MAX)? {
        sqlx::query(LET_THROUGH)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// The newest notification of a customer's key, if it is of this type.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn newest(
        &self,
        customer: CustomerId,
        key: &CollapseKey,
        kind: &NotificationType,
    ) -> Result<Option<NotificationId>, StoreError> {
        let newest: Option<Uuid> = sqlx::query_scalar(NEWEST_OF_TYPE)
            .bind(customer.get())
            .bind(key.as_str())
            .bind(kind.as_str())
            .fetch_optional(&self.pool)
            .await?;
        Ok(newest.map(NotificationId::from))
    }

    /// Forgets the newest notifications of keys that were raised before `until`, `limit` at most: whatever they took the
    /// place of must have expired by then. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_collapse_heads(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_HEADS, until, limit).await
    }
}

/// An element of the arrays of [`RAISE`] and [`IN_HAND`].
#[derive(Serialize)]
struct RaisedRow<'a> {
    customer: CustomerId,
    collapse_key: &'a str,
    id: String,
    raised_at: String,
    scheduled: u8,
}

/// An element of [`LET_THROUGH`]'s array.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct RecordedRow {
    id: String,
    claim: String,
}

#[derive(FromRow)]
struct HeadRow {
    customer_id: i64,
}

impl TryFrom<HeadRow> for CustomerId {
    type Error = StoreError;

    fn try_from(row: HeadRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.customer_id,
        };
        at.read("customer_id", Self::try_from(row.customer_id).ok())
    }
}
