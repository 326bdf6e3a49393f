//! The books (P8).

use super::Books;
use crate::Store;
use crate::error::StoreError;

const COUNT: &str = "\
    SELECT COUNT(*) AS accepted, \
        CAST(COALESCE(SUM(status = 'sent'), 0) AS UNSIGNED) AS sent, \
        CAST(COALESCE(SUM(status = 'failed'), 0) AS UNSIGNED) AS failed, \
        CAST(COALESCE(SUM(status = 'suppressed'), 0) AS UNSIGNED) AS suppressed, \
        CAST(COALESCE(SUM(status = 'pending'), 0) AS UNSIGNED) AS pending \
    FROM notification_history";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("COUNT", COUNT)];

impl Store {
    /// Counts the history by status, in one statement. Reads an index of the whole table (about a
    /// second for ten million rows): ask every minute, not at every scrape.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn books(&self) -> Result<Books, StoreError> {
        let (accepted, sent, failed, suppressed, pending): (i64, u64, u64, u64, u64) =
            sqlx::query_as(COUNT).fetch_one(&self.pool).await?;
        Ok(Books {
            accepted: u64::try_from(accepted).unwrap_or(0),
            sent,
            failed,
            suppressed,
            pending,
        })
    }
}
