//! What the timeline says of a round. Words only: decided is it elsewhere.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Fate, HoldReason, Next, Report, Try};
use crate::job::JobTarget;
use crate::ladder::RetryDelay;
use crate::lane::Barrier;
use crate::outcome::{Cause, Outcome, Retry, Sent};
use crate::preferences::OptedOut;
use crate::provider::Provider;
use crate::timeline::{Step, TimelineEntry};
use crate::wanted::Suppression;

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
        Fate::Held(hold) => hold.tried.as_slice(),
        Fate::Expired | Fate::Gone => &[],
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

/// A provider's lane is broken, and another provider was asked instead.
pub(super) fn passed_over(
    provider: Provider,
    report: &Report,
    now: DateTime<Utc>,
) -> Option<TimelineEntry> {
    let tries = match &report.fate {
        Fate::Tried(tries) => tries,
        Fate::Held(hold) => &hold.tried,
        Fate::Expired | Fate::Gone => return None,
    };
    let first = tries.first()?;
    let instead = first.token.provider();
    let text = format!(
        "{provider} fails for everybody at the moment, and nothing was sent there: {instead} instead"
    );
    Some(TimelineEntry::new(first.at.min(now), Step::Failover, text))
}

/// Why a target is put back, and for how long.
pub(super) fn put_back(reason: HoldReason, rung: RetryDelay, now: DateTime<Utc>) -> TimelineEntry {
    let why = match reason {
        HoldReason::NotYet => "its provider asked for a pause".to_owned(),
        HoldReason::ClaimOver => {
            "this worker was no longer sure that no other one sends it".to_owned()
        }
        HoldReason::CustomerChanged => {
            "the customer's devices or preferences changed meanwhile, and are to be looked at again"
                .to_owned()
        }
        HoldReason::TokensDead => "its tokens were found dead meanwhile".to_owned(),
        HoldReason::Lane(provider, Barrier::Paused) => {
            format!("{provider} is paused by an operator")
        }
        HoldReason::Lane(provider, Barrier::Broken) => {
            format!("{provider} fails for everybody at the moment")
        }
        HoldReason::Lane(provider, Barrier::Throttled) => {
            format!("{provider} asked for fewer pushes")
        }
        HoldReason::Lane(provider, Barrier::Full) => {
            format!("{provider} is slow, and has all that it can take in hand")
        }
    };
    let text = format!("waits without an attempt, because {why}; again in {rung}");
    TimelineEntry::new(now, Step::Postponed, text)
}

/// Why it is ended on purpose.
pub(super) fn suppressed(why: Suppression, now: DateTime<Utc>) -> TimelineEntry {
    let (step, text) = match why {
        Suppression::Expired => {
            let text = "its time was over before it could be sent".to_owned();
            (Step::Expired, text)
        }
        Suppression::OptedOut(OptedOut::Everything) => {
            let text = "the customer has switched all pushes off".to_owned();
            (Step::Preference, text)
        }
        Suppression::OptedOut(OptedOut::Type) => {
            let text = "the customer has switched pushes of this type off".to_owned();
            (Step::Preference, text)
        }
        Suppression::QuietHours { until } => {
            let until = until.to_rfc3339_opts(SecondsFormat::Millis, true);
            let text = format!("it would expire before the customer's quiet hours end at {until}");
            (Step::QuietHours, text)
        }
        Suppression::Superseded { by } => (
            Step::Superseded,
            format!("the newer notification {by} with the same collapse key takes its place"),
        ),
        Suppression::Erased => {
            let text = "the customer was erased".to_owned();
            (Step::Erased, text)
        }
    };
    TimelineEntry::new(now, step, text)
}

/// Who took it back.
pub(super) fn cancelled(by: &str, accepted: bool, now: DateTime<Utc>) -> TimelineEntry {
    let too_late = if accepted {
        "; some device had accepted it before, the others do not get it any more"
    } else {
        ""
    };
    let text = format!("cancelled by {by}{too_late}");
    TimelineEntry::new(now, Step::Cancelled, text)
}

/// Why it waits in the database.
pub(super) fn put_off(until: DateTime<Utc>, now: DateTime<Utc>) -> TimelineEntry {
    let until = until.to_rfc3339_opts(SecondsFormat::Millis, true);
    let text = format!("the customer's quiet hours: it waits for their end at {until}");
    TimelineEntry::new(now, Step::QuietHours, text)
}

/// Where it goes from here; nothing where all that waits was put back, which is told already.
pub(super) fn next(next: &Next, now: DateTime<Utc>) -> Option<TimelineEntry> {
    Some(match next {
        Next::Done(ending) => {
            let reason = ending
                .reason()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            TimelineEntry::new(now, Step::Settled, format!("{}{reason}", ending.status()))
        }
        Next::Wait(rung, job) => {
            let again = |target: &&JobTarget| target.put_back.is_none();
            let targets = job.targets.as_deref().unwrap_or_default();
            let targets = targets.iter().filter(again).count();
            if targets == 0 {
                return None;
            }
            let text = format!("{targets} target(s) again in {rung}");
            TimelineEntry::new(now, Step::Retry, text)
        }
        // Told where it was decided.
        Next::Later(..) => return None,
        Next::DeadLetter(job) => {
            let reasons = job
                .progress
                .given_up
                .iter()
                .map(|target| target.reason.as_str());
            let text = format!("given up: {}", reasons.collect::<Vec<_>>().join(", "));
            TimelineEntry::new(now, Step::DeadLettered, text)
        }
    })
}
