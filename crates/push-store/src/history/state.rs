//! Where notifications stand: for admission and for `Prefer: wait`.

use std::collections::HashMap;

use push_core::admit::Recorded;
use push_core::id::NotificationId;

use super::State;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// What is recorded of each, as far as admission needs it. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn recorded(
        &self,
        ids: &[NotificationId],
    ) -> Result<HashMap<NotificationId, Recorded>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }

    /// Where each stands. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn states(
        &self,
        ids: &[NotificationId],
    ) -> Result<HashMap<NotificationId, State>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
