//! Statements for many rows at once: their one parameter is a JSON array, which `JSON_TABLE` turns into rows.
//!
//! So a statement's text does not depend on the number of rows, and is prepared once a connection. The usual way, a
//! placeholder a value with `persistent(false)`, cost 40 ms a statement: the driver sends "execute" and "close" as two
//! packets without `TCP_NODELAY`, and the second waits for the server's delayed acknowledgement of the first.
//!
//! What every notification goes through is spared `JSON_TABLE`, which cost MariaDB 15 to 20 µs a row of as many columns:
//! there a statement has a placeholder a value, and comes [for a few numbers of rows](some_rows) only.
//!
//! Texts are `MEDIUMTEXT` and numbers `BIGINT` in there, because `JSON_TABLE` would turn what does not fit into NULL;
//! the table's own column refuses it.
//!
//! MariaDB reads an object from its start for each of its columns: short fields come first, texts and jobs last, and a
//! field is written as `null` rather than left out.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use serde::Serialize;
use sqlx::AssertSqlSafe;

use crate::decode::millis;
use crate::error::StoreError;

/// Keys of one statement. Bounds its time and its locks, not its correctness.
pub(crate) const KEYS_MAX: usize = 1_000;

/// Bytes of one parameter, but for a row that is larger: servers take 16 MiB as one packet by default.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The parameter for some of many rows.
pub(crate) struct Array {
    pub(crate) json: String,
    pub(crate) rows: usize,
}

/// The parameters for rows of any number and size, at most `rows_max` each, in order.
pub(crate) fn arrays<T: Serialize>(rows: &[T], rows_max: usize) -> Result<Vec<Array>, StoreError> {
    let mut arrays: Vec<Array> = Vec::new();
    for row in rows {
        let row = serde_json::to_string(row).map_err(|_| UNWRITABLE)?;
        match arrays.last_mut() {
            Some(last) if last.rows < rows_max && last.json.len() + row.len() < BYTES_MAX => {
                last.json.push(',');
                last.json.push_str(&row);
                last.rows += 1;
            }
            Some(_) | None => arrays.push(Array {
                json: format!("[{row}"),
                rows: 1,
            }),
        }
    }
    arrays.iter_mut().for_each(|array| array.json.push(']'));
    Ok(arrays)
}

pub(crate) const UNWRITABLE: StoreError = StoreError::Unusable("a row cannot be written as JSON");

/// Splits rows into parts for each of which there is a statement, of `rows_max` at most: two or three parts as a rule, and
/// each connection has few statements to prepare.
pub(crate) fn some_rows<T>(rows: &[T], rows_max: usize) -> impl Iterator<Item = &[T]> {
    let mut left = rows;
    std::iter::from_fn(move || {
        let many = match left.len().min(rows_max) {
            0 => return None,
            many @ ..=16 => many,
            many @ ..=64 => many - many % 16,
            many => many - many % 64,
        };
        let (some, rest) = left.split_at(many);
        left = rest;
        Some(some)
    })
}

/// Keys of one statement with a placeholder a key, at most.
pub(crate) const IDS_MAX: usize = 256;

/// The keys for a statement that finds rows by them: the last one is repeated up to a number of which there is a statement.
pub(crate) fn padded(ids: &[NotificationId]) -> Vec<NotificationId> {
    let mut padded = ids.to_vec();
    if let Some(last) = ids.last() {
        padded.resize(ids.len().next_power_of_two(), *last);
    }
    padded
}

/// The statement for so many rows. A template says what one row takes, and between « and » what each further one
/// adds: no statement has these signs for anything else.
pub(crate) fn for_rows(template: &str, rows: usize) -> AssertSqlSafe<String> {
    let mut sql = String::with_capacity(template.len() * rows.max(1));
    for part in template.split('»') {
        let (once, each) = part.split_once('«').unwrap_or((part, ""));
        sql.push_str(once);
        (1..rows).for_each(|_| sql.push_str(each));
    }
    // Made of our own constants, and of nothing else.
    AssertSqlSafe(sql)
}

/// The parameter for some rows.
pub(crate) fn array<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|_| UNWRITABLE)
}

/// The parameter for notifications, in the order of the key: locks are taken in that order.
pub(crate) fn ids(ids: &[NotificationId]) -> Result<String, StoreError> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    array(&ids.into_iter().map(id).collect::<Vec<_>>())
}

/// The parameter for customers, in the order of the key.
pub(crate) fn customers(customers: &[CustomerId]) -> Result<String, StoreError> {
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    customers.dedup();
    array(&customers)
}

/// A notification's id, for `UNHEX`.
pub(crate) fn id(id: NotificationId) -> String {
    id.as_uuid().simple().to_string()
}

/// A time, as a column reads it.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    millis(time).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// A hash, for `UNHEX`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_for_as_many_rows_as_there_are() {
        let sql = |rows| for_rows("a (?)«, (?)» IN (?«, ?») '{}' z", rows).0;
        assert_eq!(sql(1), "a (?) IN (?) '{}' z");
        assert_eq!(sql(3), "a (?), (?), (?) IN (?, ?, ?) '{}' z");
    }

    #[test]
    fn rows_come_in_few_different_numbers() {
        let parts = |rows: usize| {
            let rows: Vec<usize> = (0..rows).collect();
            let parts: Vec<_> = some_rows(&rows, 256).collect();
            assert_eq!(parts.concat(), rows, "all of them, in order");
            parts.iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        assert_eq!(parts(0), [0_usize; 0]);
        assert_eq!(parts(15), [15]);
        assert_eq!(parts(17), [16, 1]);
        assert_eq!(parts(63), [48, 15]);
        assert_eq!(parts(1_000), [256, 256, 256, 192, 32, 8]);
        let different: std::collections::HashSet<_> = (0..1_000).flat_map(parts).collect();
        assert_eq!(different.len(), 22);
    }

    #[test]
    fn no_array_has_more_rows_or_bytes_than_it_may() {
        let rows: Vec<String> = (0..7).map(|n| n.to_string().repeat(10)).collect();
        let of = |rows: &[String], rows_max| {
            let arrays = arrays(rows, rows_max).unwrap();
            let read =
                |array: &Array| -> Vec<String> { serde_json::from_str(&array.json).unwrap() };
            let read: Vec<_> = arrays.iter().map(read).collect();
            assert_eq!(read.concat(), rows, "all of them, in order");
            arrays.iter().map(|array| array.rows).collect::<Vec<_>>()
        };
        assert_eq!(of(&rows, 3), [3, 3, 1]);
        assert_eq!(of(&rows, 100), [7]);
        assert_eq!(of(&[], 3), [0_usize; 0]);
        let large: Vec<String> = [1, BYTES_MAX / 2, BYTES_MAX / 2, BYTES_MAX + 1, 1]
            .map(|bytes| "x".repeat(bytes))
            .to_vec();
        assert_eq!(of(&large, 100), [2, 1, 1, 1]);
    }
}
