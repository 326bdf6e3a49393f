//! The rows of a dead letter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::job::{About, GiveUpReason, GivenUp, Job, JobTarget};
use push_core::outcome::Cause;
use push_seal::Keyring;
use serde::Serialize;

use super::DeadLetterRecord;
use crate::decode::millis;
use crate::error::StoreError;
use crate::{bulk, hash, sealing};

/// Recording the same again changes nothing.
pub(super) const INSERT: &str = "\
    INSERT INTO dead_letters (dedupe_key, notification_id, customer_id, registration_id, provider, platform, \
        token_masked, round, reason, error_code, error_text, attempts, trail, job, raw, raw_bytes, created_at) \
    SELECT UNHEX(letter.dedupe_key), UNHEX(letter.notification), letter.customer, letter.registration, \
        letter.provider, letter.platform, letter.token_masked, letter.round, letter.reason, letter.error_code, \
        letter.error_text, letter.attempts, letter.trail, letter.job, letter.raw, letter.raw_bytes, ? \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            dedupe_key CHAR(64) PATH '$.dedupe_key', \
            notification CHAR(32) PATH '$.notification', \
            customer BIGINT PATH '$.customer', \
            registration BIGINT UNSIGNED PATH '$.registration', \
            provider MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.provider', \
            platform MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.platform', \
            token_masked MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.token_masked', \
            round BIGINT PATH '$.round', \
            reason MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.reason', \
            error_code MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_code', \
            error_text MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_text', \
            attempts BIGINT PATH '$.attempts', \
            trail MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.trail', \
            job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.job', \
            raw MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.raw', \
            raw_bytes BIGINT PATH '$.raw_bytes' \
        )) AS letter \
    ON DUPLICATE KEY UPDATE id = dead_letters.id";

/// What stands in `dedupe_key` once a letter is closed. Poison that comes again then is news, and a letter of its own: who
/// did what with the first one stays told. (A job that comes again has another round.)
macro_rules! closed_key {
    () => {
        "IF(letter.raw IS NULL, letter.dedupe_key, UNHEX(SHA2(CONCAT('closed ', letter.id), 256)))"
    };
}
pub(super) use closed_key;

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("INSERT", INSERT)];

/// A row of `dead_letters`.
pub(crate) struct Letter<'a> {
    /// Equal for the same thing recorded again, and for nothing else.
    dedupe_key: Vec<u8>,
    job: Option<&'a Job>,
    target: Option<&'a GivenUp>,
    reason: GiveUpReason,
    cause: Cause,
    attempts: u32,
    raw: Option<&'a [u8]>,
}

impl DeadLetterRecord {
    /// Whom and what it is about.
    pub(super) fn about(&self) -> About {
        match self {
            Self::Poison { bytes, .. } => About::read(bytes),
            Self::Job { job, .. } => About {
                notification: Some(job.notification.id),
                customer: Some(job.notification.customer),
            },
        }
    }
}

/// The rows of one record.
pub(crate) fn letters(record: &DeadLetterRecord) -> Vec<Letter<'_>> {
    match record {
        DeadLetterRecord::Poison { bytes, why } => vec![poison(bytes, why)],
        DeadLetterRecord::Job { job, reason } => {
            let given_up = &job.progress.given_up;
            let mut letters: Vec<Letter> = given_up.iter().map(|target| one(job, target)).collect();
            if !job.is_given_up() || given_up.is_empty() {
                letters.push(whole(job, *reason));
            }
            letters
        }
    }
}

fn one<'a>(job: &'a Job, target: &'a GivenUp) -> Letter<'a> {
    Letter {
        dedupe_key: hash::of_parts(&[
            b"target",
            job.notification.id.as_uuid().as_bytes(),
            &target.registration.0.to_le_bytes(),
            target.provider.as_str().as_bytes(),
            &job.round.to_le_bytes(),
        ]),
        job: Some(job),
        target: Some(target),
        reason: target.reason,
        cause: target.cause.clone(),
        attempts: target.tries,
        raw: None,
    }
}

fn whole(job: &Job, reason: GiveUpReason) -> Letter<'_> {
    Letter {
        dedupe_key: hash::of_parts(&[
            b"job",
            job.notification.id.as_uuid().as_bytes(),
            &job.round.to_le_bytes(),
        ]),
        job: Some(job),
        target: None,
        reason,
        cause: Cause::new(reason.as_str(), explain(reason)),
        attempts: tries(job),
        raw: None,
    }
}

