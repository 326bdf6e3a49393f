//! Whole lives of a notification, with a clock and dice of their own: devices that come to nothing, rounds that are held or interrupted,
//! every outcome at every moment. What is written down of them here is compared with what `settle` says.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use push_core::id::{CustomerId, NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::ladder::{Ladder, RetryDelay};
use push_core::notification::{
    Body, Content, Data, Notification, NotificationType, Priority, Title,
};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::plan::{Device, PlannedTarget, Reach};
use push_core::provider::{DeliveryPolicy, Platform, Provider};
use push_core::settle::{Fate, Hold, HoldReason, Next, Report, Settlement, Try, settle};
use push_core::status::{Ending, ProviderResult, Reason};
use push_core::token::{ExpoToken, FcmToken};

/// Nothing takes so long, with the ladders and pauses below.
const ROUNDS_MAX: usize = 3_000;
/// Workers are interrupted and unsure of their claims in so many rounds. Were it for ever, only the expiry would end it.
const TROUBLED_ROUNDS: u32 = 50;

fn job(ttl_seconds: i64) -> Job {
    let created_at = DateTime::UNIX_EPOCH;
    Job::first(Notification {
        id: NotificationId::generate(),
        customer: CustomerId::try_from(123).unwrap(),
        kind: NotificationType::service_update(),
        content: Content {
            title: Title::parse("t").unwrap(),
            body: Body::parse("b").unwrap(),
            data: Data::default(),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at,
        send_at: None,
        expires_at: created_at + TimeDelta::seconds(ttl_seconds),
    })
}

fn device(registration: u64, fcm: bool, expo: bool) -> Device {
    let (fcm_token, expo_token) = (
        format!("fcm-token-of-device-{registration:04}"),
        format!("ExponentPushToken[device-{registration:04}]"),
    );
    Device {
        registration: RegistrationId(registration),
        device_id: None,
        platform: Platform::Android,
        fcm: fcm.then(|| FcmToken::parse(&fcm_token).unwrap()),
        expo: expo.then(|| ExpoToken::parse(&expo_token).unwrap()),
    }
}

/// The worker had to let the target wait, without a try.
fn held(wait: Duration) -> Fate {
    Fate::Held(Hold {
        reason: HoldReason::NotYet,
        wait,
        tried: Vec::new(),
        next: Provider::Fcm,
    })
}

fn report(planned: PlannedTarget, fate: Fate) -> Report {
    Report {
        planned,
        fate,
        passed_over: None,
    }
}

fn retry(pause: Pause, sent: Sent) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new("http_503", "x"),
        pause,
        sent,
        trouble: Trouble::Provider,
    })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let cause = || Cause::new("x", "x");
    let pause = prop_oneof![
        (0_u64..1_500).prop_map(|seconds| Pause::Asked(Duration::from_secs(seconds))),
        (0_u64..120).prop_map(|seconds| Pause::AtLeast(Duration::from_secs(seconds))),
    ];
    let sent = prop_oneof![3 => Just(Sent::SurelyNot), 1 => Just(Sent::Maybe)];
    prop_oneof![
        2 => Just(Outcome::Accepted(ProviderMessageId::new("id"))),
        2 => Just(Outcome::TokenDead(cause())),
        1 => Just(Outcome::Refused(cause())),
        1 => Just(Outcome::operator_must_act(cause())),
        1 => Just(Outcome::OperatorMustAct { cause: cause(), sent: Sent::Maybe }),
        8 => (pause, sent).prop_map(|(pause, sent)| retry(pause, sent)),
    ]
}

/// What befalls one target in one round.
#[derive(Clone, Debug)]
struct Luck {
    /// The worker cannot be sure of its claim.
    withheld: bool,
    /// The device is unregistered from now on.
    gone: bool,
    fcm: Outcome,
    expo: Outcome,
}

fn any_luck() -> impl Strategy<Value = Luck> {
    let dice = (prop::bool::weighted(0.1), prop::bool::weighted(0.05));
    (dice, any_outcome(), any_outcome()).prop_map(|((withheld, gone), fcm, expo)| Luck {
        withheld,
        gone,
        fcm,
        expo,
    })
}

fn any_ladder() -> impl Strategy<Value = (Ladder, bool)> {
    let configured = prop::collection::btree_set(5_u64..600, 1..6).prop_map(|seconds| {
        let rungs = seconds
            .iter()
            .map(|seconds| RetryDelay::parse(&format!("{seconds}s")).unwrap());
        (Ladder::configured(rungs.collect()).unwrap(), false)
    });
    prop_oneof![Just((Ladder::default(), true)), configured]
}

