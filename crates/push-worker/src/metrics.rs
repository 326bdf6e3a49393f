//! The worker's metrics: each name stands here once, each label has a bounded set of values.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use push_core::job::GiveUpReason;
use push_core::lane::{Barrier, LaneReport, LaneState};
use push_core::outcome::{Outcome, Sent};
use push_core::provider::Provider;
use push_core::receipt::{Answer, Receipt};
use push_core::settle::{Next, Settlement};
use push_core::status::{Ending, Reason, Status};
use push_providers::Credential;
use push_runtime::measures;
use push_seal::{KeyId, Keyring};
use push_store::{DeadLetterRecord, EmptiedRows, Kept, Noted};

/// Notifications that have ended, by status. The same name as in the contract.
const SETTLED: &str = "push_notifications_settled_total";
/// The same, with the reason. The same name as the API's.
const ENDED: &str = "push_notifications_ended_total";
/// No reason of the history: sent, and failed by Expo's receipt.
const BY_RECEIPT: &str = "receipt";
/// Messages taken from the work queue, by what was decided about them.
const JOBS: &str = "push_jobs_total";
/// Requests to providers, by outcome.
const PROVIDER_REQUESTS: &str = "push_provider_requests_total";
/// How long providers took to answer.
const PROVIDER_SECONDS: &str = "push_provider_request_duration_seconds";
/// Rounds that wait for another attempt, by rung.
const RETRIES: &str = "push_retries_total";
/// Dead letters recorded, by reason.
const DEAD_LETTERS: &str = "push_dead_letters_total";
/// Attempts that ended without anybody knowing whether the push was delivered.
const MAYBE_DELIVERED: &str = "push_maybe_delivered_total";
/// Of the notifications that have ended: those whose status changed afterwards, by the status that they had. The rows of
/// a status are those that were settled with it, less these.
const TAKEN_BACK: &str = "push_notifications_taken_back_total";
/// Expo's receipts, by what was decided about them.
const RECEIPTS: &str = "push_receipts_total";
/// Requests for receipts, by outcome.
const RECEIPT_REQUESTS: &str = "push_receipt_requests_total";
/// Whether a provider's lane is in a state, by state: 1 or 0.
const LANE_STATE: &str = "push_lane_state";
/// Pushes under way in a provider's lane.
const LANE_IN_FLIGHT: &str = "push_lane_in_flight";
/// How many there may be at the moment.
const LANE_LIMIT: &str = "push_lane_limit";
/// Targets put back without an attempt, because their provider's lane did not take them.
const POSTPONED: &str = "push_postponed_total";
/// How often a provider's lane broke.
const BREAKER_OPENINGS: &str = "push_lane_breaker_openings_total";
/// Jobs published again because no queue knew them.
const REPUBLISHED: &str = "push_republished_total";
/// Jobs published because the time had come for which they waited in the database.
const PUBLISHED_IN_TIME: &str = "push_scheduled_published_total";

/// Notifications that had ended and are pending again, because a dead letter was replayed. The same name as the API's.
const REOPENED: &str = "push_notifications_reopened_total";
/// Dead letters that operations handled, or could not.
const OPERATION_LETTERS: &str = "push_operation_letters_total";
/// Rows deleted because their time was over, by table.
const PURGED: &str = "push_purged_rows_total";
/// Rows whose content was emptied because it was older than it is kept, by table.
const EMPTIED: &str = "push_emptied_rows_total";
/// By how many seconds the oldest content is too old that is not emptied yet, by table.
const RETENTION_BEHIND: &str = "push_retention_behind_seconds";
/// 1 for a key that values of the database may be sealed with, 0 for one that none is any more; `clear`: for those that are
/// not sealed.
const KEY_IN_USE: &str = "push_encryption_key_in_use";
/// Rows brought under the key that seals now.
const RESEALED: &str = "push_resealed_rows_total";
/// Customers that the cache was asked for, by what came of it.
const CACHE_REQUESTS: &str = "push_cache_requests_total";
/// Customers in the cache.
const CACHE_CUSTOMERS: &str = "push_cache_customers";

