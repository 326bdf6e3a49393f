//! "Any worker may do it, one at a time does."

use push_store::{Lease, Store, StoreError};

/// The right to do something that one worker does at a time.
#[derive(Debug)]
pub struct Leader {
    name: &'static str,
    /// Held while it is this worker that does it.
    lease: Option<Lease>,
}

impl Leader {
    /// Of what goes by this name.
    pub const fn of(name: &'static str) -> Self {
        Self { name, lease: None }
    }

    /// Whether it is this worker, now that it was tried to become it.
    pub async fn is_this(&mut self, store: &Store) -> Result<bool, StoreError> {
        if let Some(held) = self.lease.as_mut()
            && held.still_held().await
        {
            return Ok(true);
        }
        self.lease = None;
        self.lease = store.try_lease(self.name).await?;
        Ok(self.lease.is_some())
    }

    /// Lets another worker do it, which may be able to.
    pub async fn step_down(&mut self) {
        if let Some(held) = self.lease.take() {
            held.release().await;
        }
    }
}
