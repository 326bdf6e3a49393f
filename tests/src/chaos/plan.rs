//! What will be broken, and when: decided by the seed alone, before anything runs.
//!
//! The same seed and the same numbers give the same plan. What the programs make of it differs from run to run,
//! because they are real processes on a real machine.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::dice::Dice;
use crate::sim::Provider;

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Api(usize),
    Worker(usize),
    Broker,
    Database,
}

/// The other end of a program's wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// Those who call the API.
    Clients,
    Database,
    Broker,
    Fcm,
    Expo,
}

/// A wire: whose, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wire {
    pub(crate) of: Target,
    pub(crate) to: End,
}

/// What happens to a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// All connections end, new ones as well for some time.
    Cut(Duration),
    /// All connections end.
    Reset,
    /// No byte gets through for some time.
    Stall(Duration),
    /// The server is told that the client has said all.
    HalfClose,
    /// What is connected hears nothing any more.
    Vanish,
    /// For some time (the first) everything takes longer (the second).
    Delay(Duration, Duration),
}

/// A queue of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Jobs,
    /// The rung of this number.
    Rung(usize),
    Dead,
}

/// How a whole provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    Down,
    Hang,
    Unavailable,
    /// Every answer takes so long.
    Slow(Duration),
}

/// One stroke of bad luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Wire(Wire, Break),
    /// SIGKILL; started again after that.
    Kill(Target, Duration),
    /// SIGTERM, the end, and a new start.
    Restart(Target),
    /// SIGSTOP, and SIGCONT after that.
    Freeze(Target, Duration),
    /// The broker is killed, its disk wiped, and it starts again after that.
    Wipe(Duration),
    /// All messages of a queue are thrown away.
    Purge(Lane),
    /// A queue is deleted.
    Delete(Lane),
    /// Jobs that were published before are published again, so many times each.
    Duplicate(usize),
    Provider(Provider, Outage, Duration),
}

/// A fault and its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// What runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) apis: usize,
    pub(crate) workers: usize,
    pub(crate) rungs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Wire,
    KillWorker,
    KillApi,
    RestartWorker,
    RestartApi,
    FreezeWorker,
    FreezeApi,
    KillBroker,
    FreezeBroker,
    Wipe,
    KillDatabase,
    FreezeDatabase,
    Purge,
    Delete,
    Duplicate,
    Provider,
}

/// How often each kind comes. A server that starts again takes everything down with it for seconds, so it is rare.
const KINDS: &[(Kind, usize)] = &[
    (Kind::Wire, 42),
    (Kind::KillWorker, 12),
    (Kind::KillApi, 5),
    (Kind::RestartWorker, 4),
    (Kind::RestartApi, 3),
    (Kind::FreezeWorker, 6),
    (Kind::FreezeApi, 2),
    (Kind::KillBroker, 1),
    (Kind::FreezeBroker, 2),
    (Kind::Wipe, 1),
    (Kind::KillDatabase, 2),
    (Kind::FreezeDatabase, 2),
    (Kind::Purge, 4),
    (Kind::Delete, 3),
    (Kind::Duplicate, 6),
    (Kind::Provider, 5),
];

/// The faults of a run, about one every `pace`. Each kind comes once before any is left to chance.
pub(crate) fn faults(seed: u64, count: usize, pace: Duration, shape: Shape) -> Vec<Planned> {
    let mut dice = Dice::new(seed, "faults", 0);
    let mut first: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let mut seen = HashSet::new();
    (0..count)
        .map(|number| {
            let kind = if !first.is_empty() && dice.chance(40) {
                first.swap_remove(dice.below(first.len()))
            } else {
                dice.weigh(KINDS)
            };
            if seen.insert(kind) {
                first.retain(|other| *other != kind);
            }
            let moment = pace * u32::try_from(number).unwrap_or(u32::MAX);
            let at = moment
                + pace.mul_f64(f64::from(u32::try_from(dice.below(100)).unwrap_or(0)) / 100.0);
            let fault = fault(kind, &mut dice, shape);
            Planned { at, fault }
        })
        .collect()
}

fn fault(kind: Kind, dice: &mut Dice, shape: Shape) -> Fault {
    let api = Target::Api(dice.below(shape.apis));
    let worker = Target::Worker(dice.below(shape.workers));
    match kind {
        Kind::Wire => {
            let wire = wire(dice, api, worker);
            Fault::Wire(wire, broken(dice))
        }
        Kind::KillWorker => Fault::Kill(worker, dice.millis(0, 3_000)),
        Kind::KillApi => Fault::Kill(api, dice.millis(0, 3_000)),
        Kind::RestartWorker => Fault::Restart(worker),
        Kind::RestartApi => Fault::Restart(api),
        Kind::FreezeWorker => Fault::Freeze(worker, freeze(dice)),
        Kind::FreezeApi => Fault::Freeze(api, dice.millis(500, 6_000)),
        Kind::KillBroker => Fault::Kill(Target::Broker, dice.millis(0, 2_000)),
        Kind::FreezeBroker => Fault::Freeze(Target::Broker, dice.millis(500, 8_000)),
        Kind::Wipe => Fault::Wipe(dice.millis(0, 2_000)),
        Kind::KillDatabase => Fault::Kill(Target::Database, dice.millis(0, 3_000)),
        Kind::FreezeDatabase => Fault::Freeze(Target::Database, dice.millis(500, 6_000)),
        Kind::Purge => Fault::Purge(lane(dice, shape)),
        Kind::Delete => Fault::Delete(lane(dice, shape)),
        Kind::Duplicate => Fault::Duplicate(1 + dice.below(3)),
        Kind::Provider => {
            let provider = dice.pick(&[Provider::Fcm, Provider::Expo]);
            let slow = dice.millis(300, 3_000);
            let outage = dice.pick(&[
                Outage::Down,
                Outage::Hang,
                Outage::Unavailable,
                Outage::Slow(slow),
            ]);
            Fault::Provider(provider, outage, dice.millis(500, 5_000))
        }
    }
}

