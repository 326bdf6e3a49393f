//! The simulator's clock: wall time that a test can move forward.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds plus what was added by `POST /sim/clock`, so that
/// "gone after 24 hours" can be tested in a moment.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    advanced_ms: AtomicU64,
}

impl Clock {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        wall.saturating_add(self.advanced_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.advanced_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.advanced_ms.store(0, Ordering::Relaxed);
    }
}
