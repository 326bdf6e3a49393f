//! The books (P8).

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::FromRow;

use super::Books;
use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;
use crate::stats::figures::Sum;
use crate::stats::fold::{read_changes, read_counts};
use crate::stats::read::CHANGES;

/// What was counted with every change, beside what is pending by the rows: at one moment, because it is one statement.
const BOOKS: &str = "\
    SELECT counts, NULL AS changes, NULL AS pending, NULL AS leaked, NULL AS overdue \
    FROM notification_counters WHERE span = 0 AND first_hour = 0 \
    UNION ALL \
    SELECT NULL, changes, NULL, NULL, NULL FROM notification_counter_changes \
    UNION ALL \
    SELECT NULL, NULL, COUNT(*), \
        CAST(COALESCE(SUM(due_at IS NULL), 0) AS SIGNED), CAST(COALESCE(SUM(due_at < ?), 0) AS SIGNED) \
    FROM notification_history FORCE INDEX (status_due) WHERE status = 'pending'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("BOOKS", BOOKS)];

impl Store {
    /// The books as they stand. A pending notification is overdue when it has been due since before `long_due`. Reads the
    /// index of those that are pending, and no others: fast however long the history, slower the longer the backlog.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn books(&self, long_due: DateTime<Utc>) -> Result<Books, StoreError> {
        let (mut books, mut sum) = (Books::default(), Sum::default());
        let mut rows = sqlx::query_as(BOOKS)
            .bind(millis(long_due))
            .fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let row: BooksRow = row;
            if let Some(counts) = &row.counts {
                sum.add(&read_counts(0, counts)?);
            }
            if let Some(changes) = &row.changes {
                for change in read_changes(&CHANGES, changes)? {
                    sum.add(&change.counts);
                }
            }
            let count = |column: Option<i64>| u64::try_from(column.unwrap_or(0)).unwrap_or(0);
            books.pending += count(row.pending);
            books.leaked += count(row.leaked);
            books.overdue += count(row.overdue);
        }
        let figures = sum.figures();
        books.accepted = figures.accepted;
        books.sent = figures.sent;
        books.failed = figures.failed();
        books.suppressed = figures.suppressed();
        Ok(books)
    }
}

#[derive(FromRow)]
struct BooksRow {
    counts: Option<String>,
    changes: Option<String>,
    pending: Option<i64>,
    leaked: Option<i64>,
    overdue: Option<i64>,
}
