//! P3, for any interleaving: the statuses of one booking are accepted one after the other, while several workers take their
//! jobs, copies of them, and what comes back from the ladder; are slow, killed or out of time; and hear every kind of answer.
//! No phone gets an older status after a newer one.
//!
//! Admitting, judging and settling are the real ones; claims and keys are those of `push-store`, in a few lines.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use push_core::admit::{Admission, Claimed, Recorded, admit};
use push_core::id::{CustomerId, NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::ladder::Ladder;
use push_core::notification::{
    Body, CollapseKey, Content, Data, Notification, NotificationType, Priority, Title,
};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::plan::{Device, Reach};
use push_core::preferences::{MandatoryTypes, Preferences};
use push_core::provider::{DeliveryPolicy, Platform, Provider};
use push_core::settle::{Fate, Next, Report, Settlement, Try, settle, suppress};
use push_core::status::{Ending, Reason, Status};
use push_core::token::FcmToken;
use push_core::wanted::{Verdict, judge};

/// Seconds that a claim lasts, and that a provider may take: a worker sends only while its claim lasts longer.
const CLAIM: u64 = 20;
const ANSWER_MAX: u64 = 10;
const STATUSES: usize = 6;
const WORKERS: usize = 3;

/// A rule that is left out, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The newest of the key is not asked for.
    Newest,
    /// Workers do not wait for each other's keys.
    Keys,
    /// A key is given up by whoever was taken together with its owner.
    Owner,
    /// A key is given up as soon as its worker is killed.
    PatienceWithTheKilled,
}

/// Who has something in hand, and until when.
#[derive(Clone, Copy, Debug)]
struct Held {
    by: u64,
    until: u64,
}

/// A row of `notification_history`.
struct Row {
    notification: Notification,
    status: Status,
    reason: Option<Reason>,
    round: u32,
    next: Job,
    held: Option<Held>,
    interruptions: u32,
}

/// A round in a worker's hands.
struct Hand {
    row: usize,
    claim: Held,
    job: Job,
    phase: Phase,
}

enum Phase {
    Admitted,
    /// With the provider; its answer comes once the phone has it or never will.
    Sent(Outcome),
    Over(Settlement),
}

struct World {
    without: Without,
    now: u64,
    rows: Vec<Row>,
    newest: Option<usize>,
    /// Who has the key, and for which row: one claim is for all that is taken at once.
    key: Option<(Held, usize)>,
    queue: Vec<Job>,
    rungs: Vec<(u64, Job)>,
    workers: Vec<Option<Hand>>,
    claims: u64,
    /// When the phone gets what.
    arriving: Vec<(u64, usize)>,
    phone: Vec<usize>,
}

/// What happens next, if it can.
#[derive(Clone, Copy, Debug)]
enum Event {
    Accept,
    /// One, or two at once.
    Take {
        worker: usize,
        from: usize,
        pair: bool,
    },
    Send {
        worker: usize,
        answer: u8,
        after: u64,
    },
    Answer {
        worker: usize,
    },
    Record {
        worker: usize,
    },
    Renew {
        worker: usize,
    },
    Kill {
        worker: usize,
    },
    Copy {
        from: usize,
    },
    Reconcile {
        row: usize,
    },
    Wait {
        seconds: u64,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    let worker = 0..WORKERS;
    prop_oneof![
        3 => Just(Event::Accept),
        8 => (worker.clone(), 0_usize..8, any::<bool>())
            .prop_map(|(worker, from, pair)| Event::Take { worker, from, pair }),
        8 => (worker.clone(), 0_u8..5, 0..ANSWER_MAX)
            .prop_map(|(worker, answer, after)| Event::Send { worker, answer, after }),
        6 => worker.clone().prop_map(|worker| Event::Answer { worker }),
        6 => worker.clone().prop_map(|worker| Event::Record { worker }),
        2 => worker.clone().prop_map(|worker| Event::Renew { worker }),
        1 => worker.prop_map(|worker| Event::Kill { worker }),
        1 => (0_usize..8).prop_map(|from| Event::Copy { from }),
        2 => (0..STATUSES).prop_map(|row| Event::Reconcile { row }),
        5 => (1_u64..15).prop_map(|seconds| Event::Wait { seconds }),
    ]
}

impl World {
    fn new(without: Without) -> Self {
        Self {
            without,
            now: 0,
            rows: Vec::new(),
            newest: None,
            key: None,
            queue: Vec::new(),
            rungs: Vec::new(),
            workers: (0..WORKERS).map(|_| None).collect(),
            claims: 0,
            arriving: Vec::new(),
            phone: Vec::new(),
        }
    }

