//! Which devices a push can go to.

use std::collections::HashMap;

use push_core::id::CustomerId;
use push_core::plan::Device;

use crate::Store;
use crate::error::StoreError;

impl Store {
    /// The devices of many customers in one query, with live tokens only. A device without a live
    /// token, and a customer without such a device, is left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn active_devices(
        &self,
        customers: &[CustomerId],
    ) -> Result<HashMap<CustomerId, Vec<Device>>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
