//! Which notifications this worker has in hand.
//!
//! When the connection to the broker is lost, the broker delivers again what was not acknowledged,
//! while the first copy is still being sent here. The second copy is recognised by this and dropped:
//! the first will be recorded, and should this worker die before that, the reconciler finds it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use push_core::id::NotificationId;

/// The notifications in hand. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<HashSet<NotificationId>>>);

/// A notification is in hand for as long as this lives.
#[derive(Debug)]
pub struct InHand {
    all: InFlight,
    id: NotificationId,
}

impl InFlight {
    /// Takes it in hand, unless it is already.
    pub fn take(&self, id: NotificationId) -> Option<InHand> {
        let fresh = self.ids().insert(id);
        fresh.then(|| InHand {
            all: self.clone(),
            id,
        })
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, HashSet<NotificationId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.all.ids().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_not_taken_until_the_first_is_done() {
        let (all, id) = (InFlight::default(), NotificationId::generate());
        let first = all.take(id);
        assert!(first.is_some());
        assert!(all.take(id).is_none());
        drop(first);
        assert!(all.take(id).is_some());
    }
}
