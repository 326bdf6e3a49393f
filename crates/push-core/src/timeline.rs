//! The decisions made about a notification, in plain words: one call answers "why did customer 123
//! not get it?".

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::provider::spelled;

spelled! {
    /// What kind of decision an entry tells of.
    Step {
        /// Committed to the database.
        Accepted = "accepted",
        /// Devices were chosen, or none was found.
        Devices = "devices",
        /// The customer does not want it.
        Preference = "preference",
        /// The customer's quiet hours: it waits for their end, or would be over by then.
        QuietHours = "quiet_hours",
        /// Its time was over before anybody was asked.
        Expired = "expired",
        /// A newer one with the same collapse key has taken its place.
        Superseded = "superseded",
        /// A provider was asked, and what it said.
        Attempt = "attempt",
        /// A worker that had it in hand was killed or cut off before it could record what it did.
        Interrupted = "interrupted",
        /// It waits for its next attempt.
        Retry = "retry",
        /// It was put back without an attempt.
        Postponed = "postponed",
        /// Its first provider fails for everybody, and another one was asked instead.
        Failover = "failover",
        /// It had waited for a time that was chosen, and that has come.
        TimeCame = "time_came",
        /// It was asked for once more, or a copy of its job was skipped: nothing was sent for that.
        Duplicate = "duplicate",
        /// It was published again, because no queue knew it any more.
        Republished = "republished",
        /// An operator had a dead letter of it tried again.
        Replayed = "replayed",
        /// It was given up and kept as a dead letter.
        DeadLettered = "dead_lettered",
        /// The timeline had become too long: entries in its middle are left out.
        LeftOut = "left_out",
        /// A caller took it back.
        Cancelled = "cancelled",
        /// Its customer was erased: what was told before is gone.
        Erased = "erased",
        /// It has ended.
        Settled = "settled",
        /// Expo told whether a push that it had accepted was delivered, or did not tell in time.
        Receipt = "receipt",
        /// The customer opened it.
        Opened = "opened",
    }
}

/// One decision. Holds no content and no whole token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What kind it is.
    pub step: Step,
    /// What was decided, and why.
    pub text: String,
}

impl TimelineEntry {
    /// An entry.
    #[must_use]
    pub fn new(at: DateTime<Utc>, step: Step, text: impl Into<String>) -> Self {
        Self {
            at,
            step,
            text: text.into(),
        }
    }
}