/// Messages about changes that were heard and dealt with; and gaps, after which the database was asked instead.
const CHANGES_HEARD: &str = "push_changes_heard_total";

/// Until when the credential in use serves, in seconds since 1970.
const CREDENTIAL_EXPIRES: &str = "push_credential_expires_timestamp_seconds";
/// How often a new one was asked for, by what came of it.
const CREDENTIAL_REFRESHES: &str = "push_credential_refreshes_total";

/// 1, with the version of the program. The same name as the API's.
const BUILD_INFO: &str = "push_build_info";

/// The program has started: an increase is seen from the first time on.
pub fn started() {
    measures::describe();
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for ended in [Status::Sent, Status::Failed, Status::Suppressed] {
        counter!(SETTLED, "status" => ended.as_str()).increment(0);
    }
    for reason in GiveUpReason::ALL {
        counter!(DEAD_LETTERS, "reason" => reason.as_str()).increment(0);
    }
    let endings = Reason::ALL
        .iter()
        .map(|reason| (reason.status(), reason.as_str()));
    let others = [(Status::Sent, "none"), (Status::Failed, BY_RECEIPT)];
    for (status, reason) in endings.chain(others) {
        counter!(ENDED, "status" => status.as_str(), "reason" => reason).increment(0);
    }
    for provider in Provider::ALL.iter().map(|provider| provider.as_str()) {
        for outcome in [
            "accepted",
            "token_dead",
            "retry",
            "operator_must_act",
            "refused",
        ] {
            counter!(PROVIDER_REQUESTS, "provider" => provider, "outcome" => outcome).increment(0);
        }
        counter!(MAYBE_DELIVERED, "provider" => provider).increment(0);
        counter!(BREAKER_OPENINGS, "provider" => provider).increment(0);
    }
    for metric in [REPUBLISHED, PUBLISHED_IN_TIME, RESEALED] {
        counter!(metric).increment(0);
    }
}

/// The customers of a batch, as the cache had them.
pub struct CacheAsked {
    /// There, and not changed since.
    pub hits: usize,
    /// Not there.
    pub misses: usize,
    /// Changed since they were read.
    pub stale: usize,
}

/// The cache was asked for the customers of a batch.
pub fn cache(asked: &CacheAsked, size: u64) {
    let count = |result: &'static str, customers: usize| {
        counter!(CACHE_REQUESTS, "result" => result).increment(customers as u64);
    };
    count("hit", asked.hits);
    count("miss", asked.misses);
    count("stale", asked.stale);
    gauge!(CACHE_CUSTOMERS).set(size as f64);
}

/// How a provider's credential stands; not a number: there is none.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are f64, exact far beyond these seconds"
)]
pub fn credential(provider: Provider, credential: &Credential) {
    let provider = provider.as_str();
    let expires_at = credential.expires_at.map(|at| at.timestamp() as f64);
    gauge!(CREDENTIAL_EXPIRES, "provider" => provider).set(expires_at.unwrap_or(f64::NAN));
    for (outcome, fetches) in [
        ("granted", credential.granted),
        ("unreachable", credential.unreachable),
        ("refused", credential.refused),
    ] {
        counter!(CREDENTIAL_REFRESHES, "provider" => provider, "outcome" => outcome)
            .absolute(fetches);
    }
}

/// Something was heard about changes, and dealt with.
pub fn heard(what: &'static str) {
    counter!(CHANGES_HEARD, "what" => what).increment(1);
}

/// A message was taken from the work queue.
pub fn job(decision: &'static str) {
    counter!(JOBS, "decision" => decision).increment(1);
}

