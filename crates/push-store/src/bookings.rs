//! `booking_status`: the last that is known of each booking, by which an event is news or not.
//!
//! A booking's row is locked before an event is judged, and written in the transaction that accepts the notification:
//! of the same event at two replicas at one moment one is news, and an event that is not accepted has not happened.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use push_core::booking::{BookingEvent, BookingId, BookingStatus, Fingerprint, Ignored, LastKnown};
use push_core::id::CustomerId;
use push_core::notification::NotificationType;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::{Row, millis};
use crate::error::StoreError;

/// The table of the rows that are read here.
const TABLE: &str = "booking_status";

/// Locks the rows in the order of the array. Of a booking that is new here the row says that nothing is known; it goes
/// with the transaction if nothing comes of it.
const LOCK_BOOKINGS: &str = "\
    INSERT INTO booking_status (booking_id, customer_id, status, occurred_at) \
    SELECT booking, customer, '', '1970-01-01 00:00:01' FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            customer BIGINT PATH '$.customer', \
            booking MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.booking' \
        )) AS listed \
    ON DUPLICATE KEY UPDATE booking_status.booking_id = booking_status.booking_id";

const LAST_KNOWN: &str = "\
    SELECT known.booking_id, known.customer_id, known.status, known.technician_hash, known.other_type, known.occurred_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (booking VARCHAR(64) CHARACTER SET utf8mb4 PATH '$.booking')) AS wanted \
    STRAIGHT_JOIN booking_status AS known FORCE INDEX (PRIMARY) ON known.booking_id = wanted.booking";

const LEARN: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            booking VARCHAR(64) CHARACTER SET utf8mb4 PATH '$.booking', \
            customer BIGINT PATH '$.customer', \
            technician CHAR(64) PATH '$.technician', \
            occurred MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.occurred', \
            other MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.other', \
            status MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.status' \
        )) AS learnt \
    STRAIGHT_JOIN booking_status AS known FORCE INDEX (PRIMARY) ON known.booking_id = learnt.booking \
    SET known.customer_id = learnt.customer, known.status = learnt.status, known.technician_hash = UNHEX(learnt.technician), \
        known.other_type = learnt.other, known.occurred_at = learnt.occurred";

const PURGE_BOOKINGS: &str =
    "DELETE FROM booking_status WHERE updated_at < ? ORDER BY updated_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOCK_BOOKINGS", LOCK_BOOKINGS),
    ("LAST_KNOWN", LAST_KNOWN),
    ("LEARN", LEARN),
    ("PURGE_BOOKINGS", PURGE_BOOKINGS),
];

impl Store {
    /// Forgets bookings of which nothing was heard since `until`, `limit` at most. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_bookings(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_BOOKINGS, until, limit).await
    }
}

/// Bookings whose rows a transaction has locked, as they were and as they are after the events so far.
#[derive(Debug, Default)]
pub(crate) struct Bookings {
    locked: HashMap<BookingId, LastKnown>,
    now: HashMap<BookingId, LastKnown>,
}

