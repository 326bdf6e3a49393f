//! Statements for many rows at once: their one parameter is a JSON array, which `JSON_TABLE` turns into rows.
//!
//! So a statement's text does not depend on the number of rows, and is prepared once a connection. The usual way, a
//! placeholder a value with `persistent(false)`, cost 40 ms a statement: the driver sends "execute" and "close" as two
//! packets without `TCP_NODELAY`, and the second waits for the server's delayed acknowledgement of the first.
//!
//! Texts are `MEDIUMTEXT` and numbers `BIGINT` in there, because `JSON_TABLE` would turn what does not fit into NULL;
//! the table's own column refuses it.
//!
//! MariaDB reads an object from its start for each of its columns: short fields come first, texts and jobs last, and a
//! field is written as `null` rather than left out.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use serde::Serialize;

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

const UNWRITABLE: StoreError = StoreError::Unusable("a row cannot be written as JSON");

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
