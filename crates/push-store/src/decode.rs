//! From columns to domain values. What does not fit is named by table, column and row.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

use crate::error::StoreError;

/// Where a value was read, for the message when it is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) table: &'static str,
}

impl Place {
    pub(crate) fn corrupt(
        self,
        column: &'static str,
        row: impl std::fmt::Display,
        problem: &'static str,
    ) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            column,
            row: row.to_string(),
            problem,
        }
    }
}

/// A time as the columns keep it: whole milliseconds, cut and not rounded, so that nothing lies in the future.
pub(crate) fn millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(3)
}

/// The bytes of `notification_id`.
pub(crate) fn uuid(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}
