//! Deleting what is over, in small batches: each table's own statement takes a time and a limit.

use chrono::{DateTime, Utc};

use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;
use crate::retry::Tries;

impl Store {
    /// Deletes by `statement` what is older than `until`, `limit` rows at most. Returns how many.
    pub(crate) async fn purge(
        &self,
        statement: &'static str,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tries = Tries::new();
        loop {
            let purged = sqlx::query(statement)
                .bind(millis(until))
                .bind(limit)
                .execute(&self.pool)
                .await;
            match purged.map_err(StoreError::from) {
                Err(error) if tries.again(&error).await => {}
                result => return result.map(|done| done.rows_affected()),
            }
        }
    }
}
