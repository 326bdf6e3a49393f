//! Recording what a round came to.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::settle::Settlement;

use super::Recording;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Commits settlements, all or none, and says for each, in order, whether it counts. Dead tokens
    /// are switched off in the same transaction (P5).
    ///
    /// `grace` is what the broker is given, beyond a rung's delay, to bring the next job back before the
    /// reconciler publishes it again.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was recorded, unless the connection broke during the commit. To record
    /// the same again is harmless.
    pub async fn record(
        &self,
        settlements: &[Settlement],
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<Vec<Recording>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
