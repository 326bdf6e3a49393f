//! `expo_tickets`: pushes that Expo took, and whose receipts are outstanding.
//!
//! The truth of what is to be asked. The messages that lie on the broker meanwhile are reminders: what they are about
//! counts as long as its row is here.

pub(crate) mod due;
pub(crate) mod ended;
pub(crate) mod open;
pub(crate) mod record;

use push_core::ladder::RetryDelay;

use crate::{DeadLetterRecord, DeadToken};

/// What became of one answer in [`Store::record_receipts`](crate::Store::record_receipts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The receipt is recorded.
    Recorded,
    /// It did not come, and is not asked for any more.
    GivenUp,
    /// It is to be asked for again after this. Also where it is there, and the notification has not ended yet.
    Later(RetryDelay),
    /// It was recorded before, or the push was sent again since: nothing was changed.
    Stale,
}

/// What followed from receipts.
#[derive(Debug, Default)]
pub struct ReceiptsRecorded {
    /// For each answer, in order.
    pub noted: Vec<Noted>,
    /// Notifications that had been sent, and have failed.
    pub failed: u64,
    /// Tokens that are off, and when Expo had taken what it never delivered there: what was registered after that stands.
    pub dead: Vec<DeadToken>,
    /// What an admin may replay.
    pub letters: Vec<DeadLetterRecord>,
}
