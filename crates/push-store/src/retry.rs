//! Trying a transaction again that another one was in the way of.

use std::time::Duration;

use rand::Rng;

use crate::error::StoreError;

/// Counts the tries of one transaction.
pub(crate) struct Tries(u32);

impl Tries {
    /// Of several that are in each other's way, one gets through each time: enough for ten. Beyond that it is an
    /// outage that the caller has to wait for.
    const MAX: u32 = 10;
    /// Two transactions that hit each other must not do so again in step.
    const PAUSE_MAX_MS: u64 = 10;

    pub(crate) const fn new() -> Self {
        Self(0)
    }

    /// Whether to try again after a deadlock; pauses before it says yes. A lock that was waited for in vain is another matter:
    /// its owner takes long, or is gone, and whoever called may have more to do than this.
    pub(crate) async fn again(&mut self, error: &StoreError) -> bool {
        error.is_deadlock() && self.pause().await
    }

    /// The same, and also after a key that another transaction inserted at the same time.
    pub(crate) async fn again_after_race(&mut self, error: &StoreError) -> bool {
        (error.is_deadlock() || error.is_duplicate()) && self.pause().await
    }

    async fn pause(&mut self) -> bool {
        self.0 += 1;
        if self.0 >= Self::MAX {
            return false;
        }
        let pause = rand::rng().random_range(0..Self::PAUSE_MAX_MS * u64::from(self.0));
        tokio::time::sleep(Duration::from_millis(pause)).await;
        true
    }
}
