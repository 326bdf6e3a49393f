//! Erasing a customer.
//!
//! One transaction marks the customer as erased and deletes devices and preferences. From its commit on nothing that was
//! accepted before is sent any more: whoever claims it finds the mark (`history/claim.rs`), as does the recorder of dead
//! letters. What waits is ended, and content is emptied, some notifications at a time, by an operation.
//!
//! What is accepted takes over the mark that it sees; so it is before or after an erasure by the database's order, and by no
//! clock. What is being accepted at that very moment may be committed after the operation has looked: it is never sent, and
//! emptied when the customer is [looked at again](Store::erase_again).

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::changed::Changed;
use push_core::id::{CustomerId, NotificationId};
use push_core::provider::PerProvider;
use push_core::settle::{Next, Settlement, suppress};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_core::timeline::{Step, TimelineEntry};
use push_core::wanted::Suppression;
use push_seal::Keyring;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::content::{self, Emptied, letter_content};
use crate::customers::known;
use crate::dead_letters::record::settled;
use crate::decode::{Row, millis};
use crate::devices::count_up;
use crate::error::StoreError;
use crate::history::TABLE;
use crate::history::cancel::{end, waiting};
use crate::history::lock::{Locked, lock};
use crate::operations::OperationId;
use crate::operations::create::start_erasing;
use crate::retry::Tries;
use crate::stats::{Changes, Standing};

const KNOWN_BY_US: &str = "\
    SELECT CAST(EXISTS (SELECT 1 FROM customer_push_tokens WHERE customer_id = ?) \
        OR EXISTS (SELECT 1 FROM notification_preferences WHERE customer_id = ?) \
        OR EXISTS (SELECT 1 FROM notification_history WHERE customer_id = ?) \
        OR EXISTS (SELECT 1 FROM customer_erasures WHERE customer_id = ?) AS SIGNED)";

const DELETE_DEVICES: &str = "DELETE FROM customer_push_tokens WHERE customer_id = ?";
const DELETE_PREFERENCES: &str = "DELETE FROM notification_preferences WHERE customer_id = ?";
const DELETE_BOOKINGS: &str = "DELETE FROM booking_status WHERE customer_id = ?";

/// What was heard when the customer was erased, and committed later.
const DELETE_BOOKINGS_OF_BEFORE: &str = "\
    DELETE booking FROM customer_erasures AS erasure FORCE INDEX (PRIMARY) \
    STRAIGHT_JOIN booking_status AS booking FORCE INDEX (customer) ON booking.customer_id = erasure.customer_id \
    WHERE erasure.customer_id = ? AND booking.updated_at <= erasure.erased_at + INTERVAL ? MICROSECOND";

/// No two marks of a customer are equal, and none is smaller than one before.
const MARK_ERASED: &str = "\
    INSERT INTO customer_erasures (customer_id, mark, erased_at, look_again_at) \
    VALUES (?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), NOW(3), NOW(3) + INTERVAL ? MICROSECOND) \
    ON DUPLICATE KEY UPDATE mark = GREATEST(mark + 1, VALUES(mark)), erased_at = VALUES(erased_at), \
        look_again_at = VALUES(look_again_at)";

const MARK_OF: &str = "SELECT mark FROM customer_erasures WHERE customer_id = ?";

const TO_ERASE: &str = "\
    SELECT CAST(COUNT(*) AS SIGNED) FROM notification_history FORCE INDEX (by_customer) \
    WHERE customer_id = ? AND erasure_mark < ? AND emptied < ?";

const ERASE_NEXT: &str = "\
    SELECT id, notification_id, created_at FROM notification_history FORCE INDEX (by_customer) \
    WHERE customer_id = ? AND created_at >= ? AND (created_at > ? OR id > ?) AND erasure_mark < ? AND emptied < ? \
    ORDER BY created_at, id LIMIT ?";

const KNOWN_OF: &str = "\
    SELECT fcm_result, expo_result, COALESCE(claimed_until > NOW(3), FALSE) AS claim_holds \
    FROM notification_history FORCE INDEX (notification) WHERE notification_id = ?";

