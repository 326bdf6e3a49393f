//! Trying again what was given up, because an operator says so.
//!
//! The notification keeps its id and what it came to so far; only what its dead letters are about is tried, as if for the
//! first time, with the tokens that the devices have then.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::RegistrationId;
use crate::job::{GivenUp, Job, JobTarget, Progress, TrailEntry};
use crate::notification::Notification;
use crate::outcome::Sent;
use crate::provider::{PerProvider, Provider};
use crate::status::ProviderResult;

crate::provider::spelled! {
    /// What was done with a dead letter (`dead_letters.state`).
    LetterState {
        /// Nothing yet.
        Open = "open",
        /// It was tried again, whatever came of it.
        Replayed = "replayed",
        /// Somebody has put it aside.
        Discarded = "discarded",
    }
}

/// A notification that has ended, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The notification.
    pub notification: Notification,
    /// The last round that was recorded.
    pub round: u32,
    /// What it came to, over all devices.
    pub results: PerProvider<ProviderResult>,
}

/// A dead letter of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The job that was given up.
    pub job: Job,
    /// The device and the provider that it was given up for; `None`: the job as a whole.
    pub target: Option<(RegistrationId, Provider)>,
    /// Whether some try that is recorded may have reached that device all the same.
    pub sent: Sent,
}

impl Letter {
    /// Whether the device may have been reached before it was given up: also by a worker that recorded nothing.
    fn given_up_as(&self, registration: RegistrationId, provider: Provider) -> Sent {
        let same = |given_up: &&GivenUp| {
            (given_up.registration, given_up.provider) == (registration, provider)
        };
        let mut given_up = self.job.progress.given_up.iter();
        given_up
            .find(same)
            .map_or(Sent::SurelyNot, |given_up| given_up.sent)
    }
}

/// Until when a replay may be sent: at least for `extend` from now on. `None`: its time is over.
#[must_use]
pub fn deadline(
    expires_at: DateTime<Utc>,
    extend: Option<Duration>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let extended = extend
        .and_then(|extend| TimeDelta::from_std(extend).ok())
        .and_then(|extend| now.checked_add_signed(extend));
    let until = extended.map_or(expires_at, |extended| extended.max(expires_at));
    (until > now).then_some(until)
}

/// The job that tries again what `letters`, all of this notification, are about. `None` when they name no target.
#[must_use]
pub fn replay(ended: Ended, letters: &[Letter]) -> Option<Job> {
    let targets = targets(letters);
    if letters.is_empty() || targets.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    let mut progress = Progress {
        results: ended.results,
        refused: letters.iter().any(|letter| letter.job.progress.refused),
        replayed: true,
        ..Progress::default()
    };
    trail(letters)
        .into_iter()
        .for_each(|entry| progress.remember(entry));
    Some(Job {
        notification: ended.notification,
        round: ended.round.saturating_add(1),
        targets,
        progress,
        interrupted: false,
    })
}

/// Each target once; `None`, as in a job: every active device.
fn targets(letters: &[Letter]) -> Option<Vec<JobTarget>> {
    let mut all: Vec<JobTarget> = Vec::new();
    for letter in letters {
        let wanted = match letter.target {
            Some((registration, provider)) => {
                let sent = letter.sent.or(letter.given_up_as(registration, provider));
                vec![(registration, provider, sent)]
            }
            None => {
                let open = letter.job.targets.as_ref()?.iter();
                open.map(|target| (target.registration, target.provider, target.sent))
                    .collect()
            }
        };
        for (registration, provider, sent) in wanted {
            let same = |known: &&mut JobTarget| {
                (known.registration, known.provider) == (registration, provider)
            };
            match all.iter_mut().find(same) {
                Some(known) => known.sent = known.sent.or(sent),
                None => all.push(JobTarget {
                    registration,
                    provider,
                    tries: 0,
                    sent,
                    not_before: None,
                    put_back: None,
                    to_mend: None,
                }),
            }
        }
    }
    Some(all)
}

