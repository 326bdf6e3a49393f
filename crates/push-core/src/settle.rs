//! What follows from a round: decided here, once. The history row, the next queue, the dead letter,
//! the metrics, the log line and the acknowledgement all derive from one [`Settlement`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::{NotificationId, RegistrationId};
use crate::job::{GiveUpReason, GivenUp, Job, JobTarget, Progress, PutBack, ToMend, TrailEntry};
use crate::ladder::{Ladder, RetryDelay};
use crate::lane::Barrier;
use crate::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent};
use crate::plan::PlannedTarget;
use crate::provider::{PerProvider, Platform, Provider, spelled};
use crate::status::{Ending, ProviderResult, Reason};
use crate::timeline::TimelineEntry;
use crate::token::{MaskedToken, Token};

mod purpose;
mod story;

pub use purpose::{cancel, put_off, suppress};

/// What became of one target in this round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The target and how it was to be reached.
    pub planned: PlannedTarget,
    /// What was done.
    pub fate: Fate,
    /// A provider that would have come first, and whose lane is broken: the next one was asked, or is waited for too.
    pub passed_over: Option<Provider>,
}

/// What was done for a target in this round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Providers were asked, in this order; the last answer counts.
    Tried(Vec<Try>),
    /// It is put back without an attempt.
    Held(Hold),
    /// The notification expired before it was sent.
    Expired,
    /// The device has no usable token any more: unregistered, moved or switched off since.
    Gone,
}

/// A target that is put back, because not all of its providers could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// For at least so long.
    pub wait: Duration,
    /// Those that were asked before, in this round; each permits to ask another one.
    pub tried: Vec<Try>,
    /// Who is asked next time.
    pub next: Provider,
}

/// Why a target is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// Its provider asked for a longer pause.
    NotYet,
    /// This worker could no longer be sure that no other one sends it.
    ClaimOver,
    /// Its customer's devices are no longer what they were when they were read.
    CustomerChanged,
    /// Its tokens were found to be dead meanwhile; the app may have registered new ones.
    TokensDead,
    /// The provider's lane does not take it.
    Lane(Provider, Barrier),
}

/// One provider asked once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The token that was used.
    pub token: Token,
    /// What came of it.
    pub outcome: Outcome,
    /// When that was known.
    pub at: DateTime<Utc>,
}

spelled! {
    /// `notification_deliveries.outcome`: the last word on a device at a provider.
    DeliveryOutcome {
        /// Taken by the provider.
        Accepted = "accepted",
        /// The token was dead, and is switched off.
        TokenDead = "token_dead",
        /// To be tried again.
        Retry = "retry",
        /// An operator must mend credentials, project or sender.
        OperatorMustAct = "operator_must_act",
        /// The message itself was refused.
        Refused = "refused",
        /// Given up, and kept as a dead letter.
        DeadLettered = "dead_lettered",
    }
}

/// A row for `notification_deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The device.
    pub registration: RegistrationId,
    /// What it runs; `None` when the device is gone.
    pub platform: Option<Platform>,
    /// The token that was used. Only its hash and its mask are stored.
    pub token: Token,
    /// The last word.
    pub outcome: DeliveryOutcome,
    /// The provider's id, when it accepted.
    pub provider_id: Option<ProviderMessageId>,
    /// Tries spent on this target.
    pub tries: u32,
    /// Whether some try may have got through without an answer.
    pub sent: Sent,
    /// Why it was not accepted.
    pub cause: Option<Cause>,
    /// When.
    pub at: DateTime<Utc>,
}

/// All that follows from a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The notification.
    pub notification: NotificationId,
    /// The round that is hereby recorded. It counts once: a second record of it changes nothing.
    pub round: u32,
    /// Most tries spent on any target.
    pub attempts: u32,
    /// What is known so far, over all devices.
    pub results: PerProvider<ProviderResult>,
    /// The rows to write.
    pub deliveries: Vec<Delivery>,
    /// The decisions of this round, in plain words.
    pub timeline: Vec<TimelineEntry>,
    /// Where it goes from here.
    pub next: Next,
}

impl Settlement {
    /// The tokens to switch off, at once and everywhere (P5), and when their provider said so.
    pub fn dead_tokens(&self) -> impl Iterator<Item = (&Token, DateTime<Utc>)> {
        self.deliveries
            .iter()
            .filter(|row| row.outcome == DeliveryOutcome::TokenDead)
            .map(|row| (&row.token, row.at))
    }
}

/// Where a notification goes after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nowhere: it has ended.
    Done(Ending),
    /// To this rung, and from there back to the work queue.
    Wait(RetryDelay, Box<Job>),
    /// Nowhere before this time: it waits in the database, and is published then.
    Later(DateTime<Utc>, Box<Job>),
    /// To the dead letters. It stays pending until the recorder has committed them.
    DeadLetter(Box<Job>),
}

