//! The database: each function is one transaction of `push-store`, and happens at once.

use std::collections::{BTreeMap, BTreeSet};

use push_core::admit::{Admission, Claimed, Recorded, admit};
use push_core::id::RegistrationId;
use push_core::job::Job;
use push_core::outcome::Sent;
use push_core::provider::{PerProvider, Provider};
use push_core::replay::{self, Ended};
use push_core::settle::{DeliveryOutcome, Next, Settlement};
use push_core::status::{Ending, ProviderResult, Reason, Status};

use crate::flaw::Flaw;
use crate::world::{Message, Target};

/// The row of `notification_history`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub status: Status,
    pub reason: Option<Reason>,
    pub fcm: ProviderResult,
    pub expo: ProviderResult,
    pub round: u32,
    pub next: Option<Message>,
    /// The worker that still knows the claim; `None` when nobody does.
    pub claimed_by: Option<usize>,
    /// `claimed_until` is set: a round is in hand, or was when its worker was interrupted.
    pub in_hand: bool,
    /// `claimed_until` lies ahead.
    pub claim_holds: bool,
    pub interruptions: u32,
}

/// A row of `notification_deliveries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivered {
    pub accepted: bool,
    pub maybe: bool,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Letter {
    /// Whom it was for; `None` for a job that was given up as a whole.
    pub target: Option<Target>,
    pub job: Message,
    pub replayed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    /// `None` before it is accepted.
    pub row: Option<Row>,
    pub deliveries: BTreeMap<Target, Delivered>,
    /// Tokens that are switched off.
    pub dead: BTreeSet<Target>,
    pub letters: Vec<Letter>,
}

/// What a record or a dead letter changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It counts, and the notification has ended by it.
    Ended,
    /// It counts.
    Counts,
    /// It is a copy: nothing was changed.
    Stale,
}

impl Row {
    fn awaits(&self, round: u32) -> bool {
        self.status == Status::Pending && self.round < round
    }
}

impl Database {
    /// `Store::accept`.
    pub fn accept(&mut self) {
        self.row = Some(Row {
            status: Status::Pending,
            reason: None,
            fcm: ProviderResult::Queued,
            expo: ProviderResult::Queued,
            round: 0,
            next: None,
            claimed_by: None,
            in_hand: false,
            claim_holds: false,
            interruptions: 0,
        });
    }

    /// `Store::claim`, and what the worker makes of it.
    pub fn claim(&mut self, worker: usize, message: &Message, flaw: Option<Flaw>) -> Admission {
        let job = message.job();
        let Some(row) = &mut self.row else {
            return admit(job, None);
        };
        let stale_too = flaw == Some(Flaw::SendsStaleCopies);
        let news = row.status == Status::Pending && (row.round < job.round || stale_too);
        let free = !row.claim_holds || flaw == Some(Flaw::IgnoresClaims);
        let ours = news && free;
        if ours {
            let remembered = flaw != Some(Flaw::ForgetsInterruptions);
            row.interruptions += u32::from(row.in_hand && !row.claim_holds && remembered);
            row.claimed_by = Some(worker);
            (row.in_hand, row.claim_holds) = (true, true);
        }
        let round = if stale_too { 0 } else { row.round };
        let claimed = Claimed {
            recorded: Recorded {
                status: row.status,
                round,
            },
            ours,
            erased: false,
            newest: None,
            behind: false,
            interruptions: row.interruptions,
        };
        admit(job, Some(claimed))
    }

    /// `Store::record`.
    pub fn record(
        &mut self,
        worker: usize,
        settlement: &Settlement,
        flaw: Option<Flaw>,
    ) -> Written {
        let Some(row) = &mut self.row else {
            return Written::Stale;
        };
        let ours = row.claimed_by == Some(worker);
        if row.round == settlement.round && !row.in_hand && ours {
            // It was committed before, and only the answer was lost.
            return Written::Counts;
        }
        let fenced = ours || flaw == Some(Flaw::RecordsWithoutFence);
        let again = flaw == Some(Flaw::RecordsTwice);
        if !(again || fenced && row.awaits(settlement.round)) {
            return Written::Stale;
        }
        let (ending, next) = match &settlement.next {
            Next::Done(ending) => (Some(*ending), None),
            Next::Wait(_, job) | Next::Later(_, job) | Next::DeadLetter(job) => {
                (None, Some(Message::of(Job::clone(job))))
            }
        };
        row.status = ending.map_or(Status::Pending, Ending::status);
        row.reason = ending.and_then(Ending::reason);
        (row.fcm, row.expo) = (settlement.results.fcm, settlement.results.expo);
        row.round = settlement.round;
        row.next = next;
        (row.in_hand, row.claim_holds, row.interruptions) = (false, false, 0);
        for delivery in &settlement.deliveries {
            let target = (delivery.registration.0, delivery.token.provider());
            let before = self.deliveries.get(&target).is_some_and(|row| row.maybe);
            let row = Delivered {
                accepted: delivery.outcome == DeliveryOutcome::Accepted,
                maybe: before || delivery.sent == Sent::Maybe,
            };
            self.deliveries.insert(target, row);
            if delivery.outcome == DeliveryOutcome::TokenDead {
                self.dead.insert(target);
            }
        }
        match ending {
            Some(_) => Written::Ended,
            None => Written::Counts,
        }
    }

