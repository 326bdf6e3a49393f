//! What follows where nobody is asked, on purpose: the job is ended, or put off.

use chrono::{DateTime, Utc};

use super::{Next, Settlement, failed_at, follow_up, nothing_is_queued, story};
use crate::job::{Job, JobTarget, Progress};
use crate::status::{Ending, ProviderResult, Reason};
use crate::timeline::TimelineEntry;
use crate::wanted::Suppression;

/// Ends a job. What a device accepted before counts; what was given up before, and an operator can mend, is kept, unless
/// its customer was erased.
#[must_use]
pub fn suppress(job: &Job, why: Suppression, now: DateTime<Utc>) -> Settlement {
    let mut progress = without_the_rest(job);
    let next = if progress.given_up.is_empty() || why == Suppression::Erased {
        Next::Done(ended(&mut progress, why.reason()))
    } else {
        Next::DeadLetter(follow_up(job, Some(Vec::new()), progress.clone()))
    };
    settlement(job, progress, story::suppressed(why, now), next, now)
}

/// Ends a job that nobody has in hand, because `by` takes it back. What a device accepted before counts. What was given up
/// before is not kept: an operator must not send it after all.
#[must_use]
pub fn cancel(job: &Job, by: &str, now: DateTime<Utc>) -> Settlement {
    let mut progress = without_the_rest(job);
    let ending = ended(&mut progress, Reason::Cancelled);
    let told = story::cancelled(by, ending == Ending::Sent, now);
    settlement(job, progress, told, Next::Done(ending), now)
}

/// What it came to so far, where nothing that still waits is tried any more.
fn without_the_rest(job: &Job) -> Progress {
    let mut progress = job.progress.clone();
    let tried = |target: &&JobTarget| !target.never_tried();
    for target in job.targets.iter().flatten().filter(tried) {
        failed_at(&mut progress.results, target.provider);
    }
    progress
}

/// How that ends: what a device accepted counts, whatever came after it.
fn ended(progress: &mut Progress, reason: Reason) -> Ending {
    nothing_is_queued(&mut progress.results);
    let results = [progress.results.fcm, progress.results.expo];
    if results.contains(&ProviderResult::Success) {
        Ending::Sent
    } else {
        Ending::Suppressed(reason)
    }
}

/// Lets a job wait in the database. That spends no attempt.
#[must_use]
pub fn put_off(job: &Job, until: DateTime<Utc>, now: DateTime<Utc>) -> Settlement {
    let mut progress = job.progress.clone();
    progress.put_off = true;
    let next = Next::Later(until, follow_up(job, job.targets.clone(), progress.clone()));
    settlement(job, progress, story::put_off(until, now), next, now)
}

fn settlement(
    job: &Job,
    progress: Progress,
    why: TimelineEntry,
    next: Next,
    now: DateTime<Utc>,
) -> Settlement {
    let mut timeline = Vec::new();
    if job.interrupted {
        timeline.push(story::interrupted(&[], now));
    }
    timeline.push(why);
    timeline.extend(story::next(&next, now));
    let tries = job.targets.iter().flatten().map(|target| target.tries);
    Settlement {
        notification: job.notification.id,
        round: job.round,
        attempts: tries.max().unwrap_or(0),
        results: progress.results,
        deliveries: Vec::new(),
        timeline,
        next,
    }
}