/// Decides what follows from a round of `job`.
#[must_use]
pub fn settle(job: &Job, reports: &[Report], ladder: &Ladder, now: DateTime<Utc>) -> Settlement {
    let mut round = Round::new(job, ladder, now);
    if job.interrupted {
        round.timeline.push(story::interrupted(reports, now));
    }
    if job.targets.is_none() {
        round.timeline.push(story::devices(reports, now));
    }
    for report in reports {
        round.settle_target(report);
    }
    round.finish()
}

/// Who was asked for a target that is given up, and with which token.
struct Asked {
    provider: Provider,
    token: Option<MaskedToken>,
}

impl Asked {
    fn with(token: &Token) -> Self {
        Self {
            provider: token.provider(),
            token: Some(token.masked()),
        }
    }

    fn in_vain(to_mend: ToMend) -> (Self, Cause) {
        let asked = Self {
            provider: to_mend.provider,
            token: Some(to_mend.token),
        };
        (asked, to_mend.cause)
    }

    /// Who would have been next; without a token where the device is gone.
    fn next_of(planned: &PlannedTarget) -> Self {
        planned.routes.first().map_or(
            Self {
                provider: planned.target.provider,
                token: None,
            },
            Self::with,
        )
    }
}

/// Collects what the targets of a round come to.
struct Round<'a> {
    job: &'a Job,
    ladder: &'a Ladder,
    now: DateTime<Utc>,
    progress: Progress,
    waiting: Vec<(RetryDelay, JobTarget)>,
    lapsed: bool,
    attempts: u32,
    deliveries: Vec<Delivery>,
    timeline: Vec<TimelineEntry>,
}

