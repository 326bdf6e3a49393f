//! Accepting: from here on a notification is never lost (P1).

use chrono::{DateTime, Utc};
use push_core::notification::Notification;

use super::{Acceptance, UnknownCustomer};
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Commits the notifications whose customers exist, all or none of them, and answers for each in order.
    /// `due_at`: when the reconciler shall look at those that are still pending, in case no queue
    /// ever got them.
    ///
    /// # Errors
    /// [`StoreError`]; then none is accepted, unless the connection broke during the commit.
    pub async fn accept(
        &self,
        notifications: &[Notification],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