/// A provider answered, or did not.
pub fn provider_answered(provider: Provider, outcome: &Outcome, took: Duration) {
    let label = outcome_label(outcome);
    counter!(PROVIDER_REQUESTS, "provider" => provider.as_str(), "outcome" => label).increment(1);
    histogram!(PROVIDER_SECONDS, "provider" => provider.as_str()).record(took.as_secs_f64());
    if outcome.sent() == Sent::Maybe {
        maybe_delivered(provider);
    }
}

/// An outcome as a label.
pub const fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted(_) => "accepted",
        Outcome::TokenDead(_) => "token_dead",
        Outcome::Retry(_) => "retry",
        Outcome::OperatorMustAct { .. } => "operator_must_act",
        Outcome::Refused(_) => "refused",
    }
}

/// Nobody will know whether an attempt got through.
pub fn maybe_delivered(provider: Provider) {
    counter!(MAYBE_DELIVERED, "provider" => provider.as_str()).increment(1);
}

/// How a lane stands.
pub fn lane(report: &LaneReport) {
    let provider = report.provider.as_str();
    for state in LaneState::ALL {
        let is = if *state == report.state { 1.0 } else { 0.0 };
        gauge!(LANE_STATE, "provider" => provider, "state" => state.as_str()).set(is);
    }
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    gauge!(LANE_IN_FLIGHT, "provider" => provider).set(count(report.in_flight));
    gauge!(LANE_LIMIT, "provider" => provider).set(count(report.limit));
}

/// A target was put back.
pub fn postponed(provider: Provider, barrier: Barrier) {
    counter!(POSTPONED, "provider" => provider.as_str(), "reason" => barrier.as_str()).increment(1);
}

/// A part of a notification's way through this program.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// From its acceptance until a worker took its first round.
    Queue,
    /// From there until it was known whether, and to which devices, it goes.
    Admit,
    /// From there until all targets of the round had their answers.
    Deliver,
    /// From there until that was committed.
    Settle,
}

/// A job has come so far.
pub fn stage(stage: Stage, took: Duration) {
    let stage = match stage {
        Stage::Queue => "queue",
        Stage::Admit => "admit",
        Stage::Deliver => "deliver",
        Stage::Settle => "settle",
    };
    measures::stage(stage, took);
}

/// A provider accepted a push that had been on its way for so long.
pub fn delivered(provider: Provider, on_its_way: Duration) {
    histogram!(measures::DELIVERY_DURATION, "provider" => provider.as_str()).record(on_its_way);
}

/// A lane broke.
pub fn breaker_opened(provider: Provider) {
    counter!(BREAKER_OPENINGS, "provider" => provider.as_str()).increment(1);
}

/// A round was recorded.
pub fn settled(settlement: &Settlement) {
    match &settlement.next {
        Next::Done(ending) => ended(*ending),
        Next::Wait(rung, _) => counter!(RETRIES, "rung" => rung.to_string()).increment(1),
        // Counted as settled when it ends, by whom ends it.
        Next::Later(..) | Next::DeadLetter(_) => {}
    }
}

/// What follows a round, in a word.
pub const fn next_label(next: &Next) -> &'static str {
    match next {
        Next::Done(ending) => ending.status().as_str(),
        Next::Wait(..) => "retry",
        Next::Later(..) => "later",
        Next::DeadLetter(_) => "dead_letter",
    }
}

/// A notification has ended.
pub fn ended(ending: Ending) {
    let status = ending.status().as_str();
    let reason = ending.reason().map_or("none", Reason::as_str);
    counter!(SETTLED, "status" => status).increment(1);
    counter!(ENDED, "status" => status, "reason" => reason).increment(1);
}

/// A dead letter was recorded; a copy of one that was recorded before does not count again.
pub fn dead_lettered(record: &DeadLetterRecord, kept: Kept) {
    match kept {
        Kept::Not => return,
        Kept::Only => {}
        Kept::AndEnded(ending) => ended(ending),
    }
    let count =
        |reason: GiveUpReason| counter!(DEAD_LETTERS, "reason" => reason.as_str()).increment(1);
    match record {
        DeadLetterRecord::Poison { .. } => count(GiveUpReason::Poison),
        DeadLetterRecord::Job { job, reason } => {
            job.progress
                .given_up
                .iter()
                .for_each(|target| count(target.reason));
            if !job.is_given_up() || job.progress.given_up.is_empty() {
                count(*reason);
            }
        }
    }
}