#[derive(Clone, Debug)]
struct World {
    policy: DeliveryPolicy,
    /// And whether it follows the providers' general advice.
    ladder: (Ladder, bool),
    tokens: Vec<(bool, bool)>,
    /// In turn, for ever: so long as it lasts, no life depends on how often somebody looks.
    luck: Vec<Luck>,
    /// Rounds that were interrupted once before they could be recorded, in turn.
    interrupted: Vec<bool>,
    /// How much later than asked the broker brings a job back, in turn.
    late: Vec<u64>,
    ttl_seconds: i64,
}

prop_compose! {
    fn any_world()(
        both in any::<bool>(),
        ladder in any_ladder(),
        tokens in prop::collection::vec(prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))], 0..4),
        luck in prop::collection::vec(any_luck(), 1..40),
        interrupted in prop::collection::vec(prop::bool::weighted(0.1), 1..20),
        late in prop::collection::vec(0_u64..5_000, 1..20),
        ttl_seconds in prop_oneof![1_i64..600, 600_i64..100_000],
    ) -> World {
        let policy = if both { DeliveryPolicy::Both } else { DeliveryPolicy::Failover };
        World { policy, ladder, tokens, luck, interrupted, late, ttl_seconds }
    }
}

/// A target as `settle` must see it: under failover a device is one, whoever is asked.
type Key = (RegistrationId, Option<Provider>);

/// What was written down while a life was lived.
#[derive(Default)]
struct Ledger {
    tried_at: BTreeSet<Provider>,
    accepted_at: BTreeSet<Provider>,
    /// Who must be in the next job.
    unsettled: BTreeSet<Key>,
    /// Not to be asked before.
    not_before: BTreeMap<Key, DateTime<Utc>>,
    spent: BTreeMap<Key, u32>,
    maybe_at: BTreeMap<Key, Provider>,
    /// Somebody may have sent something, or has.
    touched: bool,
    refused: bool,
    operator: bool,
}

struct Life {
    world: World,
    devices: Vec<Device>,
    now: DateTime<Utc>,
    dice: usize,
    ledger: Ledger,
    /// A target is waiting that was not tried: its wait is not bounded by the expiry.
    holds: bool,
}

impl Life {
    fn new(world: World) -> Self {
        let devices = (1..).zip(&world.tokens);
        Self {
            devices: devices
                .map(|(id, (fcm, expo))| device(id, *fcm, *expo))
                .collect(),
            world,
            now: DateTime::UNIX_EPOCH,
            dice: 0,
            ledger: Ledger::default(),
            holds: false,
        }
    }

    fn key(&self, registration: RegistrationId, provider: Provider) -> Key {
        match self.world.policy {
            DeliveryPolicy::Failover => (registration, None),
            DeliveryPolicy::Both => (registration, Some(provider)),
        }
    }

