//! How many notifications each Expo request carried.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::sync::lock;

/// Larger requests (all of them refused) count as this size, which bounds the table.
const SIZE_MAX: usize = 1_000;

/// Requests by size.
#[derive(Debug, Default)]
pub(crate) struct RequestSizes(Mutex<BTreeMap<usize, u64>>);

impl RequestSizes {
    pub(super) fn count(&self, notifications: usize) {
        *lock(&self.0)
            .entry(notifications.min(SIZE_MAX))
            .or_default() += 1;
    }

    /// `{"<size>": requests}`.
    pub(crate) fn json(&self) -> Value {
        json!(*lock(&self.0))
    }

    pub(crate) fn reset(&self) {
        lock(&self.0).clear();
    }
}
