//! `dead_letters`: what was given up and could be replayed.

pub(crate) mod count;
pub(crate) mod discard;
pub(crate) mod filter;
pub(crate) mod letter;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod view;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
pub use count::LetterCounts;
pub use filter::{Filter, LetterPlace};
use push_core::id::{CustomerId, NotificationId};
use push_core::job::{GiveUpReason, Job, TrailEntry};
use push_core::outcome::Cause;
use push_core::provider::{Platform, Provider};
use push_core::replay::LetterState;
use push_core::settle::DeliveryOutcome;
use push_core::status::{Ending, Status};
use push_core::token::MaskedToken;

use crate::State;

/// A row of `dead_letters`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(pub u64);

/// How dead letters are replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Who says so: the name of an API key, for the audit.
    pub by: String,
    /// What has expired, or would sooner, may be sent for so long from now on.
    pub extend_ttl: Option<Duration>,
    /// What the broker is given to bring the job before the reconciler publishes it again.
    pub due_after: Duration,
}

/// How dead letters are discarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discard {
    /// Who says so.
    pub by: String,
    /// Why, in at most [`Discard::REASON_CHARS_MAX`] characters.
    pub reason: String,
}

impl Discard {
    /// The column's width.
    pub const REASON_CHARS_MAX: usize = 255;
}

/// A dead letter was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// This job is to be published.
    Job(ReplayedJob),
    /// Its raw bytes are due to be published: a worker will.
    Bytes,
}

/// A notification that is pending again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedJob {
    /// To be published.
    pub job: Box<Job>,
    /// How the notification had ended before.
    pub was: Status,
}

/// Why nothing was done with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// There is none of that id.
    Unknown,
    /// Somebody has replayed it.
    AlreadyReplayed,
    /// Somebody has discarded it.
    AlreadyDiscarded,
    /// Its notification is pending: another replay of it is under way.
    Pending,
    /// The database has no such notification.
    UnknownNotification,
    /// Its content was erased, or purged for its age.
    ContentGone,
    /// Its notification was cancelled since.
    Cancelled,
    /// A newer notification with the same collapse key has taken its place (P3).
    Superseded,
    /// Its time is over, and was not extended.
    Expired,
    /// The bytes were too many to be kept as a whole.
    IncompleteBytes,
    /// What is kept of the job cannot be read, or names nobody to send to.
    Unreadable,
}

/// A dead letter, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterView {
    /// Its id.
    pub id: DeadLetterId,
    /// The notification; `None`: bytes that were no job, and name none.
    pub notification: Option<NotificationId>,
    /// Whom it was for.
    pub customer: Option<CustomerId>,
    /// Who was asked last; `None`: the job as a whole, or no job.
    pub provider: Option<Provider>,
    /// What the device runs.
    pub platform: Option<Platform>,
    /// Its token.
    pub token: Option<MaskedToken>,
    /// Why it was given up.
    pub reason: GiveUpReason,
    /// The last failure.
    pub error: Cause,
    /// Tries spent.
    pub attempts: u32,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
    /// What was done with it.
    pub state: LetterState,
    /// When it was replayed.
    pub replayed_at: Option<DateTime<Utc>>,
    /// By whom.
    pub replayed_by: Option<String>,
    /// When it was discarded.
    pub discarded_at: Option<DateTime<Utc>>,
    /// By whom.
    pub discarded_by: Option<String>,
    /// Why.
    pub discard_reason: Option<String>,
}

impl LetterView {
    /// Its place in the list.
    #[must_use]
    pub const fn place(&self) -> LetterPlace {
        LetterPlace {
            at: self.created_at,
            id: self.id,
        }
    }
}

/// A dead letter with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterDetails {
    /// As the list shows it.
    pub letter: LetterView,
    /// The failures that led to it, oldest first.
    pub trail: Vec<TrailEntry>,
    /// What was no job.
    pub bytes: Option<KeptBytes>,
    /// Where its notification stands now; `None` when there is none.
    pub notification: Option<State>,
    /// What became of its device, as far as is known now.
    pub target: Option<TargetNow>,
    /// The dead letter that it became when it was given up again.
    pub newer: Option<DeadLetterId>,
}

/// What is kept of bytes that were no job.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptBytes {
    /// The first of them.
    pub base64: String,
    /// How many there were.
    pub length: u32,
}

impl KeptBytes {
    /// Whether all of them are kept.
    #[must_use]
    pub fn complete(&self) -> bool {
        let kept = STANDARD.decode(&self.base64).map_or(0, |kept| kept.len());
        u32::try_from(kept) == Ok(self.length)
    }
}

/// Shows no bytes: they may hold anything.
impl std::fmt::Debug for KeptBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptBytes({} bytes)", self.length)
    }
}

/// The last word on the device that a dead letter is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetNow {
    /// What came of it.
    pub outcome: DeliveryOutcome,
    /// The provider's id of the message, when it accepted.
    pub provider_id: Option<String>,
    /// Tries spent.
    pub attempts: u32,
    /// Whether some try ended without a clear answer.
    pub maybe_delivered: bool,
    /// Why it was not accepted.
    pub error: Option<Cause>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What arrived on `push.dead`.
#[derive(Clone, PartialEq, Eq)]
pub enum DeadLetterRecord {
    /// A job. One row for each target that it gave up; where targets are still left (the broker gave the job
    /// up), one more for the job as a whole, with `reason`.
    Job {
        /// The job.
        job: Box<Job>,
        /// Why the job as a whole is here. Not used when it [is given up](Job::is_given_up) target by target.
        reason: GiveUpReason,
    },
    /// Bytes that are no job.
    Poison {
        /// The bytes; the first [`DeadLetterRecord::RAW_BYTES_MAX`] are kept.
        bytes: Vec<u8>,
        /// What is wrong with them, without repeating them.
        why: String,
    },
}

/// What became of a dead letter in [`Store::record_dead_letters`](crate::Store::record_dead_letters).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, and its notification has ended.
    AndEnded(Ending),
    /// It is kept; it belongs to no notification of ours.
    Only,
    /// It is a copy of a job whose round has been recorded, or whose notification has ended: nothing was changed.
    Not,
}

impl DeadLetterRecord {
    /// Enough to see what it was: twice the largest job of ours.
    pub const RAW_BYTES_MAX: usize = 16 * 1024;
}

/// Shows no bytes: they may hold anything.
impl std::fmt::Debug for DeadLetterRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job { job, reason } => {
                write!(
                    f,
                    "Job({}, round {}, {reason})",
                    job.notification.id, job.round
                )
            }
            Self::Poison { bytes, why } => write!(f, "Poison({} bytes: {why})", bytes.len()),
        }
    }
}
