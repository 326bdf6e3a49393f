//! Switching devices and tokens off.

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::token::Token;

use super::Identification;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Switches off what the customer identifies: the whole device by its id, a single token by itself.
    /// `true` when anything was on. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn unregister(
        &self,
        customer: CustomerId,
        identification: &Identification,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }

    /// Switches dead tokens off (P5); `now` is when the provider said so: what an app registered
    /// after that stands. Returns the customers whose devices changed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switch_off(
        &self,
        tokens: &[Token],
        now: DateTime<Utc>,
    ) -> Result<Vec<CustomerId>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
