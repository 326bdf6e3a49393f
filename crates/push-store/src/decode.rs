//! From columns to domain values. What does not fit is named by table, column and row.

use std::fmt::Display;

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlTypeInfo, MySqlValueRef};
use sqlx::types::Json;
use sqlx::{Decode, MySql, Type};

use crate::error::StoreError;

/// A row that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Row<K> {
    pub(crate) table: &'static str,
    pub(crate) key: K,
}

impl<K: Display> Row<K> {
    /// A value that our types accept, or the error that says where it stands.
    pub(crate) fn read<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.corrupt(column, "not what the program writes there"))
    }

    /// The error that says where a value stands that is wrong.
    pub(crate) fn corrupt(&self, column: &'static str, problem: &'static str) -> StoreError {
        StoreError::Corrupt {
            table: self.table,
            column,
            row: self.key.to_string(),
            problem,
        }
    }

    /// The same for a column that may be NULL.
    pub(crate) fn read_nullable<V, T>(
        &self,
        column: &'static str,
        value: Option<V>,
        read: impl FnOnce(V) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        value
            .map(|value| self.read(column, read(value)))
            .transpose()
    }
}

/// A JSON column as its text, whatever it says: what of it cannot be read is seen row by row, and not when many rows are
/// fetched. (MySQL has a type of its own for it, which is no text to the driver.)
#[derive(Debug, Clone)]
pub(crate) struct JsonText(pub(crate) String);

impl Type<MySql> for JsonText {
    fn type_info() -> MySqlTypeInfo {
        Json::<()>::type_info()
    }

    fn compatible(ty: &MySqlTypeInfo) -> bool {
        Json::<()>::compatible(ty)
    }
}

impl<'r> Decode<'r, MySql> for JsonText {
    fn decode(value: MySqlValueRef<'r>) -> Result<Self, BoxDynError> {
        String::decode(value).map(Self)
    }
}

/// A time as the columns keep it: whole milliseconds, cut and not rounded, so that nothing lies in the future.
pub(crate) fn millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(3)
}
