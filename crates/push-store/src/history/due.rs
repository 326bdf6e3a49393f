//! Pending notifications that no queue knows any more: what the reconciler works on.

use chrono::{DateTime, Utc};
use push_core::id::NotificationId;
use push_core::timeline::TimelineEntry;

use super::DueJob;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Makes due at once what the broker did not take after [`Store::accept`]. Only those of which no round is
    /// recorded: once a worker had the job, its own due time stands.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; they become due later by themselves.
    pub async fn mark_unpublished(
        &self,
        ids: &[NotificationId],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }

    /// The pending notifications that are due, longest first, with the job that comes next for each. A row that
    /// cannot be read is logged and looked at again in an hour; it does not keep the others waiting.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn due(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<DueJob>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }

    /// They were published again: `entry` says so in their timelines, and they are not due before `until`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then they stay due.
    pub async fn push_back_due(
        &self,
        ids: &[NotificationId],
        until: DateTime<Utc>,
        entry: &TimelineEntry,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
