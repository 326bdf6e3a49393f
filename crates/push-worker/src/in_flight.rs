//! Which rounds this worker has in hand.
//!
//! When the connection to the broker is lost, the broker delivers again what was not acknowledged,
//! while the first copy is still being sent here. The second copy is recognised by this and dropped:
//! the first will be recorded, and should this worker die before that, the reconciler finds it.
//! Counted by round: the next round is no copy, and may be here before the last one is forgotten.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use push_core::id::NotificationId;

/// The rounds in hand. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<HashSet<(NotificationId, u32)>>>);

/// A round is in hand for as long as this lives.
#[derive(Debug)]
pub struct InHand {
    all: InFlight,
    round: (NotificationId, u32),
}

impl InFlight {
    /// Takes it in hand, unless it is already.
    pub fn take(&self, id: NotificationId, round: u32) -> Option<InHand> {
        let fresh = self.rounds().insert((id, round));
        fresh.then(|| InHand {
            all: self.clone(),
            round: (id, round),
        })
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, HashSet<(NotificationId, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.all.rounds().remove(&self.round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_not_taken_until_the_first_is_done() {
        let (all, id) = (InFlight::default(), NotificationId::generate());
        let first = all.take(id, 1);
        assert!(first.is_some());
        assert!(all.take(id, 1).is_none());
        assert!(all.take(id, 2).is_some(), "the next round is no copy");
        drop(first);
        assert!(all.take(id, 1).is_some());
    }
}