/// Now and then longer than a claim lasts, so that another worker takes over and the first one comes back.
fn freeze(dice: &mut Dice) -> Duration {
    if dice.chance(15) {
        dice.millis(21_000, 28_000)
    } else {
        dice.millis(500, 8_000)
    }
}

fn wire(dice: &mut Dice, api: Target, worker: Target) -> Wire {
    let (of, to) = dice.pick(&[
        (api, End::Clients),
        (api, End::Database),
        (api, End::Broker),
        (worker, End::Database),
        (worker, End::Broker),
        (worker, End::Fcm),
        (worker, End::Expo),
    ]);
    Wire { of, to }
}

fn broken(dice: &mut Dice) -> Break {
    let lasting = dice.millis(200, 5_000);
    let slow = dice.millis(20, 400);
    dice.pick(&[
        Break::Cut(lasting),
        Break::Reset,
        Break::Stall(lasting),
        Break::HalfClose,
        Break::Vanish,
        Break::Delay(lasting, slow),
    ])
}

fn lane(dice: &mut Dice, shape: Shape) -> Lane {
    let rung = Lane::Rung(dice.below(shape.rungs));
    dice.weigh(&[(Lane::Jobs, 3), (rung, 4), (Lane::Dead, 1)])
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(number) => write!(f, "push-api {number}"),
            Self::Worker(number) => write!(f, "push-worker {number}"),
            Self::Broker => f.write_str("RabbitMQ"),
            Self::Database => f.write_str("MariaDB"),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, to } = self;
        match to {
            End::Clients => write!(f, "clients → {of}"),
            End::Database => write!(f, "{of} → MariaDB"),
            End::Broker => write!(f, "{of} → RabbitMQ"),
            End::Fcm => write!(f, "{of} → FCM"),
            End::Expo => write!(f, "{of} → Expo"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(wire, Break::Cut(lasting)) => write!(f, "cut {lasting:?}: {wire}"),
            Self::Wire(wire, Break::Reset) => write!(f, "reset: {wire}"),
            Self::Wire(wire, Break::Stall(lasting)) => write!(f, "stall {lasting:?}: {wire}"),
            Self::Wire(wire, Break::HalfClose) => write!(f, "half-close: {wire}"),
            Self::Wire(wire, Break::Vanish) => write!(f, "gone without a farewell: {wire}"),
            Self::Wire(wire, Break::Delay(lasting, slow)) => {
                write!(f, "delay of {slow:?} for {lasting:?}: {wire}")
            }
            Self::Kill(target, down) => write!(f, "SIGKILL, up after {down:?}: {target}"),
            Self::Restart(target) => write!(f, "SIGTERM, and up again: {target}"),
            Self::Freeze(target, lasting) => write!(f, "SIGSTOP for {lasting:?}: {target}"),
            Self::Wipe(down) => write!(f, "SIGKILL, disk wiped, up after {down:?}: RabbitMQ"),
            Self::Purge(lane) => write!(f, "purge: {lane:?}"),
            Self::Delete(lane) => write!(f, "delete the queue: {lane:?}"),
            Self::Duplicate(copies) => write!(f, "old jobs again, {copies} times each: Jobs"),
            Self::Provider(provider, outage, lasting) => {
                write!(f, "{outage:?} for {lasting:?}: {}", provider.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        apis: 2,
        workers: 3,
        rungs: 4,
    };
    const PACE: Duration = Duration::from_millis(1_000);

    #[test]
    fn the_plan_derives_from_the_seed_only() {
        let plan = faults(42, 500, PACE, SHAPE);
        assert_eq!(plan, faults(42, 500, PACE, SHAPE));
        assert_ne!(plan, faults(43, 500, PACE, SHAPE));
        assert!(plan.is_sorted_by_key(|planned| planned.at));
        assert_eq!(plan.len(), 500);
    }

    #[test]
    fn a_short_plan_has_every_kind_of_fault() {
        for seed in 0..50 {
            let plan = faults(seed, 60, PACE, SHAPE);
            let has =
                |what: &dyn Fn(&Fault) -> bool| plan.iter().any(|planned| what(&planned.fault));
            assert!(has(&|fault| matches!(fault, Fault::Wipe(_))), "{seed}");
            assert!(has(&|fault| matches!(
                fault,
                Fault::Kill(Target::Database, _)
            )));
            assert!(has(&|fault| matches!(
                fault,
                Fault::Kill(Target::Worker(_), _)
            )));
            assert!(has(&|fault| matches!(
                fault,
                Fault::Freeze(Target::Worker(_), _)
            )));
            assert!(has(&|fault| matches!(
                fault,
                Fault::Restart(Target::Worker(_))
            )));
            assert!(has(&|fault| matches!(fault, Fault::Delete(_))));
            assert!(has(&|fault| matches!(fault, Fault::Purge(_))));
            assert!(has(&|fault| matches!(fault, Fault::Duplicate(_))));
            assert!(has(&|fault| matches!(fault, Fault::Wire(..))));
        }
    }
}