/// Dead letters of what was no notification of ours, of those of these customers who were erased: nobody knows whether it
/// was before that or after.
const ERASE_STRANGERS: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS listed \
    STRAIGHT_JOIN customer_erasures AS erasure FORCE INDEX (PRIMARY) ON erasure.customer_id = listed.id \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (by_customer) ON letter.customer_id = erasure.customer_id \
    SET ",
    letter_content!(),
    ", letter.token_masked = NULL, letter.bytes_due_at = NULL, letter.emptied = ? \
    WHERE letter.emptied < ? \
        AND NOT EXISTS (SELECT 1 FROM notification_history AS history \
            WHERE history.notification_id = letter.notification_id)"
);

const ERASED_AMONG: &str = "\
    SELECT history.notification_id \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS listed \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(listed.id) \
    STRAIGHT_JOIN customer_erasures AS erasure FORCE INDEX (PRIMARY) \
        ON erasure.customer_id = history.customer_id AND erasure.mark > history.erasure_mark";

const TO_LOOK_AT_AGAIN: &str = "\
    SELECT customer_id, mark FROM customer_erasures FORCE INDEX (look_again) \
    WHERE look_again_at <= ? ORDER BY look_again_at LIMIT ?";

const LOOK_AGAIN_LATER: &str =
    "UPDATE customer_erasures SET look_again_at = ? WHERE customer_id = ? AND mark = ?";

const LOOKED_AT_AGAIN: &str =
    "UPDATE customer_erasures SET look_again_at = NULL WHERE customer_id = ? AND mark = ?";

const PURGE_ERASURES: &str = "\
    DELETE FROM customer_erasures WHERE erased_at < ? AND look_again_at IS NULL ORDER BY erased_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("KNOWN_BY_US", KNOWN_BY_US),
    ("DELETE_DEVICES", DELETE_DEVICES),
    ("DELETE_PREFERENCES", DELETE_PREFERENCES),
    ("DELETE_BOOKINGS", DELETE_BOOKINGS),
    ("DELETE_BOOKINGS_OF_BEFORE", DELETE_BOOKINGS_OF_BEFORE),
    ("MARK_ERASED", MARK_ERASED),
    ("MARK_OF", MARK_OF),
    ("TO_ERASE", TO_ERASE),
    ("ERASE_NEXT", ERASE_NEXT),
    ("KNOWN_OF", KNOWN_OF),
    ("ERASE_STRANGERS", ERASE_STRANGERS),
    ("ERASED_AMONG", ERASED_AMONG),
    ("TO_LOOK_AT_AGAIN", TO_LOOK_AT_AGAIN),
    ("LOOK_AGAIN_LATER", LOOK_AGAIN_LATER),
    ("LOOKED_AT_AGAIN", LOOKED_AT_AGAIN),
    ("PURGE_ERASURES", PURGE_ERASURES),
];

/// What is being accepted when a customer is erased is committed by then: no transaction lives for so long.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::minutes(5);
/// What is heard later than this after an erasure was not being accepted at that moment: what is between is forgotten, and
/// at worst heard twice.
const BEING_ACCEPTED_FOR: TimeDelta = TimeDelta::seconds(30);
/// The first moment that a `TIMESTAMP` can hold.
pub(crate) const BEGINNING: DateTime<Utc> = match DateTime::from_timestamp_secs(1) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};
/// Customers who are looked at again in one go.
const AGAIN_MAX: u32 = 100;
/// Notifications of one transaction.
pub(crate) const ERASED_AT_ONCE: u32 = 200;

/// Which notifications an erasure is about: those of a customer that were accepted before the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) customer: CustomerId,
    pub(crate) mark: u64,
}

/// A customer who is looked at again, and how far that is.
#[derive(Debug)]
pub struct Again {
    scope: Scope,
    place: Option<Place>,
    seen_all: bool,
}

/// A place among a customer's notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: DateTime<Utc>,
    pub(crate) id: u64,
}