/// Expo was asked for receipts, and gave some or did not.
pub fn receipts_asked(refused: Option<&Outcome>) {
    let label = refused.map_or("answered", outcome_label);
    counter!(RECEIPT_REQUESTS, "outcome" => label).increment(1);
}

/// A receipt was asked for.
pub fn receipt(answer: &Answer, noted: Noted) {
    let label = match (noted, answer) {
        (Noted::Later(_), _) => "later",
        (Noted::GivenUp, _) => "given_up",
        (Noted::Stale, _) => "stale",
        (Noted::Recorded, Answer::Receipt(Receipt::Failed(outcome))) => outcome_label(outcome),
        (Noted::Recorded, Answer::Receipt(Receipt::Delivered)) => "delivered",
        (Noted::Recorded, Answer::Absent | Answer::NotNow(_)) => "late",
    };
    counter!(RECEIPTS, "result" => label).increment(1);
}

/// Notifications had been sent, and have failed.
pub fn failed_by_receipt(notifications: u64) {
    let failed = Status::Failed.as_str();
    counter!(SETTLED, "status" => failed).increment(notifications);
    counter!(ENDED, "status" => failed, "reason" => BY_RECEIPT).increment(notifications);
    counter!(TAKEN_BACK, "status" => Status::Sent.as_str()).increment(notifications);
}

/// Receipts are asked for again that no queue knew.
pub fn receipts_reminded(receipts: usize) {
    counter!(RECEIPTS, "result" => "reminded").increment(receipts as u64);
}

/// Jobs were published because their time had come.
pub fn published_in_time(jobs: usize) {
    counter!(PUBLISHED_IN_TIME).increment(jobs as u64);
}

/// Jobs were published again.
pub fn republished(jobs: usize) {
    counter!(REPUBLISHED).increment(jobs as u64);
}

/// A notification that had ended is pending again. It will be counted as settled once more.
pub fn reopened(was: Status) {
    counter!(REOPENED, "status" => was.as_str()).increment(1);
}

/// A step of an operation was committed.
pub fn operation(kind: &'static str, done: u64, failed: u64) {
    counter!(OPERATION_LETTERS, "kind" => kind, "result" => "done").increment(done);
    counter!(OPERATION_LETTERS, "kind" => kind, "result" => "failed").increment(failed);
}

/// Content was emptied because it was too old.
pub fn emptied(table: &'static str, rows: &EmptiedRows) {
    counter!(EMPTIED, "table" => table).increment(rows.rows);
    gauge!(RETENTION_BEHIND, "table" => table).set(rows.behind.as_secs_f64());
}

/// Another worker empties it, and tells how far behind it is.
pub fn emptied_elsewhere(table: &'static str) {
    gauge!(RETENTION_BEHIND, "table" => table).set(0.0);
}

/// Under which keys values of the database may be; `None`: clear ones.
pub fn keys_in_use(keys: &Keyring, used: &[Option<KeyId>]) {
    let ours = keys.ids().map(Some).chain([None]);
    for key in ours.chain(used.iter().copied()) {
        let name = key.map_or_else(|| "clear".to_owned(), |key| key.to_string());
        let in_use = if used.contains(&key) { 1.0 } else { 0.0 };
        gauge!(KEY_IN_USE, "key" => name).set(in_use);
    }
}

/// Rows were brought under the key that seals now.
pub fn resealed(rows: u64) {
    counter!(RESEALED).increment(rows);
}

/// Rows were deleted because their time was over.
pub fn purged(table: &'static str, rows: u64) {
    counter!(PURGED, "table" => table).increment(rows);
}
