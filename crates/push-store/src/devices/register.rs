//! Registering a device.

use chrono::{DateTime, Utc};

use super::{Registered, Registration};
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Adds or updates a device. It is matched by `deviceId`, else by either token; a token that
    /// another row has moves here; a token that was switched off comes back.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn register(
        &self,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<Registered, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
