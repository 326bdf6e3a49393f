//! `quiet_hours_waits`: what waits for the end of its customer's quiet hours, so that a change of the preferences finds it.
//!
//! A change may come while a worker, who has read the preferences before, is about to record that it lets something wait:
//! then one of the two sees the other, by the lock on the customer's version. What neither comes to change waits on.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use push_core::changed::CustomerVersion;
use push_core::id::{CustomerId, NotificationId};
use push_core::settle::Next;
use push_core::timeline::{Step, TimelineEntry};
use serde::Serialize;
use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::millis;
use crate::devices::version::versions_kept_in;
use crate::error::StoreError;
use crate::history::ClaimedRound;
use crate::history::lock::Locked;
use crate::history::timeline::{bounded, lines};

const PUT_OFF: &str = "\
    INSERT INTO quiet_hours_waits (notification_id, customer_id, ends_at) \
    SELECT UNHEX(waits.id), waits.customer, waits.ends_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            customer BIGINT PATH '$.customer', \
            ends_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.ends_at' \
        )) AS waits \
    ON DUPLICATE KEY UPDATE ends_at = waits.ends_at";

/// What is locked is in the hands of somebody who sees the change: of the reconciler, or of a record that follows.
const WAITING_OF: &str = "\
    SELECT history.notification_id \
    FROM quiet_hours_waits AS waits FORCE INDEX (customer) \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = waits.notification_id \
    WHERE waits.customer_id = ? AND waits.ends_at > ? AND history.next_at = waits.ends_at \
        AND history.status = 'pending' AND history.unpublished \
    ORDER BY waits.ends_at LIMIT ? FOR UPDATE SKIP LOCKED";

const RELEASE: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS released \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(released.id) \
    STRAIGHT_JOIN quiet_hours_waits AS waits FORCE INDEX (PRIMARY) \
        ON waits.notification_id = history.notification_id \
    SET history.due_at = ?, history.next_at = ?, waits.ends_at = ?, \
        history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", ?) \
    WHERE history.status = 'pending' AND history.unpublished AND history.next_at = waits.ends_at"
);

const WAITED: &str = "\
    SELECT waits.notification_id \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS due \
    STRAIGHT_JOIN quiet_hours_waits AS waits FORCE INDEX (PRIMARY) ON waits.notification_id = UNHEX(due.id) \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = waits.notification_id \
    WHERE history.next_at = waits.ends_at";

const WAITED_ENOUGH: &str = "\
    DELETE waits \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS due \
    STRAIGHT_JOIN quiet_hours_waits AS waits FORCE INDEX (PRIMARY) ON waits.notification_id = UNHEX(due.id)";

const PURGE_WAITS: &str =
    "DELETE FROM quiet_hours_waits WHERE ends_at < ? ORDER BY ends_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("PUT_OFF", PUT_OFF),
    ("WAITING_OF", WAITING_OF),
    ("RELEASE", RELEASE),
    ("WAITED", WAITED),
    ("WAITED_ENOUGH", WAITED_ENOUGH),
    ("PURGE_WAITS", PURGE_WAITS),
];

/// What one change of preferences sends on its way: a customer whose quiet hours have more than this in wait gets the
/// rest at their end.
const RELEASED_MAX: u32 = 1_000;

/// Notes which of these rounds wait for the end of quiet hours. Those whose customer has changed since it was read wait no
/// longer: they are judged again.
pub(crate) async fn put_off(
    connection: &mut MySqlConnection,
    recorded: &[(&ClaimedRound, Locked)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let waits = recorded
        .iter()
        .filter_map(|(round, row)| Wait::of(round, row));
    let mut waits: Vec<Wait> = waits.collect();
    if waits.is_empty() {
        return Ok(());
    }
    waits.sort_unstable_by_key(|wait| wait.notification);
    for some in bulk::arrays(&waits, KEYS_MAX)? {
        sqlx::query(PUT_OFF)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    let customers: Vec<CustomerId> = waits.iter().map(|wait| wait.customer).collect();
    let versions = versions_kept_in(connection, &customers).await?;
    let versions: HashMap<_, _> = versions
        .into_iter()
        .map(|changed| (changed.customer, changed.version))
        .collect();
    let changed = waits.iter().filter(|wait| {
        let version = versions.get(&wait.customer);
        version.is_some_and(|version| *version > wait.judged)
    });
    let changed: Vec<_> = changed.map(|wait| wait.notification).collect();
    release(connection, &changed, now).await
}

/// What waits for the end of this customer's quiet hours is due now: whoever takes it reads the preferences anew. The
/// customer's version is counted up before.
pub(crate) async fn release_all(
    connection: &mut MySqlConnection,
    customer: CustomerId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let waiting: Vec<Uuid> = sqlx::query_scalar(WAITING_OF)
        .bind(customer.get())
        .bind(millis(now))
        .bind(RELEASED_MAX)
        .fetch_all(&mut *connection)
        .await?;
    let waiting: Vec<_> = waiting.into_iter().map(NotificationId::from).collect();
    release(connection, &waiting, now).await
}

async fn release(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let told = lines(&[TimelineEntry::new(
        millis(now),
        Step::Preference,
        "the customer's preferences or devices have changed: it does not wait any longer, and is looked at again",
    )]);
    for some in ids.chunks(KEYS_MAX) {
        sqlx::query(RELEASE)
            .bind(bulk::ids(some)?)
            .bind(millis(now))
            .bind(millis(now))
            .bind(millis(now))
            .bind(&told)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Those of them whose wait for the end of quiet hours is over. It is forgotten.
pub(crate) async fn over(
    connection: &mut MySqlConnection,
    due: &[NotificationId],
) -> Result<HashSet<NotificationId>, StoreError> {
    let mut over = HashSet::new();
    for some in due.chunks(KEYS_MAX) {
        let ids = bulk::ids(some)?;
        let waited: Vec<Uuid> = sqlx::query_scalar(WAITED)
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?;
        if !waited.is_empty() {
            sqlx::query(WAITED_ENOUGH)
                .bind(&ids)
                .execute(&mut *connection)
                .await?;
        }
        over.extend(waited.into_iter().map(NotificationId::from));
    }
    Ok(over)
}

impl Store {
    /// Forgets waits that should have ended before `until`, `limit` at most: of notifications that ended otherwise.
    /// Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_quiet_hours_waits(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_WAITS, until, limit).await
    }
}

/// An element of [`PUT_OFF`]'s array.
#[derive(Serialize)]
struct Wait {
    id: String,
    customer: CustomerId,
    ends_at: String,
    #[serde(skip)]
    notification: NotificationId,
    #[serde(skip)]
    judged: CustomerVersion,
}

impl Wait {
    fn of(round: &ClaimedRound, row: &Locked) -> Option<Self> {
        match &round.settlement.next {
            Next::Later(until, _) => Some(Self {
                id: bulk::id(round.settlement.notification),
                customer: row.customer,
                ends_at: bulk::time(*until),
                notification: round.settlement.notification,
                judged: round.version,
            }),
            Next::Done(_) | Next::Wait(..) | Next::DeadLetter(_) => None,
        }
    }
}
