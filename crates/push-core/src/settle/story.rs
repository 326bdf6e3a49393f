//! What the timeline says of a round. Words only: decided is it elsewhere.

use chrono::{DateTime, Utc};

use super::{Fate, Next, Report, Try};
use crate::outcome::{Cause, Outcome, Retry, Sent};
use crate::timeline::{Step, TimelineEntry};

/// A worker was interrupted before it could record this round.
pub(super) fn interrupted(reports: &[Report], now: DateTime<Utc>) -> TimelineEntry {
    let text = "a worker was interrupted while it had this in hand: maybe sent already";
    TimelineEntry::new(before_all_tries(reports, now), Step::Interrupted, text)
}

/// Which devices are tried, or that there is none.
pub(super) fn devices(reports: &[Report], now: DateTime<Utc>) -> TimelineEntry {
    let text = if reports.is_empty() {
        "no active device that a configured provider reaches".to_owned()
    } else {
        let routes = reports.iter().flat_map(|report| {
            report
                .planned
                .routes
                .iter()
                .map(|token| format!("{} {}", token.provider(), token.masked().as_str()))
        });
        format!("to be tried: {}", routes.collect::<Vec<_>>().join(", "))
    };
    TimelineEntry::new(before_all_tries(reports, now), Step::Devices, text)
}

/// What was known before any provider was asked.
fn before_all_tries(reports: &[Report], now: DateTime<Utc>) -> DateTime<Utc> {
    let tries = reports.iter().flat_map(|report| match &report.fate {
        Fate::Tried(tries) => tries.as_slice(),
        Fate::Held(_) | Fate::Expired | Fate::Gone => &[],
    });
    tries.map(|attempt| attempt.at).min().unwrap_or(now)
}

/// What a provider answered.
pub(super) fn attempt(attempt: &Try, cause: Option<&Cause>) -> TimelineEntry {
    let (provider, token) = (attempt.token.provider(), attempt.token.masked());
    let what = match &attempt.outcome {
        Outcome::Accepted(id) => format!("accepted as {}", id.as_str()),
        Outcome::TokenDead(_) => "token is dead and switched off".to_owned(),
        Outcome::Retry(Retry {
            sent: Sent::Maybe, ..
        }) => "no clear answer, maybe delivered".to_owned(),
        Outcome::Retry(_) => "not now".to_owned(),
        Outcome::OperatorMustAct {
            sent: Sent::Maybe, ..
        } => "maybe delivered, an operator must act".to_owned(),
        Outcome::OperatorMustAct { .. } => "refused, an operator must act".to_owned(),
        Outcome::Refused(_) => "message refused for good".to_owned(),
    };
    let why = cause
        .map(|cause| format!(": {} ({})", cause.code, cause.text))
        .unwrap_or_default();
    let text = format!("{provider} {}: {what}{why}", token.as_str());
    TimelineEntry::new(attempt.at, Step::Attempt, text)
}

/// Where it goes from here.
pub(super) fn next(next: &Next, now: DateTime<Utc>) -> TimelineEntry {
    match next {
        Next::Done(ending) => {
            let reason = ending
                .reason()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            TimelineEntry::new(now, Step::Settled, format!("{}{reason}", ending.status()))
        }
        Next::Wait(rung, job) => {
            let targets = job.targets.as_ref().map_or(0, Vec::len);
            let text = format!("{targets} target(s) again in {rung}");
            TimelineEntry::new(now, Step::Retry, text)
        }
        Next::DeadLetter(job) => {
            let reasons = job
                .progress
                .given_up
                .iter()
                .map(|target| target.reason.as_str());
            let text = format!("given up: {}", reasons.collect::<Vec<_>>().join(", "));
            TimelineEntry::new(now, Step::DeadLettered, text)
        }
    }
}