impl Bookings {
    /// Locks the bookings of these events, in the order of the key.
    pub(crate) async fn lock<'a>(
        connection: &mut MySqlConnection,
        events: impl Iterator<Item = &'a BookingEvent>,
    ) -> Result<Self, StoreError> {
        let mut rows: Vec<LockRow<'_>> = events.map(LockRow::of).collect();
        rows.sort_unstable_by_key(|row| row.booking);
        rows.dedup_by_key(|row| row.booking);
        let mut locked = HashMap::new();
        for some in rows.chunks(KEYS_MAX) {
            let array = bulk::array(some)?;
            sqlx::query(LOCK_BOOKINGS)
                .bind(&array)
                .execute(&mut *connection)
                .await?;
            let known: Vec<KnownRow> = sqlx::query_as(LAST_KNOWN)
                .bind(&array)
                .fetch_all(&mut *connection)
                .await?;
            for row in known {
                if let Some((booking, last)) = row.read()? {
                    locked.insert(booking, last);
                }
            }
        }
        Ok(Self {
            now: locked.clone(),
            locked,
        })
    }

    /// Whether an event would be news.
    pub(crate) fn is_news(&self, event: &BookingEvent) -> Result<(), Ignored> {
        event.after(self.now.get(&event.booking)).map(drop)
    }

    /// Takes in the next event, unless it is no news.
    pub(crate) fn hear(&mut self, event: &BookingEvent) -> Result<(), Ignored> {
        let known = event.after(self.now.get(&event.booking))?;
        self.now.insert(event.booking.clone(), known);
        Ok(())
    }

    /// As if nothing had been heard since the lock.
    pub(crate) fn forget(&mut self) {
        self.now.clone_from(&self.locked);
    }

    /// Writes down what has been heard.
    pub(crate) async fn learn(self, connection: &mut MySqlConnection) -> Result<(), StoreError> {
        let changed = self
            .now
            .iter()
            .filter(|(booking, last)| self.locked.get(*booking) != Some(last));
        let mut rows: Vec<LearnRow<'_>> = changed.map(LearnRow::of).collect();
        rows.sort_unstable_by_key(|row| row.booking);
        for some in rows.chunks(KEYS_MAX) {
            sqlx::query(LEARN)
                .bind(bulk::array(some)?)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// An element of [`LOCK_BOOKINGS`]' array.
#[derive(Serialize)]
struct LockRow<'a> {
    customer: CustomerId,
    booking: &'a str,
}

impl<'a> LockRow<'a> {
    fn of(event: &'a BookingEvent) -> Self {
        Self {
            customer: event.customer,
            booking: event.booking.as_str(),
        }
    }
}

/// An element of [`LEARN`]'s array.
#[derive(Serialize)]
struct LearnRow<'a> {
    booking: &'a str,
    customer: CustomerId,
    technician: Option<String>,
    occurred: String,
    other: Option<&'a str>,
    status: &'a str,
}

impl<'a> LearnRow<'a> {
    fn of((booking, last): (&'a BookingId, &'a LastKnown)) -> Self {
        let status = last.status.as_ref();
        let technician = status.and_then(|status| status.technician);
        // The earliest that the column holds is the second after the epoch.
        let earliest = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1);
        Self {
            booking: booking.as_str(),
            customer: last.customer,
            technician: technician.map(|Fingerprint(hash)| bulk::hex(&hash)),
            occurred: bulk::time(last.at.max(earliest)),
            other: last.other.as_ref().map(NotificationType::as_str),
            status: status.map_or("", |status| &status.name),
        }
    }
}

#[derive(FromRow)]
struct KnownRow {
    booking_id: String,
    customer_id: i64,
    status: String,
    technician_hash: Option<Vec<u8>>,
    other_type: Option<String>,
    occurred_at: DateTime<Utc>,
}

impl KnownRow {
    /// `None`: nothing is known.
    fn read(self) -> Result<Option<(BookingId, LastKnown)>, StoreError> {
        if self.status.is_empty() && self.other_type.is_none() {
            return Ok(None);
        }
        let at = Row {
            table: TABLE,
            key: &self.booking_id,
        };
        let technician = at.read_nullable("technician_hash", self.technician_hash, |hash| {
            hash.try_into().ok().map(Fingerprint)
        })?;
        let other = at.read_nullable("other_type", self.other_type, |kind| {
            NotificationType::parse(&kind).ok()
        })?;
        let booking = at.read("booking_id", BookingId::parse(&self.booking_id).ok())?;
        let customer = CustomerId::try_from(self.customer_id).ok();
        let last = LastKnown {
            customer: at.read("customer_id", customer)?,
            status: (!self.status.is_empty()).then_some(BookingStatus {
                name: self.status,
                technician,
            }),
            other,
            at: millis(self.occurred_at),
        };
        Ok(Some((booking, last)))
    }
}
