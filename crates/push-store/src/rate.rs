//! `customer_rate_limits`: how much of its budgets each customer has left.
//!
//! A budget's row is locked before a notification is judged, and written in the transaction that accepts it: all replicas
//! count together, and what is not committed has taken nothing. The moments are by the database's clock, read after the lock.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::CustomerId;
use push_core::rate::{Rate, Taken};
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::scheduled::{Appointment, Schedule};

/// The table of the rows that are read here.
const TABLE: &str = "customer_rate_limits";

/// Locks the rows in the order of the array. A new one says that its budget is full.
const LOCK_BUDGETS: &str = "\
    INSERT INTO customer_rate_limits (customer_id, budget, full_at) \
    SELECT customer, budget, '1970-01-01 00:00:01' FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            customer BIGINT PATH '$.customer', \
            budget BIGINT PATH '$.budget' \
        )) AS asked \
    ON DUPLICATE KEY UPDATE customer_rate_limits.budget = customer_rate_limits.budget";

const LEFT_OF_BUDGETS: &str = "\
    SELECT rates.customer_id, rates.budget, rates.full_at, NOW(6) AS read_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            customer BIGINT PATH '$.customer', \
            budget TINYINT UNSIGNED PATH '$.budget' \
        )) AS asked \
    STRAIGHT_JOIN customer_rate_limits AS rates FORCE INDEX (PRIMARY) \
        ON rates.customer_id = asked.customer AND rates.budget = asked.budget";

const TAKE_FROM_BUDGETS: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            customer BIGINT PATH '$.customer', \
            budget TINYINT UNSIGNED PATH '$.budget', \
            full_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.full_at' \
        )) AS taken \
    STRAIGHT_JOIN customer_rate_limits AS rates FORCE INDEX (PRIMARY) \
        ON rates.customer_id = taken.customer AND rates.budget = taken.budget \
    SET rates.full_at = taken.full_at";

/// What is not full by the database's clock stays, whatever the caller's says.
const PURGE_FULL_BUDGETS: &str = "\
    DELETE FROM customer_rate_limits WHERE full_at < ? AND full_at < NOW(6) ORDER BY full_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOCK_BUDGETS", LOCK_BUDGETS),
    ("LEFT_OF_BUDGETS", LEFT_OF_BUDGETS),
    ("TAKE_FROM_BUDGETS", TAKE_FROM_BUDGETS),
    ("PURGE_FULL_BUDGETS", PURGE_FULL_BUDGETS),
];

/// What a notification is counted as. Each has a budget of its own, so that none uses up another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Budget {
    /// It was sent by somebody.
    General,
    /// It tells of a booking.
    Booking,
    /// It tells of a booking's status, one that every booking goes through, and is of high priority.
    UrgentBooking,
}

impl Budget {
    const ALL: [Self; 3] = [Self::General, Self::Booking, Self::UrgentBooking];

    /// As the column says it.
    const fn number(self) -> u8 {
        match self {
            Self::General => 0,
            Self::Booking => 1,
            Self::UrgentBooking => 2,
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|budget| budget.number() == number)
    }
}

/// Whose budget, and which.
type Key = (CustomerId, Budget);

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    read_at: DateTime<Utc>,
    full_in: Duration,
}

/// Budgets whose rows a transaction has locked, as they were and as they are after what was taken so far.
#[derive(Debug)]
pub(crate) struct Budgets {
    rate: Option<Rate>,
    locked: HashMap<Key, Left>,
    now: HashMap<Key, Left>,
    schedule: Schedule,
}

impl Budgets {
    /// Locks these budgets, in the order of the key. Without a rate there is no limit, and nothing to lock.
    pub(crate) async fn lock(
        connection: &mut MySqlConnection,
        rate: Option<Rate>,
        asked: BTreeSet<Key>,
        appointments: BTreeSet<Appointment>,
    ) -> Result<Self, StoreError> {
        let mut locked = HashMap::new();
        if rate.is_some() {
            let rows: Vec<AskedRow> = asked.into_iter().map(AskedRow::of).collect();
            for some in rows.chunks(KEYS_MAX) {
                let array = bulk::array(some)?;
                sqlx::query(LOCK_BUDGETS)
                    .bind(&array)
                    .execute(&mut *connection)
                    .await?;
                let left: Vec<LeftRow> = sqlx::query_as(LEFT_OF_BUDGETS)
                    .bind(&array)
                    .fetch_all(&mut *connection)
                    .await?;
                for row in left {
                    let (key, left) = row.read()?;
                    locked.insert(key, left);
                }
            }
        }
        Ok(Self {
            rate,
            now: locked.clone(),
            locked,
            schedule: Schedule::look(connection, rate, appointments).await?,
        })
    }

