//! The metrics of this program: each name stands here and nowhere else; label values are bounded.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chrono::{DateTime, Utc};
use metrics::{counter, gauge, histogram};
use push_core::booking::Ignored;
use push_core::job::GiveUpReason;
use push_core::replay::LetterState;
use push_core::status::{Reason, Status};
use push_queue::PublishError;
use push_runtime::measures;
use push_store::{Books, LetterCounts};

use crate::limits::policy::Limit;

const ACCEPTED: &str = "push_notifications_accepted_total";
const PENDING: &str = "push_notifications_pending";
const OVERDUE: &str = "push_notifications_overdue";
const OUT_OF_BALANCE: &str = "push_books_out_of_balance";
/// So that whoever watches sees that the gauges above stand still.
const BOOKS_READ: &str = "push_books_read_timestamp_seconds";
const REQUEST_DURATION: &str = "push_http_request_duration_seconds";
const PUBLISHED: &str = "push_jobs_published_total";
/// The same name as the workers'.
const SETTLED: &str = "push_notifications_settled_total";
/// The same name as the workers'.
const ENDED: &str = "push_notifications_ended_total";
const REOPENED: &str = "push_notifications_reopened_total";
const DEAD_LETTERS: &str = "push_dead_letters";
const OPERATIONS_RUNNING: &str = "push_operations_running";
const REPLAYED: &str = "push_idempotent_replays_total";
const EVENTS_IGNORED: &str = "push_events_ignored_total";
const RATE_LIMITED: &str = "push_rate_limited_total";
const RELOAD_FAILED: &str = "push_settings_reload_failed";
const CERTIFICATE_EXPIRES: &str = "push_http_certificate_expires_timestamp_seconds";
const TRANSACTIONS: &str = "push_accept_transactions_total";

const BUILD_INFO: &str = "push_build_info";
const QUEUE_MESSAGES: &str = "push_queue_messages";
const QUEUE_CONSUMERS: &str = "push_queue_consumers";
const QUEUE_AGE: &str = "push_oldest_job_age_seconds";

/// Says what each metric means, and makes those visible that count up from zero.
pub fn describe() {
    metrics::describe_counter!(ACCEPTED, "Notifications committed to the database");
    metrics::describe_gauge!(
        PENDING,
        "Notifications that are accepted and not settled yet"
    );
    metrics::describe_gauge!(
        OUT_OF_BALANCE,
        "accepted - (sent + failed + suppressed + pending that will be looked for): anything but 0 is a leak"
    );
    metrics::describe_gauge!(
        OVERDUE,
        "Pending notifications without news for five times RECONCILE_AFTER: no worker runs, broker or provider are away for \
         long, or the backlog is that long"
    );
    metrics::describe_gauge!(
        BOOKS_READ,
        "When the books were last read, in seconds since 1970"
    );
    metrics::describe_histogram!(
        REQUEST_DURATION,
        metrics::Unit::Seconds,
        "From a request's head to its answer's head"
    );
    metrics::describe_counter!(PUBLISHED, "First jobs by what the broker said");
    metrics::describe_counter!(
        REOPENED,
        "Notifications that had ended with this status and are pending again, because a dead letter was replayed"
    );
    metrics::describe_gauge!(
        DEAD_LETTERS,
        "Dead letters by what was done with them and why they were given up"
    );
    metrics::describe_gauge!(
        OPERATIONS_RUNNING,
        "Operations on many dead letters that are not over yet"
    );
    metrics::describe_gauge!(
        RELOAD_FAILED,
        "1 where the file of a setting has changed and cannot be used, so that what it said before holds on"
    );
    metrics::describe_gauge!(
        CERTIFICATE_EXPIRES,
        "Until when the certificate on HTTP_ADDR may be used, in seconds since 1970"
    );
    metrics::describe_gauge!(
        QUEUE_MESSAGES,
        "Messages that wait in a queue, without those that workers have in hand; every push-api tells the same"
    );
    metrics::describe_gauge!(QUEUE_CONSUMERS, "Consumers of a queue, in all workers");
    metrics::describe_gauge!(
        QUEUE_AGE,
        "How long the oldest in a queue has been waiting that workers could take now, by the database"
    );
    measures::describe();
    metrics::describe_counter!(
        ENDED,
        "Notifications that have ended here, by status and reason"
    );
    metrics::describe_counter!(TRANSACTIONS, "Transactions that committed notifications");
    metrics::describe_counter!(
        REPLAYED,
        "Requests that came again with their Idempotency-Key and got their first answer"
    );
    metrics::describe_counter!(
        EVENTS_IGNORED,
        "Events of which customers are told nothing, by the reason"
    );
    metrics::describe_counter!(
        RATE_LIMITED,
        "What was refused because a budget was used up: notifications by their customer's, requests by their key's or \
         their address's"
    );
    for limit in Limit::ALL {
        rate_limited(limit, 0);
    }
    metrics::describe_gauge!(BUILD_INFO, "1, with the version of the program");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    counter!(ACCEPTED).increment(0);
    counter!(REPLAYED).increment(0);
    counter!(PUBLISHED, "outcome" => "confirmed").increment(0);
}

