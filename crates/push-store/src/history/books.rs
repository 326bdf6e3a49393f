//! The books (P8).

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::Books;
use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;

const COUNT: &str = "\
    SELECT COUNT(*) AS accepted, \
        CAST(COALESCE(SUM(status = 'sent'), 0) AS UNSIGNED) AS sent, \
        CAST(COALESCE(SUM(status = 'failed'), 0) AS UNSIGNED) AS failed, \
        CAST(COALESCE(SUM(status = 'suppressed'), 0) AS UNSIGNED) AS suppressed, \
        CAST(COALESCE(SUM(status = 'pending'), 0) AS UNSIGNED) AS pending, \
        CAST(COALESCE(SUM(status = 'pending' AND due_at IS NULL), 0) AS UNSIGNED) AS leaked, \
        CAST(COALESCE(SUM(status = 'pending' AND due_at < ?), 0) AS UNSIGNED) AS overdue \
    FROM notification_history";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("COUNT", COUNT)];

impl Store {
    /// Counts the history by status, in one statement. A pending notification is overdue when it has been due since
    /// before `long_due`. Reads an index of the whole table (about a second for ten million rows): ask every minute, not
    /// at every scrape.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn books(&self, long_due: DateTime<Utc>) -> Result<Books, StoreError> {
        let row: BooksRow = sqlx::query_as(COUNT)
            .bind(millis(long_due))
            .fetch_one(&self.pool)
            .await?;
        Ok(Books {
            accepted: u64::try_from(row.accepted).unwrap_or(0),
            sent: row.sent,
            failed: row.failed,
            suppressed: row.suppressed,
            pending: row.pending,
            leaked: row.leaked,
            overdue: row.overdue,
        })
    }
}

#[derive(FromRow)]
struct BooksRow {
    accepted: i64,
    sent: u64,
    failed: u64,
    suppressed: u64,
    pending: u64,
    leaked: u64,
    overdue: u64,
}
