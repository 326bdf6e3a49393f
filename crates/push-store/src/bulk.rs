//! Statements for many rows at once.

use sqlx::{MySql, QueryBuilder};

/// Keys in one `IN (…)` at most: far below the 65,535 placeholders of the protocol, and a plan that
/// still uses the index.
pub(crate) const KEYS_MAX: usize = 1_000;

/// `… IN (?, ?, …)`: appends the list with its brackets. An empty list matches nothing.
pub(crate) fn push_in<'q, T>(query: &mut QueryBuilder<MySql>, keys: impl IntoIterator<Item = T>)
where
    T: 'q + sqlx::Encode<'q, MySql> + sqlx::Type<MySql>,
{
    query.push(" IN (");
    let mut list = query.separated(", ");
    let mut empty = true;
    for key in keys {
        list.push_bind(key);
        empty = false;
    }
    query.push(if empty { "NULL)" } else { ")" });
}