    /// `Store::let_go`: a worker that stops says so; without a trace where nothing was sent.
    pub fn let_go(&mut self, worker: usize, sent: bool) {
        if let Some(row) = &mut self.row
            && row.claimed_by == Some(worker)
            && row.in_hand
        {
            (row.in_hand, row.claim_holds) = (sent, false);
        }
    }

    /// Nobody will use this claim again.
    pub fn forget(&mut self, worker: usize) {
        if let Some(row) = &mut self.row
            && row.claimed_by == Some(worker)
        {
            row.claimed_by = None;
        }
    }

    /// `Store::due`: the job that comes next, if nobody has the notification in hand.
    pub fn due(&self, flaw: Option<Flaw>) -> Option<Message> {
        let row = self.row.as_ref()?;
        if row.status != Status::Pending || row.claim_holds {
            return None;
        }
        let first = || Message::first().with_round(row.round + 1);
        let next = match &row.next {
            Some(next) if flaw != Some(Flaw::ReconcilesFromScratch) => next.clone(),
            Some(_) | None => first(),
        };
        let round = next.job().round.max(row.round + 1);
        Some(next.with_round(round))
    }

    /// Whether a letter of this job would end the notification.
    pub fn awaits(&self, message: &Message, flaw: Option<Flaw>) -> bool {
        let stale_too = flaw == Some(Flaw::EndsWithStaleLetters);
        self.row.as_ref().is_some_and(|row| {
            row.awaits(message.job().round) || stale_too && row.status == Status::Pending
        })
    }

    /// `Store::record_dead_letters`.
    pub fn end(&mut self, message: &Message, flaw: Option<Flaw>) -> Written {
        let is_awaited = self.awaits(message, flaw);
        let Some(row) = self.row.as_mut().filter(|_| is_awaited) else {
            return Written::Stale;
        };
        let job = message.job();
        let results = job.progress.results;
        let any = [results.fcm, results.expo].contains(&ProviderResult::Success);
        (row.status, row.reason) = if any {
            (Status::Sent, None)
        } else {
            (Status::Failed, Some(Reason::DeadLettered))
        };
        (row.fcm, row.expo) = (settled(results.fcm), settled(results.expo));
        row.round = job.round;
        row.next = None;
        let letter = |target| Letter {
            target,
            job: message.clone(),
            replayed: false,
        };
        let given_up = job.progress.given_up.iter();
        let targets = given_up.map(|target| (target.registration.0, target.provider));
        self.letters
            .extend(targets.map(|target| letter(Some(target))));
        if !job.is_given_up() {
            self.letters.push(letter(None));
        }
        Written::Ended
    }

    /// Whether there is something to replay.
    pub fn has_letters(&self) -> bool {
        let ended = self
            .row
            .as_ref()
            .is_some_and(|row| row.status != Status::Pending);
        ended && self.letters.iter().any(|letter| !letter.replayed)
    }

    /// `Store::replay_dead_letter`, of all letters of the notification: in one transaction they are marked, and the
    /// notification waits for the job that the real `replay` makes of them. That somebody was interrupted is not forgotten, but for
    /// how often.
    pub fn replay(&mut self, flaw: Option<Flaw>) {
        let Some(row) = &mut self.row else {
            return;
        };
        let forgets = flaw == Some(Flaw::ReplayForgetsMaybe);
        let mut letters = Vec::new();
        for letter in self.letters.iter_mut().filter(|letter| !letter.replayed) {
            letter.replayed = true;
            let delivery = letter
                .target
                .and_then(|target| self.deliveries.get(&target));
            let maybe = delivery.is_some_and(|row| row.maybe) && !forgets;
            let of = |(registration, provider)| (RegistrationId(registration), provider);
            letters.push(replay::Letter {
                job: Job::clone(letter.job.job()),
                target: letter.target.map(of),
                sent: if maybe { Sent::Maybe } else { Sent::SurelyNot },
            });
        }
        let ended = Ended {
            notification: Message::first().job().notification.clone(),
            round: row.round,
            results: PerProvider {
                fcm: row.fcm,
                expo: row.expo,
            },
        };
        let mut job = replay::replay(ended, &letters).unwrap();
        if flaw == Some(Flaw::ReplaysAllTargets) {
            job.targets = None;
        }
        (row.status, row.reason) = (Status::Pending, None);
        row.next = Some(Message::of(job));
        row.interruptions = row.interruptions.min(1);
        if forgets {
            (row.in_hand, row.interruptions) = (false, 0);
        }
    }
}

const fn settled(result: ProviderResult) -> ProviderResult {
    match result {
        ProviderResult::Queued => ProviderResult::NotSent,
        ProviderResult::Success | ProviderResult::Failed | ProviderResult::NotSent => result,
    }
}

/// Of a device, over both providers.
pub const PROVIDERS: [Provider; 2] = [Provider::Fcm, Provider::Expo];
