//! The rows of a dead letter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use push_core::job::{GiveUpReason, GivenUp, Job, JobTarget};
use push_core::outcome::Cause;
use sqlx::{MySql, QueryBuilder};

use super::DeadLetterRecord;
use crate::decode::millis;
use crate::hash;

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
            "a worker could not process it: the notification is unknown, or the database refused it"
        }
    }
}

/// Recording the same again changes nothing. But poison that an admin had discarded, and that comes again, is news:
/// its row is opened again.
pub(crate) fn insert(letters: &[Letter], now: DateTime<Utc>) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(
        "INSERT INTO dead_letters (dedupe_key, notification_id, customer_id, registration_id, provider, platform, \
         token_masked, round, reason, error_code, error_text, attempts, trail, job, raw, raw_bytes, created_at) ",
    );
    query.push_values(letters, |mut row, letter| {
        let (job, target) = (letter.job, letter.target);
        let raw = letter
            .raw
            .map(|raw| raw.get(..DeadLetterRecord::RAW_BYTES_MAX).unwrap_or(raw));
        row.push_bind(letter.dedupe_key.clone())
            .push_bind(job.map(|job| job.notification.id.as_uuid()))
            .push_bind(job.map(|job| job.notification.customer.get()))
            .push_bind(target.map(|target| target.registration.0))
            .push_bind(target.map(|target| target.provider.as_str()))
            .push_bind(
                target
                    .and_then(|target| target.platform)
                    .map(|platform| platform.as_str()),
            )
            .push_bind(
                target
                    .and_then(|t| t.token.as_ref())
                    .map(|token| token.as_str().to_owned()),
            )
            .push_bind(job.map(|job| job.round))
            .push_bind(letter.reason.as_str())
            .push_bind(letter.cause.code.clone())
            .push_bind(letter.cause.text.clone())
            .push_bind(letter.attempts)
            .push_bind(job.and_then(|job| serde_json::to_string(&job.progress.trail).ok()))
            .push_bind(job.map(|job| String::from_utf8_lossy(&job.encode()).into_owned()))
            .push_bind(raw.map(|raw| STANDARD.encode(raw)))
            .push_bind(
                letter
                    .raw
                    .map(|raw| u32::try_from(raw.len()).unwrap_or(u32::MAX)),
            )
            .push_bind(millis(now));
    });
    query.push(
        " ON DUPLICATE KEY UPDATE \
         created_at = IF(raw IS NULL OR discarded_at IS NULL, created_at, VALUES(created_at)), \
         discarded_by = IF(raw IS NULL, discarded_by, NULL), discard_reason = IF(raw IS NULL, discard_reason, NULL), \
         discarded_at = IF(raw IS NULL, discarded_at, NULL)",
    );
    query
}