/// What was done with some of them.
#[derive(Debug)]
pub(crate) struct Handled {
    /// Notifications that are emptied now.
    pub(crate) done: u64,
    /// How those ended that had been waiting.
    pub(crate) ended: Vec<Ending>,
    /// The last one that was looked at.
    pub(crate) last: Option<Place>,
    /// There is none after that.
    pub(crate) at_the_end: bool,
}

impl Store {
    /// Whether anything is known of a customer, here or in the booking backend's table; also that it was erased.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn knows(&self, customer: CustomerId) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let by_us: i64 = sqlx::query_scalar(KNOWN_BY_US)
            .bind(customer.get())
            .bind(customer.get())
            .bind(customer.get())
            .bind(customer.get())
            .fetch_one(&mut *connection)
            .await?;
        Ok(by_us == 1
            || known(&mut connection, &[customer])
                .await?
                .contains(customer))
    }

    /// Erases a customer: devices and preferences are gone, and nothing that was accepted before is sent any more. The
    /// operation `id`, which a worker runs, ends what waits and empties content. To do so again is harmless.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn erase_customer(
        &self,
        id: OperationId,
        customer: CustomerId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Changed>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.erase_customer_once(id, customer, by, now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn erase_customer_once(
        &self,
        id: OperationId,
        customer: CustomerId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Changed>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // First the mark, for which another erasure of the same customer waits. A booking of which is heard between this and
        // the commit may stay; it is forgotten when the customer is looked at again.
        sqlx::query(MARK_ERASED)
            .bind(customer.get())
            .bind(LOOK_AGAIN_AFTER.num_microseconds())
            .execute(&mut *transaction)
            .await?;
        for statement in [DELETE_DEVICES, DELETE_PREFERENCES, DELETE_BOOKINGS] {
            sqlx::query(statement)
                .bind(customer.get())
                .execute(&mut *transaction)
                .await?;
        }
        let mark: u64 = sqlx::query_scalar(MARK_OF)
            .bind(customer.get())
            .fetch_one(&mut *transaction)
            .await?;
        let scope = Scope { customer, mark };
        let total = remaining(&mut transaction, scope).await?;
        start_erasing(&mut transaction, id, scope, total, by, now).await?;
        let changed = count_up(&mut transaction, &[customer]).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// Customers who were erased a while ago, and are to be [looked at again](Self::erase_again). Until then each is put
    /// off: one that nothing can be done with is in no other's way.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; those that were not put off are due again at once.
    pub async fn to_look_at_again(&self, now: DateTime<Utc>) -> Result<Vec<Again>, StoreError> {
        let due: Vec<(i64, u64)> = sqlx::query_as(TO_LOOK_AT_AGAIN)
            .bind(millis(now))
            .bind(AGAIN_MAX)
            .fetch_all(&self.pool)
            .await?;
        let mut again = Vec::with_capacity(due.len());
        for (customer, mark) in due {
            sqlx::query(LOOK_AGAIN_LATER)
                .bind(millis(now + LOOK_AGAIN_AFTER))
                .bind(customer)
                .bind(mark)
                .execute(&self.pool)
                .await?;
            if let Ok(customer) = CustomerId::try_from(customer) {
                let scope = Scope { customer, mark };
                again.push(Again {
                    scope,
                    place: None,
                    seen_all: false,
                });
            }
        }
        Ok(again)
    }

    /// Looks again at some notifications of a customer, for what was being accepted at the moment of the erasure. Returns
    /// how those ended that had been waiting; `None` when it has seen all.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; what is left is looked at the next time.
    pub async fn erase_again(
        &self,
        again: &mut Again,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Ending>>, StoreError> {
        if again.seen_all {
            return Ok(None);
        }
        let scope = again.scope;
        let handled = self.erase_more(scope, again.place, now).await?;
        again.place = handled.last;
        if handled.at_the_end {
            let mut connection = self.pool.acquire().await?;
            sqlx::query(DELETE_BOOKINGS_OF_BEFORE)
                .bind(scope.customer.get())
                .bind(BEING_ACCEPTED_FOR.num_microseconds())
                .execute(&mut *connection)
                .await?;
            // What is in a worker's hands is looked at the next time.
            if remaining(&mut connection, scope).await? == 0 {
                sqlx::query(LOOKED_AT_AGAIN)
                    .bind(scope.customer.get())
                    .bind(scope.mark)
                    .execute(&mut *connection)
                    .await?;
            }
            again.seen_all = true;
        }
        Ok(Some(handled.ended))
    }

    async fn erase_more(
        &self,
        scope: Scope,
        after: Option<Place>,
        now: DateTime<Utc>,
    ) -> Result<Handled, StoreError> {
        let erase = async |keys: Keyring| {
            let mut transaction = self.pool.begin().await?;
            let handled =
                erase_some(&mut transaction, &keys, scope, after, ERASED_AT_ONCE, now).await?;
            transaction.commit().await?;
            Ok(handled)
        };
        let mut tries = Tries::new();
        loop {
            match self.opening(&erase).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    /// Forgets erasures of before `until`, `limit` at most: nothing that was accepted before them can be in a queue any
    /// more. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_erasures(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_ERASURES, until, limit).await
    }
}

/// How many notifications still have content, or wait.
pub(crate) async fn remaining(
    connection: &mut MySqlConnection,
    scope: Scope,
) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(TO_ERASE)
        .bind(scope.customer.get())
        .bind(scope.mark)
        .bind(Emptied::Erased.as_u8())
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Ends and empties the next notifications of a customer, the oldest first. One that a worker has in hand is left out: its
/// record comes first.
pub(crate) async fn erase_some(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    scope: Scope,
    after: Option<Place>,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<Handled, StoreError> {
    let rows = next(connection, scope, after, limit).await?;
    let ids: Vec<NotificationId> = rows.iter().map(|row| row.notification_id.into()).collect();
    let locked = lock(connection, ids.iter().copied()).await?;
    let (mut changes, mut ended) = (Changes::default(), Vec::new());
    let mut to_empty = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(row) = locked.get(&id) else { continue };
        match row.recorded.status {
            Status::Sent | Status::Failed | Status::Suppressed => {}
            Status::Pending => match end_one(connection, keys, id, row, &mut changes, now).await? {
                Some(ending) => ended.push(ending),
                None => continue,
            },
        }
        to_empty.push(id);
    }
    content::erase(connection, &to_empty, &told(now)).await?;
    let at_the_end = rows.len() < limit as usize;
    if at_the_end {
        erase_strangers(connection, &[scope.customer]).await?;
    }
    changes.write(connection).await?;
    Ok(Handled {
        done: to_empty.len() as u64,
        ended,
        last: rows.last().map(NextRow::place).or(after),
        at_the_end,
    })
}

/// Empties the dead letters of what was no notification of ours, where one of these customers was erased.
pub(crate) async fn erase_strangers(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<(), StoreError> {
    for some in customers.chunks(KEYS_MAX) {
        sqlx::query(ERASE_STRANGERS)
            .bind(bulk::customers(some)?)
            .bind(Emptied::Erased.as_u8())
            .bind(Emptied::Erased.as_u8())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Passes over the next notification, which nobody can do anything with just now.
pub(crate) async fn pass_over(
    connection: &mut MySqlConnection,
    scope: Scope,
    after: Option<Place>,
) -> Result<Handled, StoreError> {
    let rows = next(connection, scope, after, 1).await?;
    if let Some(row) = rows.first() {
        tracing::error!(notification.id = %row.notification_id, "a notification of an erased customer is passed over; it is tried again later");
    }
    Ok(Handled {
        done: 0,
        ended: Vec::new(),
        last: rows.first().map(NextRow::place).or(after),
        at_the_end: rows.is_empty(),
    })
}

async fn next(
    connection: &mut MySqlConnection,
    scope: Scope,
    after: Option<Place>,
    limit: u32,
) -> Result<Vec<NextRow>, StoreError> {
    let from = after.map_or(BEGINNING, |place| place.at);
    Ok(sqlx::query_as(ERASE_NEXT)
        .bind(scope.customer.get())
        .bind(from)
        .bind(from)
        .bind(after.map_or(0, |place| place.id))
        .bind(scope.mark)
        .bind(Emptied::Erased.as_u8())
        .bind(limit)
        .fetch_all(connection)
        .await?)
}

/// Those of them whose customer was erased after they were accepted.
pub(crate) async fn erased_among(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = NotificationId>,
) -> Result<HashSet<NotificationId>, StoreError> {
    let ids: Vec<NotificationId> = ids.into_iter().collect();
    let mut erased = HashSet::new();
    for some in ids.chunks(KEYS_MAX) {
        let found: Vec<Uuid> = sqlx::query_scalar(ERASED_AMONG)
            .bind(bulk::ids(some)?)
            .fetch_all(&mut *connection)
            .await?;
        erased.extend(found.into_iter().map(NotificationId::from));
    }
    Ok(erased)
}

/// All that the timeline of an erased notification says.
pub(crate) fn told(now: DateTime<Utc>) -> TimelineEntry {
    let text = "the customer was erased: the content is gone, and what was told here before";
    TimelineEntry::new(millis(now), Step::Erased, text)
}

/// Ends a pending one, unless a worker has it in hand. Says how it ended. What cannot be read is ended as well; what
/// cannot be read without a key that is missing waits for the key.
async fn end_one(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    id: NotificationId,
    locked: &Locked,
    changes: &mut Changes,
    now: DateTime<Utc>,
) -> Result<Option<Ending>, StoreError> {
    let known: KnownRow = sqlx::query_as(KNOWN_OF)
        .bind(id.as_uuid())
        .fetch_one(&mut *connection)
        .await?;
    if known.claim_holds {
        return Ok(None);
    }
    let waiting = waiting(connection, id).await;
    let settlement = match waiting.and_then(|row| row.job(keys)) {
        Ok(job) => suppress(&job, Suppression::Erased, now),
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => {
            tracing::warn!(notification.id = %id, %error, "an erased notification cannot be read; it is ended all the same");
            unread(id, locked, known.results(id)?, now)
        }
    };
    let Next::Done(ending) = settlement.next else {
        return Err(StoreError::Unusable("an erased job goes on"));
    };
    end(connection, &settlement, ending, now).await?;
    let standing = Standing {
        ending,
        results: settlement.results,
        sent_at: locked.sent_at.or(Some(now)),
    };
    changes.moved(&locked.counted, None, Some(&standing));
    Ok(Some(ending))
}

/// The end of what nobody can make a job of: what a device accepted before counts.
fn unread(
    id: NotificationId,
    locked: &Locked,
    results: PerProvider<ProviderResult>,
    now: DateTime<Utc>,
) -> Settlement {
    let ending = if [results.fcm, results.expo].contains(&ProviderResult::Success) {
        Ending::Sent
    } else {
        Ending::Suppressed(Reason::Erased)
    };
    Settlement {
        notification: id,
        round: locked.recorded.round.saturating_add(1),
        attempts: 0,
        results,
        deliveries: Vec::new(),
        timeline: vec![told(now)],
        next: Next::Done(ending),
    }
}

/// What is known of a pending one without reading it.
#[derive(FromRow)]
struct KnownRow {
    fcm_result: String,
    expo_result: String,
    claim_holds: bool,
}

impl KnownRow {
    /// What it came to so far, now that nothing of it is queued any more.
    fn results(&self, id: NotificationId) -> Result<PerProvider<ProviderResult>, StoreError> {
        let at = Row {
            table: TABLE,
            key: id,
        };
        let result =
            |column, text: &str| at.read(column, ProviderResult::from_spelling(text).map(settled));
        Ok(PerProvider {
            fcm: result("fcm_result", &self.fcm_result)?,
            expo: result("expo_result", &self.expo_result)?,
        })
    }
}

#[derive(FromRow)]
struct NextRow {
    id: u64,
    notification_id: Uuid,
    created_at: DateTime<Utc>,
}

impl NextRow {
    const fn place(&self) -> Place {
        Place {
            at: self.created_at,
            id: self.id,
        }
    }
}
