//! One notification with everything that is known of it.

use push_core::id::NotificationId;

use super::NotificationView;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// The notification with its deliveries and its timeline; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationView>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