    /// One target's turn, as a worker takes it.
    fn turn(&mut self, job: &Job, planned: &PlannedTarget) -> Result<Fate, TestCaseError> {
        self.dice += 1;
        let luck = self.world.luck[self.dice % self.world.luck.len()].clone();
        let target = &planned.target;
        let key = self.key(target.registration, target.provider);
        prop_assert_eq!(
            target.tries,
            self.ledger.spent.get(&key).copied().unwrap_or(0),
            "holds spend nothing"
        );
        if target.sent == Sent::Maybe {
            self.ledger.maybe_at.entry(key).or_insert(target.provider);
            self.ledger.touched = true;
        }
        self.ledger.unsettled.remove(&key);
        if job.notification.is_expired(self.now) {
            return Ok(Fate::Expired);
        }
        let wait = target
            .not_before
            .and_then(|at| (at - self.now).to_std().ok());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Ok(self.hold(key, wait));
        }
        if planned.platform.is_none() || planned.routes.is_empty() {
            return Ok(Fate::Gone);
        }
        if luck.withheld && job.round < TROUBLED_ROUNDS {
            return Ok(self.hold(key, Duration::ZERO));
        }
        let tries = self.ask(key, planned, &luck)?;
        if luck.gone {
            self.devices
                .retain(|device| device.registration != target.registration);
        }
        Ok(Fate::Tried(tries))
    }

    fn hold(&mut self, key: Key, wait: Duration) -> Fate {
        self.holds = true;
        self.ledger.unsettled.insert(key);
        held(wait)
    }

    fn ask(
        &mut self,
        key: Key,
        planned: &PlannedTarget,
        luck: &Luck,
    ) -> Result<Vec<Try>, TestCaseError> {
        let floor = self.ledger.not_before.get(&key);
        prop_assert!(
            floor.is_none_or(|floor| self.now >= *floor),
            "asked too early"
        );
        let spent = self.ledger.spent.entry(key).or_default();
        *spent += 1;
        let spent = *spent;
        prop_assert!(spent <= self.world.ladder.0.tries_max());
        let mut tries = Vec::new();
        for token in &planned.routes {
            let provider = token.provider();
            let maybe_at = self.ledger.maybe_at.get(&key);
            prop_assert!(
                maybe_at.is_none_or(|before| *before == provider),
                "another one after a maybe"
            );
            let outcome = match provider {
                Provider::Fcm => &luck.fcm,
                Provider::Expo => &luck.expo,
            };
            self.hear(key, provider, outcome, spent);
            tries.push(Try {
                token: token.clone(),
                outcome: outcome.clone(),
                at: self.now,
            });
            if !outcome.permits_next_route() {
                break;
            }
        }
        Ok(tries)
    }

    fn hear(&mut self, key: Key, provider: Provider, outcome: &Outcome, spent: u32) {
        let ledger = &mut self.ledger;
        ledger.touched = true;
        ledger.tried_at.insert(provider);
        if outcome.sent() == Sent::Maybe {
            ledger.maybe_at.insert(key, provider);
        }
        match outcome {
            Outcome::Accepted(_) => {
                ledger.accepted_at.insert(provider);
            }
            Outcome::TokenDead(_) => {}
            Outcome::Refused(_) => ledger.refused = true,
            Outcome::OperatorMustAct { .. } => ledger.operator = true,
            Outcome::Retry(retry) => {
                let (ladder, follows_advice) = &self.world.ladder;
                let rungs: Vec<_> = ladder
                    .rungs()
                    .iter()
                    .map(|rung| rung.as_duration())
                    .collect();
                let Some(own) = rungs.get(spent as usize - 1) else {
                    return;
                };
                let last = rungs[rungs.len() - 1];
                let wait = match retry.pause {
                    // Binding, however short the ladder.
                    Pause::Asked(asked) => asked.max(*own),
                    Pause::AtLeast(advised) if *follows_advice => advised.min(last).max(*own),
                    Pause::AtLeast(_) => *own,
                };
                ledger.not_before.insert(key, self.now + wait);
                ledger.unsettled.insert(key);
            }
        }
    }

    /// One round, from the plan to its settlement.
    fn round(&mut self, job: &mut Job) -> Result<Settlement, TestCaseError> {
        self.holds = false;
        let turns = job.round as usize;
        job.interrupted = job.round < TROUBLED_ROUNDS
            && self.world.interrupted[turns % self.world.interrupted.len()];
        let reach = Reach {
            policy: self.world.policy,
            providers: Provider::ALL.to_vec(),
        };
        let mut reports = Vec::new();
        for planned in reach.plan(job, &self.devices) {
            let fate = self.turn(job, &planned)?;
            reports.push(report(planned, fate));
        }
        Ok(settle(job, &reports, &self.world.ladder.0, self.now))
    }

    /// What comes next is for those, and only those, that are not settled.
    fn goes_on(&self, rung: RetryDelay, next: &Job) -> Result<(), TestCaseError> {
        let key =
            |target: &push_core::job::JobTarget| self.key(target.registration, target.provider);
        let targets: Vec<Key> = next.targets.as_ref().unwrap().iter().map(key).collect();
        let all: BTreeSet<Key> = targets.iter().copied().collect();
        prop_assert_eq!(all.len(), targets.len(), "each target once");
        prop_assert!(all.is_subset(&self.ledger.unsettled), "{all:?} are settled");
        self.gave_up(self.ledger.unsettled.difference(&all), next)?;
        if !self.holds {
            let back = self.now + rung.as_duration();
            prop_assert!(back < next.notification.expires_at, "too late for a try");
        }
        Ok(())
    }

    /// Who waited for another try and gets none is kept.
    fn gave_up<'a>(
        &self,
        mut lost: impl Iterator<Item = &'a Key>,
        next: &Job,
    ) -> Result<(), TestCaseError> {
        let given_up: Vec<_> = next
            .progress
            .given_up
            .iter()
            .map(|one| one.registration)
            .collect();
        prop_assert!(
            lost.all(|(registration, _)| given_up.contains(registration)),
            "lost"
        );
        Ok(())
    }

    /// What it came to is what was written down.
    fn ends(&self, settlement: &Settlement, ending: Ending) -> Result<(), TestCaseError> {
        let ledger = &self.ledger;
        prop_assert!(ledger.unsettled.is_empty(), "somebody is left");
        for provider in Provider::ALL {
            let result = *settlement.results.get(*provider);
            let accepted = ledger.accepted_at.contains(provider);
            prop_assert_eq!(result == ProviderResult::Success, accepted);
            prop_assert!(result != ProviderResult::Queued);
            if ledger.tried_at.contains(provider) {
                prop_assert!(result != ProviderResult::NotSent);
            }
        }
        match ending {
            Ending::Sent => prop_assert!(!ledger.accepted_at.is_empty()),
            Ending::Failed(reason) => {
                prop_assert!(ledger.accepted_at.is_empty() && ledger.touched);
                prop_assert_eq!(reason == Reason::Refused, ledger.refused);
                prop_assert!(
                    reason != Reason::DeadLettered,
                    "the recorder says so, not this"
                );
            }
            Ending::Suppressed(_) => prop_assert!(!ledger.touched, "it was tried"),
        }
        Ok(())
    }

    fn live(&mut self) -> Result<(), TestCaseError> {
        let mut job = job(self.world.ttl_seconds);
        for _ in 0..ROUNDS_MAX {
            let settlement = self.round(&mut job)?;
            prop_assert_eq!(settlement.round, job.round);
            prop_assert!(settlement.attempts <= self.world.ladder.0.tries_max());
            match &settlement.next {
                Next::Done(ending) => return self.ends(&settlement, *ending),
                Next::DeadLetter(letter) => {
                    prop_assert!(letter.is_given_up() && !letter.progress.given_up.is_empty());
                    prop_assert_eq!(letter.round, job.round + 1);
                    prop_assert!(self.ledger.touched, "nobody was ever asked");
                    return self.gave_up(self.ledger.unsettled.iter(), letter);
                }
                Next::Later(..) => prop_assert!(false, "nobody put it off"),
                Next::Wait(rung, next) => {
                    self.goes_on(*rung, next)?;
                    prop_assert_eq!(next.round, job.round + 1);
                    let late = self.world.late[job.round as usize % self.world.late.len()];
                    self.now += rung.as_duration() + Duration::from_millis(late);
                    // As the broker brings it back.
                    let back = Job::decode(&next.encode()).unwrap();
                    prop_assert_eq!(&back, &**next);
                    job = back;
                    // Given up ones are not in the job any more.
                    let targets = job.targets.iter().flatten();
                    self.ledger.unsettled = targets
                        .map(|target| self.key(target.registration, target.provider))
                        .collect();
                }
            }
        }
        Err(TestCaseError::fail("it never ended"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Whatever happens to whichever device in whichever round: nobody is asked before the provider's floor, after the expiry, oftener
    /// than the ladder has rungs, or after a maybe at another provider; it ends; and what it ends as is what happened.
    #[test]
    fn every_life_is_told_as_it_was(world in any_world()) {
        Life::new(world).live()?;
    }

    /// The ladder by itself: no rung is shorter than the one of its try, nor than what was asked for, as far as there are such; and
    /// there are as many as tries, less the first.
    #[test]
    fn a_rung_is_never_too_short((ladder, follows_advice) in any_ladder(), tries in 0_u32..12, seconds in 0_u64..2_000, asked: bool) {
        let wanted = Duration::from_secs(seconds);
        let pause = if asked { Pause::Asked(wanted) } else { Pause::AtLeast(wanted) };
        let last = ladder.rungs().last().unwrap().as_duration();
        match ladder.rung_after(tries, pause) {
            None => prop_assert!(tries == 0 || tries >= ladder.tries_max()),
            Some(rung) => {
                prop_assert!(tries < ladder.tries_max());
                let binding = asked || follows_advice;
                let own = ladder.rungs()[tries as usize - 1].as_duration();
                prop_assert!(rung.as_duration() >= own);
                prop_assert!(!binding || rung.as_duration() >= wanted.min(last));
            }
        }
        prop_assert!(ladder.rung_for(wanted).as_duration() >= wanted.min(last));
    }
}