/// Notifications were committed in one transaction.
pub fn accepted(notifications: usize) {
    counter!(ACCEPTED).increment(notifications as u64);
    counter!(TRANSACTIONS).increment(1);
}

/// The file of a setting was read anew, or could not be.
pub fn reload_failed(setting: &'static str, failed: bool) {
    gauge!(RELOAD_FAILED, "setting" => setting).set(f64::from(u8::from(failed)));
}

/// The certificate on `HTTP_ADDR` may be used until then.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are f64, exact far beyond these seconds"
)]
pub fn certificate_expires(ends: DateTime<Utc>) {
    gauge!(CERTIFICATE_EXPIRES).set(ends.timestamp() as f64);
}

/// Requests got an answer that was given before.
pub fn replayed(requests: usize) {
    counter!(REPLAYED).increment(requests as u64);
}

/// An event was no news, or has no text.
pub fn ignored(why: Ignored) {
    counter!(EVENTS_IGNORED, "reason" => why.as_str()).increment(1);
}

/// So much was refused because a budget was used up.
pub fn rate_limited(limit: Limit, refused: usize) {
    counter!(RATE_LIMITED, "limit" => limit.as_str()).increment(refused as u64);
}

/// A job was published, or was not.
pub fn published(outcome: Result<(), &PublishError>) {
    counter!(PUBLISHED, "outcome" => publish_outcome(outcome)).increment(1);
}

/// What the broker said, as a label.
pub fn publish_outcome(outcome: Result<(), &PublishError>) -> &'static str {
    match outcome {
        Ok(()) => "confirmed",
        Err(PublishError::NotConnected) => "not_connected",
        Err(PublishError::Blocked(_)) => "blocked",
        Err(PublishError::Refused) => "refused",
        Err(PublishError::Unroutable) => "unroutable",
        Err(PublishError::Unknown) => "unknown",
    }
}

/// A notification has ended here: it was cancelled, or came too late.
pub fn settled(status: Status, reason: Option<Reason>) {
    counter!(SETTLED, "status" => status.as_str()).increment(1);
    let reason = reason.map_or("none", Reason::as_str);
    counter!(ENDED, "status" => status.as_str(), "reason" => reason).increment(1);
}

/// A part of a notification's way through this program.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// From the request until its transaction is committed.
    Commit,
    /// From there until the broker has the job.
    Publish,
}

/// A notification, or a request, has come so far.
pub fn stage(stage: Stage, took: Duration) {
    let stage = match stage {
        Stage::Commit => "commit",
        Stage::Publish => "publish",
    };
    measures::stage(stage, took);
}

/// A notification that had ended is pending again. It will be counted as settled once more.
pub fn reopened(was: Status) {
    counter!(REOPENED, "status" => was.as_str()).increment(1);
}

/// A request was answered. `route` is a template of the router, never a path.
pub fn answered(method: &Method, route: &str, status: StatusCode, duration: Duration) {
    let labels = [
        ("method", known(method).to_owned()),
        ("route", route.to_owned()),
        ("status", status.as_str().to_owned()),
    ];
    histogram!(REQUEST_DURATION, &labels).record(duration);
}

/// The books as they stood then.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are f64, exact far beyond these counts"
)]
pub fn books(books: &Books, at: DateTime<Utc>) {
    gauge!(BOOKS_READ).set(at.timestamp() as f64);
    gauge!(PENDING).set(books.pending as f64);
    gauge!(OVERDUE).set(books.overdue as f64);
    gauge!(OUT_OF_BALANCE).set(books.out_of_balance() as f64);
}

/// The dead letters as they stand. What is counted no more is zero.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are f64, exact far beyond these counts"
)]
pub fn dead_letters(counts: &LetterCounts) {
    for state in LetterState::ALL {
        for reason in GiveUpReason::ALL {
            let count = counts
                .by_state
                .get(&(*state, *reason))
                .copied()
                .unwrap_or(0);
            gauge!(DEAD_LETTERS, "state" => state.as_str(), "reason" => reason.as_str())
                .set(count as f64);
        }
    }
    gauge!(OPERATIONS_RUNNING).set(counts.operations_running as f64);
}

/// What is in a queue. What the broker did not tell is not a number; of an empty queue the age is 0.
pub fn queue(name: &str, depth: Option<u32>, consumers: Option<u32>, age_seconds: Option<u64>) {
    let told = |value: Option<u32>| value.map_or(f64::NAN, f64::from);
    let set = |metric: &'static str, value| gauge!(metric, "queue" => name.to_owned()).set(value);
    set(QUEUE_MESSAGES, told(depth));
    set(QUEUE_CONSUMERS, told(consumers));
    let age = age_seconds.unwrap_or(0);
    set(QUEUE_AGE, f64::from(u32::try_from(age).unwrap_or(u32::MAX)));
}

/// A caller may invent methods; their number as labels is bounded.
pub fn known(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(method) {
        method.as_str()
    } else {
        "other"
    }
}