    fn time(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(self.now).unwrap())
    }

    fn happens(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Accept => self.accept(),
            Event::Take { worker, from, pair } => return self.take(worker, from, pair),
            Event::Send {
                worker,
                answer,
                after,
            } => return self.send(worker, answer, after),
            Event::Answer { worker } => return self.answer(worker),
            Event::Record { worker } => return self.record(worker),
            Event::Renew { worker } => return self.renew(worker),
            Event::Kill { worker } => self.kill(worker),
            Event::Copy { from } => {
                let job = self.queue.get(from)?.clone();
                self.queue.push(job);
            }
            Event::Reconcile { row } => {
                let row = self.rows.get(row)?;
                if row.status == Status::Pending && !self.holds(row.held) {
                    let job = row.next.clone();
                    self.queue.push(job);
                }
            }
            Event::Wait { seconds } => self.wait(seconds),
        }
        Some(())
    }

    fn holds(&self, held: Option<Held>) -> bool {
        held.is_some_and(|held| held.until > self.now)
    }

    fn accept(&mut self) {
        if self.rows.len() == STATUSES {
            return;
        }
        let now = self.time();
        let notification = Notification {
            id: NotificationId::generate(),
            customer: CustomerId::try_from(1).unwrap(),
            kind: NotificationType::service_update(),
            content: Content {
                title: Title::parse("t").unwrap(),
                body: Body::parse("b").unwrap(),
                data: Data::default(),
                image_url: None,
            },
            priority: Priority::High,
            collapse_key: Some(CollapseKey::parse("booking-456").unwrap()),
            created_at: now,
            send_at: None,
            expires_at: now + TimeDelta::hours(1),
        };
        let job = Job::first(notification.clone());
        self.queue.push(job.clone());
        self.newest = Some(self.rows.len());
        self.rows.push(Row {
            notification,
            status: Status::Pending,
            reason: None,
            round: 0,
            next: job,
            held: None,
            interruptions: 0,
        });
    }

    fn row_of(&self, job: &Job) -> usize {
        let mut rows = self.rows.iter();
        let is = |row: &Row| row.notification.id == job.notification.id;
        rows.position(is).unwrap()
    }

    /// `Store::claim`.
    fn claim(&mut self, row: usize, job: &Job, claim: Held) -> Claimed {
        let is_newest = self.newest == Some(row);
        let key = self.key.map(|(held, _)| held);
        let behind = is_newest && self.holds(key) && self.without != Without::Keys;
        let elsewhere = self.holds(self.rows[row].held);
        let it = &mut self.rows[row];
        let news = it.status == Status::Pending && it.round < job.round;
        let ours = news && !elsewhere && !behind;
        if ours {
            it.interruptions += u32::from(it.held.is_some());
            it.held = Some(claim);
            if is_newest {
                self.key = Some((claim, row));
            }
        }
        Claimed {
            recorded: Recorded {
                status: it.status,
                round: it.round,
            },
            ours,
            erased: false,
            newest: self.newest.map(|newest| self.rows[newest].notification.id),
            behind: behind && !elsewhere,
            interruptions: self.rows[row].interruptions,
        }
    }

    fn take(&mut self, worker: usize, from: usize, pair: bool) -> Option<()> {
        self.claims += 1;
        let claim = Held {
            by: self.claims,
            until: self.now + CLAIM,
        };
        self.take_one(worker, from, claim)?;
        if pair {
            let _none = self.take_one((worker + 1) % WORKERS, from / 2, claim);
        }
        Some(())
    }

    fn take_one(&mut self, worker: usize, from: usize, claim: Held) -> Option<()> {
        if self.workers[worker].is_some() || from >= self.queue.len() {
            return None;
        }
        let mut job = self.queue.remove(from);
        let row = self.row_of(&job);
        let claimed = self.claim(row, &job, claim);
        match admit(&job, Some(claimed)) {
            admission @ (Admission::Deliver | Admission::DeliverInterrupted) => {
                job.interrupted = admission == Admission::DeliverInterrupted;
                let newest = claimed.newest.filter(|_| self.without != Without::Newest);
                let (wanted, none) = (Preferences::default(), MandatoryTypes::default());
                let verdict = judge(&job, newest, &wanted, &none, self.time());
                let phase = match verdict {
                    Verdict::Suppress(why) => Phase::Over(suppress(&job, why, self.time())),
                    Verdict::Deliver | Verdict::PutOff(_) => Phase::Admitted,
                };
                self.workers[worker] = Some(Hand {
                    row,
                    claim,
                    job,
                    phase,
                });
            }
            // It waits for a moment, or on a rung.
            Admission::Behind | Admission::Elsewhere => self.rungs.push((self.now + 1, job)),
            Admission::AlreadySettled | Admission::Stale => {}
            Admission::Interrupts | Admission::Unknown => unreachable!(),
        }
        Some(())
    }

    /// The request leaves, as long as the claim lasts longer than any answer may take.
    fn send(&mut self, worker: usize, answer: u8, after: u64) -> Option<()> {
        let now = self.now;
        let hand = self.workers[worker].as_mut()?;
        let lasts = hand.claim.until >= now + ANSWER_MAX;
        if !matches!(hand.phase, Phase::Admitted) || !lasts {
            return None;
        }
        let cause = || Cause::new("x", "x");
        let retry = |sent| {
            Outcome::Retry(Retry {
                cause: cause(),
                pause: Pause::AtLeast(std::time::Duration::from_secs(10)),
                sent,
                trouble: Trouble::Provider,
            })
        };
        let (outcome, arrives) = match answer {
            0 => (Outcome::Accepted(ProviderMessageId::new("id")), true),
            1 => (retry(Sent::Maybe), true),
            2 => (retry(Sent::Maybe), false),
            3 => (retry(Sent::SurelyNot), false),
            _ => (Outcome::TokenDead(cause()), false),
        };
        if arrives {
            self.arriving.push((now + after, hand.row));
        }
        hand.phase = Phase::Sent(outcome);
        Some(())
    }

    fn answer(&mut self, worker: usize) -> Option<()> {
        let now = self.time();
        let hand = self.workers[worker].as_mut()?;
        let Phase::Sent(outcome) = &hand.phase else {
            return None;
        };
        // What the provider still has is not answered yet.
        if self.arriving.iter().any(|(_, row)| *row == hand.row) {
            return None;
        }
        let device = Device {
            registration: RegistrationId(1),
            device_id: None,
            platform: Platform::Android,
            fcm: Some(FcmToken::parse("fcm-token-of-the-device").unwrap()),
            expo: None,
        };
        let reach = Reach {
            policy: DeliveryPolicy::Failover,
            providers: vec![Provider::Fcm],
        };
        let planned = reach.plan(&hand.job, &[device]).remove(0);
        let attempt = Try {
            token: planned.routes[0].clone(),
            outcome: outcome.clone(),
            at: now,
        };
        let report = Report {
            planned,
            fate: Fate::Tried(vec![attempt]),
            passed_over: None,
        };
        let settlement = settle(&hand.job, &[report], &Ladder::default(), now);
        hand.phase = Phase::Over(settlement);
        Some(())
    }

    /// `Store::record`, then what comes next is published.
    fn record(&mut self, worker: usize) -> Option<()> {
        if !matches!(self.workers[worker].as_ref()?.phase, Phase::Over(_)) {
            return None;
        }
        let hand = self.workers[worker].take()?;
        let Phase::Over(settlement) = hand.phase else {
            return None;
        };
        let row = &mut self.rows[hand.row];
        let ours = row.held.is_some_and(|held| held.by == hand.claim.by);
        if row.status != Status::Pending || row.round >= settlement.round || !ours {
            return Some(());
        }
        row.round = settlement.round;
        (row.held, row.interruptions) = (None, 0);
        match settlement.next {
            Next::Done(ending) => (row.status, row.reason) = (ending.status(), ending.reason()),
            Next::Wait(rung, job) => {
                row.next = Job::clone(&job);
                let back = self.now + rung.as_duration().as_secs();
                self.rungs.push((back, *job));
            }
            // The recorder ends it.
            Next::DeadLetter(_) => row.status = Ending::Failed(Reason::DeadLettered).status(),
            Next::Later(..) => unreachable!(),
        }
        self.let_go_of_key(hand.claim, hand.row);
        Some(())
    }

    fn let_go_of_key(&mut self, claim: Held, row: usize) {
        let whoever = self.without == Without::Owner;
        if self
            .key
            .is_some_and(|(key, owner)| key.by == claim.by && (owner == row || whoever))
        {
            self.key = None;
        }
    }

    /// `Store::renew_claims`; what is over by the worker's own clock stays over for it.
    fn renew(&mut self, worker: usize) -> Option<()> {
        let until = self.now + CLAIM;
        let hand = self.workers[worker].as_mut()?;
        let by = hand.claim.by;
        let ours = |held: &&mut Held| held.by == by;
        if let Some(held) = self.rows[hand.row].held.as_mut().filter(ours) {
            held.until = until;
            if hand.claim.until > self.now {
                hand.claim.until = until;
            }
        }
        let row = hand.row;
        if let Some((key, owner)) = &mut self.key
            && *owner == row
            && key.by == by
        {
            key.until = until;
        }
        Some(())
    }

    /// Its message comes again; what it sent is on its way all the same.
    fn kill(&mut self, worker: usize) {
        if let Some(hand) = self.workers[worker].take() {
            if self.without == Without::PatienceWithTheKilled {
                self.let_go_of_key(hand.claim, hand.row);
            }
            self.queue.push(hand.job);
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            let now = self.now;
            let mut arrived: Vec<_> = self.arriving.extract_if(.., |(at, _)| *at <= now).collect();
            arrived.sort_unstable();
            self.phone.extend(arrived.into_iter().map(|(_, row)| row));
            let back = self.rungs.extract_if(.., |(at, _)| *at <= now);
            self.queue.extend(back.map(|(_, job)| job));
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(
            self.phone.is_sorted(),
            "an older one after a newer one: {:?}",
            self.phone
        );
        for (index, row) in self.rows.iter().enumerate() {
            let overtaken = row.reason == Some(Reason::Superseded);
            prop_assert!(!overtaken || self.newest > Some(index), "nothing is newer");
        }
        Ok(())
    }

    /// Nothing goes wrong any more: everything ends, and the newest is not overtaken.
    fn calm(&mut self) -> Result<(), TestCaseError> {
        for turn in 0..2_000_usize {
            if self.rows.iter().all(|row| row.status != Status::Pending) {
                return Ok(());
            }
            let worker = turn % WORKERS;
            if self.queue.is_empty() && turn % 50 == 0 {
                for row in 0..self.rows.len() {
                    self.happens(Event::Reconcile { row });
                }
            }
            let (answer, after) = (0, 0);
            for event in [
                Event::Take {
                    worker,
                    from: 0,
                    pair: false,
                },
                Event::Send {
                    worker,
                    answer,
                    after,
                },
                Event::Wait { seconds: 1 },
                Event::Answer { worker },
                Event::Record { worker },
            ] {
                self.happens(event);
            }
            if turn % 40 == 39 {
                // A worker that can no longer be sure of its claim gives up.
                self.kill(worker);
            }
            self.check()?;
        }
        Err(TestCaseError::fail("something never ended"))
    }
}

fn lives(without: Without, events: &[Event]) -> Result<(), TestCaseError> {
    let mut world = World::new(without);
    for event in events {
        world.happens(*event);
        world.check()?;
    }
    world.calm()
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(any_event(), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn no_phone_gets_an_older_status_after_a_newer_one(events in any_events()) {
        lives(Without::Nothing, &events)?;
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::Newest,
        Without::Keys,
        Without::Owner,
        Without::PatienceWithTheKilled,
    ] {
        let config = ProptestConfig {
            cases: 20_000,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..ProptestConfig::default()
        };
        let found = TestRunner::new(config).run(&any_events(), |events| lives(without, &events));
        assert!(matches!(found, Err(TestError::Fail(..))), "{without:?}");
    }
}