impl<'a> Round<'a> {
    fn new(job: &'a Job, ladder: &'a Ladder, now: DateTime<Utc>) -> Self {
        Self {
            job,
            ladder,
            now,
            progress: job.progress.clone(),
            waiting: Vec::new(),
            lapsed: false,
            attempts: 0,
            deliveries: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn settle_target(&mut self, report: &Report) {
        let (target, platform) = (&report.planned.target, report.planned.platform);
        self.attempts = self.attempts.max(target.tries);
        if let Some(provider) = report.passed_over {
            self.timeline
                .extend(story::passed_over(provider, report, self.now));
        }
        match &report.fate {
            Fate::Tried(tries) => self.tried(&report.planned, tries),
            Fate::Held(hold) => self.held(&report.planned, hold),
            // Never tried: nothing to give up, nothing to replay.
            Fate::Expired if self.never_tried(target) => self.lapsed = true,
            Fate::Expired => {
                let cause = Cause::new("expired", "its time was over before the next attempt");
                let asked = Asked::next_of(&report.planned);
                self.failed_at(asked.provider);
                self.give_up(target, platform, asked, GiveUpReason::Expired, cause);
            }
            Fate::Gone if self.never_tried(target) => {}
            Fate::Gone => {
                self.failed_at(target.provider);
                self.out_of_routes(target, platform);
            }
        }
    }

    /// A target of a replay had its tries before.
    const fn never_tried(&self, target: &JobTarget) -> bool {
        target.never_tried() && !self.progress.replayed
    }

    fn tried(&mut self, planned: &PlannedTarget, tries: &[Try]) {
        let mut target = JobTarget {
            tries: planned.target.tries.saturating_add(1),
            ..planned.target.clone()
        };
        self.attempts = self.attempts.max(target.tries);
        for (index, attempt) in tries.iter().enumerate() {
            match &attempt.outcome {
                Outcome::Accepted(_) => {
                    self.record_try(planned, attempt, target.tries);
                    let provider = attempt.token.provider();
                    *self.progress.results.get_mut(provider) = ProviderResult::Success;
                    return;
                }
                Outcome::Retry(retry) if index + 1 == tries.len() => {
                    self.record_try(planned, attempt, target.tries);
                    return self.retry(target, planned.platform, &attempt.token, retry);
                }
                Outcome::Retry(_)
                | Outcome::TokenDead(_)
                | Outcome::Refused(_)
                | Outcome::OperatorMustAct { .. } => {
                    self.asked_in_vain(planned, attempt, &mut target);
                }
            }
        }
        self.out_of_routes(&target, planned.platform);
    }

    /// No route is left. What an operator can mend is kept; the rest is final.
    fn out_of_routes(&mut self, target: &JobTarget, platform: Option<Platform>) {
        if let Some(to_mend) = target.to_mend.clone() {
            let (asked, cause) = Asked::in_vain(to_mend);
            self.give_up(
                target,
                platform,
                asked,
                GiveUpReason::OperatorMustAct,
                cause,
            );
        }
    }

    /// Put back: without an attempt, unless other providers were asked before.
    fn held(&mut self, planned: &PlannedTarget, hold: &Hold) {
        let mut target = planned.target.clone();
        if let Some(last) = hold.tried.last() {
            target.tries = target.tries.saturating_add(1);
            target.provider = hold.next;
            target.put_back = None;
            self.attempts = self.attempts.max(target.tries);
            let tried = hold.tried.iter();
            tried.for_each(|attempt| self.asked_in_vain(planned, attempt, &mut target));
            // Back to one that is waited for: those behind it are asked no oftener than the ladder is long.
            let back = hold.next < last.token.provider();
            if back && target.tries >= self.ladder.tries_max() {
                let (asked, reason) = (Asked::next_of(planned), GiveUpReason::RetriesExhausted);
                let cause = Cause::new(
                    "lane_broken",
                    "It could not be asked: it failed for everybody.",
                );
                self.failed_at(asked.provider);
                return self.give_up(&target, planned.platform, asked, reason, cause);
            }
        }
        let rung = match hold.reason {
            HoldReason::NotYet
            | HoldReason::ClaimOver
            | HoldReason::CustomerChanged
            | HoldReason::TokensDead => self.ladder.rung_for(hold.wait),
            HoldReason::Lane(_, barrier) => self.put_back(&mut target, barrier, hold.wait),
        };
        let news = match (hold.reason, planned.target.put_back) {
            (HoldReason::Lane(_, barrier), Some(before)) => before.barrier != barrier,
            (HoldReason::Lane(..), None)
            | (HoldReason::ClaimOver | HoldReason::CustomerChanged | HoldReason::TokensDead, _) => {
                true
            }
            (HoldReason::NotYet, _) => false,
        };
        if news {
            self.timeline
                .push(story::put_back(hold.reason, rung, self.now));
        }
        self.waiting.push((rung, target));
    }

    fn put_back(&self, target: &mut JobTarget, barrier: Barrier, wait: Duration) -> RetryDelay {
        let times = target.put_back.map_or(0, |before| before.times);
        target.put_back = Some(PutBack {
            times: times.saturating_add(1),
            barrier,
        });
        let left = (self.job.notification.expires_at - self.now).to_std();
        self.ladder
            .rung_while_put_back(times, wait, left.unwrap_or_default())
    }

    /// A provider will not deliver; another one may be asked.
    fn asked_in_vain(&mut self, planned: &PlannedTarget, attempt: &Try, target: &mut JobTarget) {
        self.record_try(planned, attempt, target.tries);
        let provider = attempt.token.provider();
        self.failed_at(provider);
        target.sent = target.sent.or(attempt.outcome.sent());
        match &attempt.outcome {
            Outcome::Refused(_) => self.progress.refused = true,
            Outcome::OperatorMustAct { cause, .. } => {
                target.to_mend = Some(ToMend {
                    provider,
                    token: attempt.token.masked(),
                    cause: cause.clone(),
                });
            }
            Outcome::Accepted(_) | Outcome::Retry(_) | Outcome::TokenDead(_) => {}
        }
    }

    fn retry(
        &mut self,
        target: JobTarget,
        platform: Option<Platform>,
        token: &Token,
        retry: &Retry,
    ) {
        let (provider, cause) = (token.provider(), retry.cause.clone());
        let mut target = JobTarget {
            provider,
            sent: target.sent.or(retry.sent),
            not_before: None,
            put_back: None,
            ..target
        };
        let rung = match self.ladder.rung_after(target.tries, retry.pause) {
            None => Err(GiveUpReason::RetriesExhausted),
            Some(rung) if self.now + rung.as_duration() >= self.job.notification.expires_at => {
                Err(GiveUpReason::Expired)
            }
            Some(rung) => Ok(rung),
        };
        let rung = match rung {
            Ok(rung) => rung,
            Err(reason) => {
                self.failed_at(provider);
                return self.give_up(&target, platform, Asked::with(token), reason, cause);
            }
        };
        target.not_before = match retry.pause {
            Pause::Asked(asked) if asked > rung.as_duration() => TimeDelta::from_std(asked)
                .ok()
                .map(|asked| self.now + asked),
            Pause::Asked(_) | Pause::AtLeast(_) => None,
        };
        self.waiting.push((rung, target));
    }

    fn failed_at(&mut self, provider: Provider) {
        failed_at(&mut self.progress.results, provider);
    }

    fn give_up(
        &mut self,
        target: &JobTarget,
        platform: Option<Platform>,
        asked: Asked,
        reason: GiveUpReason,
        cause: Cause,
    ) {
        self.progress.given_up.push(GivenUp {
            registration: target.registration,
            provider: asked.provider,
            platform,
            token: asked.token,
            reason,
            cause,
            tries: target.tries,
            sent: target.sent,
        });
    }

    fn record_try(&mut self, planned: &PlannedTarget, attempt: &Try, tries: u32) {
        let (outcome, provider_id, cause) = match &attempt.outcome {
            Outcome::Accepted(id) => (DeliveryOutcome::Accepted, Some(id.clone()), None),
            Outcome::TokenDead(cause) => (DeliveryOutcome::TokenDead, None, Some(cause)),
            Outcome::Retry(retry) => (DeliveryOutcome::Retry, None, Some(&retry.cause)),
            Outcome::OperatorMustAct { cause, .. } => {
                (DeliveryOutcome::OperatorMustAct, None, Some(cause))
            }
            Outcome::Refused(cause) => (DeliveryOutcome::Refused, None, Some(cause)),
        };
        self.timeline.push(story::attempt(attempt, cause));
        if let Some(cause) = cause {
            self.progress.remember(TrailEntry {
                at: attempt.at,
                provider: attempt.token.provider(),
                registration: planned.target.registration,
                cause: cause.clone(),
            });
        }
        self.deliveries.push(Delivery {
            registration: planned.target.registration,
            platform: planned.platform,
            token: attempt.token.clone(),
            outcome,
            provider_id,
            tries,
            sent: planned.target.sent.or(attempt.outcome.sent()),
            cause: cause.cloned(),
            at: attempt.at,
        });
    }

    fn finish(mut self) -> Settlement {
        let next = self.next();
        self.timeline.extend(story::next(&next, self.now));
        // Targets are tried side by side; people read in the order of time.
        self.timeline.sort_by_key(|entry| entry.at);
        if let Next::Done(_) = next {
            nothing_is_queued(&mut self.progress.results);
        }
        Settlement {
            notification: self.job.notification.id,
            round: self.job.round,
            attempts: self.attempts,
            results: self.progress.results,
            deliveries: self.deliveries,
            timeline: self.timeline,
            next,
        }
    }

    fn next(&mut self) -> Next {
        // The shortest wait: a target that must wait longer is held when the job comes back, so that
        // one provider's pause does not delay the other's retry (P6).
        if let Some(rung) = self.waiting.iter().map(|(rung, _)| *rung).min() {
            let waiting = std::mem::take(&mut self.waiting);
            let targets = waiting
                .into_iter()
                .map(|(wait, target)| self.hold_back(rung, wait, target))
                .collect();
            return Next::Wait(
                rung,
                follow_up(self.job, Some(targets), self.progress.clone()),
            );
        }
        if !self.progress.given_up.is_empty() {
            let letter = follow_up(self.job, Some(Vec::new()), self.progress.clone());
            return Next::DeadLetter(letter);
        }
        Next::Done(ending(
            self.progress.results,
            self.progress.refused,
            self.lapsed,
        ))
    }

    /// A target whose own wait is longer than the job's. A lane is asked each time: it may have opened.
    fn hold_back(&self, rung: RetryDelay, wait: RetryDelay, target: JobTarget) -> JobTarget {
        let longer = wait > rung && target.put_back.is_none();
        let own = longer.then(|| self.now + wait.as_duration());
        JobTarget {
            not_before: target.not_before.or(own),
            ..target
        }
    }
}

/// The job of the next round.
fn follow_up(job: &Job, targets: Option<Vec<JobTarget>>, progress: Progress) -> Box<Job> {
    Box::new(Job {
        notification: job.notification.clone(),
        round: job.round + 1,
        targets,
        progress,
        interrupted: false,
    })
}

/// It was tried there, and unless some device accepted, in vain.
fn failed_at(results: &mut PerProvider<ProviderResult>, provider: Provider) {
    let result = results.get_mut(provider);
    if *result != ProviderResult::Success {
        *result = ProviderResult::Failed;
    }
}

/// It has ended: who was not asked will not be.
fn nothing_is_queued(results: &mut PerProvider<ProviderResult>) {
    for provider in Provider::ALL {
        let result = results.get_mut(*provider);
        if *result == ProviderResult::Queued {
            *result = ProviderResult::NotSent;
        }
    }
}

/// How a notification ends whose last target is settled, none of them as a dead letter.
fn ending(results: PerProvider<ProviderResult>, refused: bool, lapsed: bool) -> Ending {
    let any = |wanted| results.fcm == wanted || results.expo == wanted;
    if any(ProviderResult::Success) {
        Ending::Sent
    } else if refused {
        Ending::Failed(Reason::Refused)
    } else if any(ProviderResult::Failed) {
        Ending::Failed(Reason::InvalidTokens)
    } else if lapsed {
        Ending::Suppressed(Reason::Expired)
    } else {
        Ending::Suppressed(Reason::NoActiveDevice)
    }
}