fn poison<'a>(bytes: &'a [u8], why: &str) -> Letter<'a> {
    Letter {
        dedupe_key: hash::of_parts(&[b"poison", bytes]),
        job: None,
        target: None,
        reason: GiveUpReason::Poison,
        cause: Cause::new(GiveUpReason::Poison.as_str(), why),
        attempts: 0,
        raw: Some(bytes),
    }
}

/// Most tries spent on any target, given up or not.
pub(crate) fn tries(job: &Job) -> u32 {
    let left = job
        .targets
        .iter()
        .flatten()
        .map(|target: &JobTarget| target.tries);
    let given_up = job.progress.given_up.iter().map(|target| target.tries);
    left.chain(given_up).max().unwrap_or(0)
}

const fn explain(reason: GiveUpReason) -> &'static str {
    match reason {
        GiveUpReason::RetriesExhausted => "every rung of the ladder was climbed",
        GiveUpReason::Expired => "it would have expired before the next attempt",
        GiveUpReason::OperatorMustAct => "credentials, project or sender are wrong",
        GiveUpReason::DeliveryLimit => {
            "the broker delivered it too often without an answer; it may crash workers"
        }
        GiveUpReason::Poison => "it could not be read",
        GiveUpReason::Unprocessable => {
            "a worker could not process it: the notification is unknown, the database refused it, or it interrupts workers"
        }
    }
}

/// An element of [`INSERT`]'s array.
#[derive(Serialize)]
pub(super) struct LetterRow<'a> {
    dedupe_key: String,
    reason: &'static str,
    error_code: &'a str,
    error_text: &'a str,
    attempts: u32,
    #[serde(flatten)]
    job: Option<JobColumns>,
    #[serde(flatten)]
    target: Option<TargetColumns<'a>>,
    #[serde(flatten)]
    raw: Option<RawColumns>,
}

#[derive(Serialize)]
struct JobColumns {
    notification: String,
    customer: CustomerId,
    round: u32,
    trail: String,
    job: String,
}

#[derive(Serialize)]
struct TargetColumns<'a> {
    registration: u64,
    provider: &'static str,
    platform: Option<&'static str>,
    token_masked: Option<&'a str>,
}

#[derive(Serialize)]
struct RawColumns {
    notification: Option<String>,
    customer: Option<CustomerId>,
    raw: String,
    raw_bytes: u32,
}

impl<'a> LetterRow<'a> {
    pub(super) fn of(
        keys: &Keyring,
        letter: &'a Letter<'a>,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let job = letter
            .job
            .map(|job| JobColumns::of(keys, job, letter.target));
        let raw = letter.raw.map(|raw| RawColumns::of(keys, raw, now));
        Ok(Self {
            dedupe_key: bulk::hex(&letter.dedupe_key),
            reason: letter.reason.as_str(),
            error_code: &letter.cause.code,
            error_text: &letter.cause.text,
            attempts: letter.attempts,
            job: job.transpose()?,
            target: letter.target.map(TargetColumns::of),
            raw: raw.transpose()?,
        })
    }
}

impl JobColumns {
    /// Of a job that was given up for many, each letter keeps its own target only.
    fn of(keys: &Keyring, job: &Job, target: Option<&GivenUp>) -> Result<Self, StoreError> {
        let mut job = job.clone();
        if let Some(target) = target {
            job.progress.given_up = vec![target.clone()];
        }
        let place = sealing::letter_job(
            Some(job.notification.id.as_uuid()),
            target.map(|target| target.registration.0),
            target.map(|target| target.provider.as_str()),
        );
        Ok(Self {
            notification: bulk::id(job.notification.id),
            customer: job.notification.customer,
            round: job.round,
            // Plain structures, which always serialize.
            trail: serde_json::to_string(&job.progress.trail).unwrap_or_default(),
            job: sealing::seal_job(keys, &place, &job)?,
        })
    }
}

impl<'a> TargetColumns<'a> {
    fn of(target: &'a GivenUp) -> Self {
        Self {
            registration: target.registration.0,
            provider: target.provider.as_str(),
            platform: target.platform.map(|platform| platform.as_str()),
            token_masked: target.token.as_ref().map(|token| token.as_str()),
        }
    }
}

impl RawColumns {
    fn of(keys: &Keyring, raw: &[u8], now: DateTime<Utc>) -> Result<Self, StoreError> {
        let kept = raw.get(..DeadLetterRecord::RAW_BYTES_MAX).unwrap_or(raw);
        let place = sealing::letter_raw(millis(now));
        let about = About::read(raw);
        Ok(Self {
            notification: about.notification.map(bulk::id),
            customer: about.customer,
            raw: sealing::seal(keys, &place, STANDARD.encode(kept))?,
            raw_bytes: u32::try_from(raw.len()).unwrap_or(u32::MAX),
        })
    }
}