/// What led to the letters, oldest first, each failure once.
fn trail(letters: &[Letter]) -> Vec<TrailEntry> {
    let mut trail: Vec<TrailEntry> = Vec::new();
    for entry in letters.iter().flat_map(|letter| &letter.job.progress.trail) {
        if !trail.contains(entry) {
            trail.push(entry.clone());
        }
    }
    trail.sort_by_key(|entry| entry.at);
    trail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    const GOLDEN_V1: &str = include_str!("../golden/job_v1.json");

    fn given_up() -> Job {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN_V1).unwrap();
        Job::decode(golden[1].to_string().as_bytes()).unwrap()
    }

    fn ended(job: &Job) -> Ended {
        Ended {
            notification: job.notification.clone(),
            round: job.round,
            results: job.progress.results,
        }
    }

    fn letter(job: &Job, target: Option<(u64, Provider)>, sent: Sent) -> Letter {
        Letter {
            job: job.clone(),
            target: target.map(|(id, provider)| (RegistrationId(id), provider)),
            sent,
        }
    }

    #[test]
    fn only_what_the_letter_is_about_is_tried_and_as_if_for_the_first_time() {
        let job = given_up();
        let one = letter(&job, Some((9, Provider::Fcm)), Sent::SurelyNot);
        let again = replay(ended(&job), &[one]).unwrap();
        let target = JobTarget {
            registration: RegistrationId(9),
            provider: Provider::Fcm,
            tries: 0,
            sent: Sent::SurelyNot,
            not_before: None,
            put_back: None,
            to_mend: None,
        };
        assert_eq!(again.targets, Some(vec![target]));
        assert_eq!(again.round, job.round + 1, "news to every worker");
        assert_eq!(again.progress.results, job.progress.results);
        assert_eq!(again.progress.trail, job.progress.trail, "kept");
        assert!(again.progress.given_up.is_empty() && again.progress.replayed);
        assert_eq!(Job::decode(&again.encode()).unwrap(), again);
    }

    #[test]
    fn a_letter_of_the_whole_job_replays_what_was_open() {
        let job = given_up();
        let again = replay(ended(&job), &[letter(&job, None, Sent::SurelyNot)]).unwrap();
        let told: Vec<_> = again.targets.unwrap().into_iter().collect();
        let expected = job
            .targets
            .clone()
            .unwrap()
            .into_iter()
            .map(|target| JobTarget {
                tries: 0,
                not_before: None,
                put_back: None,
                ..target
            });
        assert_eq!(
            told,
            expected.collect::<Vec<_>>(),
            "maybe delivered stays so"
        );
        let mut first = job.clone();
        first.targets = None;
        let again = replay(ended(&job), &[letter(&first, None, Sent::SurelyNot)]).unwrap();
        assert_eq!(again.targets, None, "every device");
        first.targets = Some(vec![]);
        assert_eq!(
            replay(ended(&job), &[letter(&first, None, Sent::SurelyNot)]),
            None
        );
    }

    #[test]
    fn letters_of_one_notification_become_one_job() {
        let mut job = given_up();
        let mut later = job.clone();
        later.progress.trail.push(TrailEntry {
            at: job.notification.created_at,
            provider: Provider::Expo,
            registration: RegistrationId(8),
            cause: Cause::new("timeout", "no answer"),
        });
        job.progress.refused = false;
        let letters = [
            letter(&later, None, Sent::SurelyNot),
            letter(&job, Some((7, Provider::Fcm)), Sent::SurelyNot),
            letter(&job, Some((8, Provider::Expo)), Sent::Maybe),
            letter(&job, Some((8, Provider::Fcm)), Sent::SurelyNot),
        ];
        let again = replay(ended(&job), &letters).unwrap();
        let told: Vec<_> = again.targets.iter().flatten().collect();
        let told: Vec<_> = told
            .iter()
            .map(|target| (target.registration.0, target.provider, target.sent))
            .collect();
        assert_eq!(
            told,
            [
                (7, Provider::Fcm, Sent::Maybe),
                (8, Provider::Expo, Sent::Maybe),
                (8, Provider::Fcm, Sent::SurelyNot),
            ]
        );
        assert_eq!(again.progress.trail.len(), 2);
        assert_eq!(
            again.progress.trail[0].cause.code, "timeout",
            "oldest first"
        );
        assert!(again.progress.refused);
    }

    #[test]
    fn what_is_over_needs_more_time() {
        let now = given_up().notification.created_at;
        let hour = TimeDelta::hours(1);
        let minute = Some(Duration::from_secs(60));
        assert_eq!(deadline(now + hour, None, now), Some(now + hour));
        assert_eq!(
            deadline(now + hour, minute, now),
            Some(now + hour),
            "never shorter"
        );
        assert_eq!(deadline(now - hour, None, now), None);
        assert_eq!(deadline(now, None, now), None);
        let extended = now + TimeDelta::minutes(1);
        assert_eq!(deadline(now - hour, minute, now), Some(extended));
    }
}
