//! `dead_letters`: what was given up and could be replayed.

use chrono::{DateTime, Utc};
use push_core::job::{GiveUpReason, Job};

use crate::error::StoreError;
use crate::{Recording, Store};

/// What arrived on `push.dead`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl DeadLetterRecord {
    /// Enough to see what it was: twice the largest job of ours.
    pub const RAW_BYTES_MAX: usize = 16 * 1024;
}

impl Store {
    /// Commits dead letters, all or none, and in the same transaction ends the notifications that they are
    /// about. [`Recording::Stale`]: the job is a copy of one whose round has been recorded, or whose
    /// notification has ended; nothing was changed. To record the same again is harmless.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was recorded, unless the connection broke during the commit.
    pub async fn record_dead_letters(
        &self,
        letters: &[DeadLetterRecord],
        now: DateTime<Utc>,
    ) -> Result<Vec<Recording>, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
