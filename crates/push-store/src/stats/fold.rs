//! Adding up what transactions have changed, so that few rows have to be read for the figures.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use super::changes::{Change, Key};
use super::counter::{Counts, add};
use crate::Store;
use crate::bulk;
use crate::decode::Row;
use crate::error::StoreError;
use crate::retry::Tries;

/// What another one is adding up just now is left to it.
const TAKE_CHANGES: &str = "\
    SELECT id, changes FROM notification_counter_changes ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED";

/// Makes the rows that are missing and locks the others, in the order of the key: nobody else changes them meanwhile.
const LOCK_COUNTERS: &str = "\
    INSERT INTO notification_counters (span, first_hour, notification_type, counts) \
    SELECT wanted.span, wanted.first_hour, wanted.kind, '{}' \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            span BIGINT PATH '$.span', \
            first_hour BIGINT PATH '$.first_hour', \
            kind MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.kind' \
        )) AS wanted \
    ON DUPLICATE KEY UPDATE counts = notification_counters.counts";

const COUNTERS_OF: &str = "\
    SELECT counter.span, counter.first_hour, counter.notification_type, counter.counts \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            span BIGINT PATH '$.span', \
            first_hour BIGINT PATH '$.first_hour', \
            kind VARCHAR(50) CHARACTER SET utf8mb4 PATH '$.kind' \
        )) AS wanted \
    STRAIGHT_JOIN notification_counters AS counter FORCE INDEX (PRIMARY) \
        ON counter.span = wanted.span AND counter.first_hour = wanted.first_hour \
        AND counter.notification_type = wanted.kind";

const SET_COUNTERS: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            span BIGINT PATH '$.span', \
            first_hour BIGINT PATH '$.first_hour', \
            kind VARCHAR(50) CHARACTER SET utf8mb4 PATH '$.kind', \
            counts MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.counts' \
        )) AS summed \
    STRAIGHT_JOIN notification_counters AS counter FORCE INDEX (PRIMARY) \
        ON counter.span = summed.span AND counter.first_hour = summed.first_hour \
        AND counter.notification_type = summed.kind \
    SET counter.counts = summed.counts";

const DROP_CHANGES: &str = "\
    DELETE done FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS summed \
    STRAIGHT_JOIN notification_counter_changes AS done FORCE INDEX (PRIMARY) ON done.id = summed.id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("TAKE_CHANGES", TAKE_CHANGES),
    ("LOCK_COUNTERS", LOCK_COUNTERS),
    ("COUNTERS_OF", COUNTERS_OF),
    ("SET_COUNTERS", SET_COUNTERS),
    ("DROP_CHANGES", DROP_CHANGES),
];

/// Rows of one statement.
const ROWS_MAX: usize = 1_000;

impl Store {
    /// Adds up the changes of at most `limit` transactions, and says of how many. Anybody may do it at any time, several at
    /// once too: the figures are the same before and after.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was added up, unless the connection broke during the commit.
    pub async fn fold_counters(&self, limit: u32) -> Result<u64, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.fold_counters_once(limit).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn fold_counters_once(&self, limit: u32) -> Result<u64, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let taken: Vec<ChangesRow> = sqlx::query_as(TAKE_CHANGES)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
        if taken.is_empty() {
            return Ok(0);
        }
        let mut by_place: BTreeMap<Place, Counts> = BTreeMap::new();
        for row in &taken {
            for change in row.read()? {
                for place in Place::all_of(&change.key) {
                    add(by_place.entry(place).or_default(), change.counts.clone());
                }
            }
        }
        add_to_counters(&mut transaction, by_place).await?;
        let ids: Vec<u64> = taken.iter().map(|row| row.id).collect();
        for some in bulk::arrays(&ids, ROWS_MAX)? {
            sqlx::query(DROP_CHANGES)
                .bind(some.json)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(taken.len() as u64)
    }
}

async fn add_to_counters(
    connection: &mut MySqlConnection,
    mut by_place: BTreeMap<Place, Counts>,
) -> Result<(), StoreError> {
    let places: Vec<&Place> = by_place.keys().collect();
    let wanted = bulk::arrays(&places, ROWS_MAX)?;
    let mut before = Vec::with_capacity(places.len());
    for some in wanted {
        sqlx::query(LOCK_COUNTERS)
            .bind(&some.json)
            .execute(&mut *connection)
            .await?;
        let rows: Vec<CounterRow> = sqlx::query_as(COUNTERS_OF)
            .bind(&some.json)
            .fetch_all(&mut *connection)
            .await?;
        before.extend(rows);
    }
    for row in before {
        let counts = row.read()?;
        add(by_place.entry(row.place()).or_default(), counts);
    }
    let rows: Vec<SummedRow> = by_place.iter().map(SummedRow::of).collect();
    for some in bulk::arrays(&rows, ROWS_MAX)? {
        sqlx::query(SET_COUNTERS)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A row of `notification_counters`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Place {
    span: u32,
    first_hour: u32,
    kind: String,
}

/// Hours of a day.
pub(crate) const DAY: u32 = 24;
/// The span of the row that counts everything.
pub(crate) const EVER: u32 = 0;

impl Place {
    /// An hour is counted in three rows.
    fn all_of(key: &Key) -> [Self; 3] {
        let place = |span, first_hour| Self {
            span,
            first_hour,
            kind: key.kind.clone(),
        };
        [
            place(EVER, 0),
            place(1, key.hour),
            place(DAY, key.hour - key.hour % DAY),
        ]
    }
}

/// An element of [`SET_COUNTERS`]' array.
#[derive(Serialize)]
struct SummedRow<'a> {
    #[serde(flatten)]
    place: &'a Place,
    counts: String,
}

impl<'a> SummedRow<'a> {
    fn of((place, counts): (&'a Place, &Counts)) -> Self {
        // A map of numbers always serializes.
        let counts = serde_json::to_string(counts).unwrap_or_default();
        Self { place, counts }
    }
}

#[derive(FromRow)]
struct ChangesRow {
    id: u64,
    changes: String,
}

impl ChangesRow {
    fn read(&self) -> Result<Vec<Change>, StoreError> {
        let at = Row {
            table: "notification_counter_changes",
            key: self.id,
        };
        read_changes(&at, &self.changes)
    }
}

/// Reads the column.
pub(crate) fn read_changes(at: &Row<u64>, changes: &str) -> Result<Vec<Change>, StoreError> {
    at.read("changes", serde_json::from_str(changes).ok())
}

#[derive(FromRow)]
struct CounterRow {
    span: u16,
    first_hour: u32,
    notification_type: String,
    counts: String,
}

impl CounterRow {
    fn place(self) -> Place {
        Place {
            span: u32::from(self.span),
            first_hour: self.first_hour,
            kind: self.notification_type,
        }
    }

    fn read(&self) -> Result<Counts, StoreError> {
        read_counts(self.first_hour, &self.counts)
    }
}

/// Reads the column.
pub(crate) fn read_counts(first_hour: u32, counts: &str) -> Result<Counts, StoreError> {
    let at = Row {
        table: "notification_counters",
        key: first_hour,
    };
    at.read("counts", serde_json::from_str(counts).ok())
}