    /// Takes one; for what is to be sent later also at its time.
    ///
    /// # Errors
    /// After how long there is one again. At a time for which too many wait there is none: a period is told then, as far
    /// away another time has to be at most.
    pub(crate) fn take(
        &mut self,
        customer: CustomerId,
        budget: Budget,
        send_at: Option<DateTime<Utc>>,
    ) -> Result<(), Duration> {
        let (Some(rate), Some(left)) = (self.rate, self.now.get_mut(&(customer, budget))) else {
            return Ok(());
        };
        let appointment = send_at.map(|send_at| (customer, send_at));
        if appointment.is_some_and(|appointment| !self.schedule.has_room(rate, appointment)) {
            return Err(rate.period());
        }
        match rate.take(left.full_in) {
            Taken::FullIn(full_in) => {
                left.full_in = full_in;
                if let Some(appointment) = appointment {
                    self.schedule.add(appointment);
                }
                Ok(())
            }
            Taken::NotFor(long) => Err(long),
        }
    }

    /// As if nothing had been taken since the lock.
    pub(crate) fn forget(&mut self) {
        self.now.clone_from(&self.locked);
        self.schedule.forget();
    }

    /// Writes down what has been taken.
    pub(crate) async fn write(self, connection: &mut MySqlConnection) -> Result<(), StoreError> {
        let taken = self
            .now
            .iter()
            .filter(|(key, left)| self.locked.get(*key) != Some(left));
        let mut rows: Vec<TakenRow> = taken.map(|(key, left)| TakenRow::of(*key, *left)).collect();
        rows.sort_unstable_by_key(|row| row.asked);
        for some in rows.chunks(KEYS_MAX) {
            sqlx::query(TAKE_FROM_BUDGETS)
                .bind(bulk::array(some)?)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

impl Store {
    /// Forgets budgets that were full before `until`, `limit` at most. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_full_budgets(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_FULL_BUDGETS, until, limit).await
    }
}

/// An element of the arrays of [`LOCK_BUDGETS`] and [`LEFT_OF_BUDGETS`].
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct AskedRow {
    customer: CustomerId,
    budget: u8,
}

impl AskedRow {
    const fn of((customer, budget): Key) -> Self {
        Self {
            customer,
            budget: budget.number(),
        }
    }
}

/// An element of [`TAKE_FROM_BUDGETS`]' array.
#[derive(Serialize)]
struct TakenRow {
    #[serde(flatten)]
    asked: AskedRow,
    full_at: String,
}

impl TakenRow {
    fn of(key: Key, left: Left) -> Self {
        let full_in = TimeDelta::from_std(left.full_in).unwrap_or(TimeDelta::MAX);
        let full_at = left.read_at.checked_add_signed(full_in);
        let full_at = full_at.unwrap_or(left.read_at);
        Self {
            asked: AskedRow::of(key),
            // To the microsecond: rounded, a budget would lose or win a bit with each notification.
            full_at: full_at.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        }
    }
}

#[derive(FromRow)]
struct LeftRow {
    customer_id: i64,
    budget: u8,
    full_at: DateTime<Utc>,
    read_at: DateTime<Utc>,
}

impl LeftRow {
    fn read(self) -> Result<(Key, Left), StoreError> {
        let at = Row {
            table: TABLE,
            key: self.customer_id,
        };
        let customer = at.read("customer_id", CustomerId::try_from(self.customer_id).ok())?;
        let budget = at.read("budget", Budget::of(self.budget))?;
        let left = Left {
            read_at: self.read_at,
            full_in: (self.full_at - self.read_at).to_std().unwrap_or_default(),
        };
        Ok(((customer, budget), left))
    }
}
