//! `dead_letters`: what was given up and could be replayed.

pub(crate) mod letter;
pub(crate) mod record;

use push_core::job::{GiveUpReason, Job};
use push_core::status::Status;

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
    AndEnded(Status),
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
