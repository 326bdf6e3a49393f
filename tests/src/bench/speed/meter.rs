//! Who spent how much CPU while something was measured, and what it comes to for one notification.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// What a raw part needs that stands for ours.
    Raw,
    /// `push-api`.
    Api,
    /// `push-worker`.
    Worker,
    /// RabbitMQ.
    Broker,
    /// MariaDB.
    Database,
    /// `push-sim`.
    Sim,
    /// The callers.
    Load,
}

/// Whom it belongs to in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Own,
    Servers,
    Rest,
}

impl Role {
    const ALL: [Self; 7] = [
        Self::Raw,
        Self::Api,
        Self::Worker,
        Self::Broker,
        Self::Database,
        Self::Sim,
        Self::Load,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::Sim => "sim",
            Self::Load => "load",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    const fn side(self) -> Side {
        match self {
            Self::Raw | Self::Api | Self::Worker => Side::Own,
            Self::Broker | Self::Database => Side::Servers,
            Self::Sim | Self::Load => Side::Rest,
        }
    }
}

/// The processes of each role.
pub(super) type Cast = Vec<(Role, u32)>;

/// A cast as another process is told of it.
pub(super) fn cast_json(cast: &Cast) -> Value {
    cast.iter()
        .map(|(role, pid)| json!([role.name(), pid]))
        .collect()
}

/// Reads [`cast_json`].
pub(super) fn cast_of(json: &Value) -> Cast {
    let pairs = json.as_array().into_iter().flatten();
    let pair = |pair: &Value| {
        let pid = u32::try_from(pair[1].as_u64()?).ok()?;
        Some((Role::parse(pair[0].as_str()?)?, pid))
    };
    pairs.filter_map(pair).collect()
}

/// A measurement that goes on.
#[derive(Debug)]
pub(super) struct Meter {
    since: Instant,
    readings: Vec<(Role, u32, u64)>,
}

/// Microseconds of CPU by role.
pub(super) type Spent = BTreeMap<Role, u64>;

impl Meter {
    /// From now on.
    pub(super) fn start(cast: &Cast) -> Self {
        let read = |(role, pid): &(Role, u32)| Some((*role, *pid, Process::read(*pid)?.own));
        Self {
            readings: cast.iter().filter_map(read).collect(),
            since: Instant::now(),
        }
    }

    /// Until now. Who ended meanwhile counts as if it had done nothing: nobody should.
    pub(super) fn stop(self) -> (Duration, Spent) {
        let elapsed = self.since.elapsed();
        let mut spent = Spent::new();
        for (role, pid, before) in self.readings {
            let now = Process::read(pid).map_or(before, |process| process.own);
            *spent.entry(role).or_default() += now.saturating_sub(before);
        }
        (elapsed, spent)
    }
}

/// What was spent, as another process tells of it.
pub(super) fn spent_json(spent: &Spent) -> Value {
    spent
        .iter()
        .map(|(role, micros)| (role.name().to_owned(), Value::from(*micros)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Reads [`spent_json`].
pub(super) fn spent_of(json: &Value) -> Spent {
    let pairs = json.as_object().into_iter().flatten();
    pairs
        .filter_map(|(name, micros)| Some((Role::parse(name)?, micros.as_u64()?)))
        .collect()
}

/// Microseconds of CPU for one notification.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// Of our programs, or of what stands for them.
    pub(super) own: f64,
    /// Of broker and database.
    pub(super) servers: f64,
    /// Of those who play the providers and the callers.
    pub(super) rest: f64,
}

impl Costs {
    /// What was spent on so many notifications.
    pub(super) fn of(spent: &Spent, notifications: usize) -> Self {
        let side = |wanted| {
            let of_side = spent.iter().filter(|(role, _)| role.side() == wanted);
            let sum: u64 = of_side.map(|(_, micros)| micros).sum();
            sum as f64 / notifications.max(1) as f64
        };
        Self {
            own: side(Side::Own),
            servers: side(Side::Servers),
            rest: side(Side::Rest),
        }
    }

    /// All of it.
    pub(super) fn total(self) -> f64 {
        self.own + self.servers + self.rest
    }

    /// What so many cores can do in a second, if nothing ever waits.
    pub(super) fn rate(self, cores: usize) -> f64 {
        cores as f64 * 1_000_000.0 / self.total().max(f64::MIN_POSITIVE)
    }
}

impl std::ops::Add for Costs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            own: self.own + other.own,
            servers: self.servers + other.servers,
            rest: self.rest + other.rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_one_notification_by_side() {
        let spent = Spent::from([
            (Role::Api, 300),
            (Role::Worker, 500),
            (Role::Broker, 100),
            (Role::Database, 700),
            (Role::Sim, 150),
            (Role::Load, 50),
        ]);
        let costs = Costs::of(&spent, 10);
        let wanted = Costs {
            own: 80.0,
            servers: 80.0,
            rest: 20.0,
        };
        assert_eq!(costs, wanted);
        assert!((costs.total() - 180.0).abs() < 1e-9);
        assert_eq!(Costs::of(&Spent::new(), 0), Costs::default());
    }

    #[test]
    fn the_floor_is_what_the_cores_can_do_with_the_sum_of_the_parts() {
        // The parts of the table that this bench was made after: 5,640 a second on two cores.
        let accept = Costs {
            own: 27.0,
            servers: 0.0,
            rest: 20.0,
        };
        let others = Costs {
            own: 89.0,
            servers: 205.0,
            rest: 13.6,
        };
        let floor = accept + others;
        assert!((floor.own - 116.0).abs() < 1e-9);
        assert!((floor.rate(2) - 5_640.0).abs() < 1.0, "{}", floor.rate(2));
        assert!((floor.rate(4) / floor.rate(2) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn another_process_is_told_and_tells() {
        let cast = vec![(Role::Broker, 7), (Role::Database, 8), (Role::Database, 9)];
        assert_eq!(cast_of(&cast_json(&cast)), cast);
        let spent = Spent::from([(Role::Raw, 5), (Role::Load, 6)]);
        assert_eq!(spent_of(&spent_json(&spent)), spent);
    }

    #[test]
    fn the_cpu_of_a_process_is_seen() {
        let meter = Meter::start(&vec![(Role::Raw, std::process::id())]);
        // Ticks are ten milliseconds; whoever sees none after so much work never will.
        let mut work = 1_u64;
        let spent = loop {
            for number in 0..10_000_000_u64 {
                work = std::hint::black_box(work.wrapping_mul(31).wrapping_add(number));
            }
            let now = Process::read(std::process::id()).unwrap().own;
            if now > meter.readings[0].2 {
                break meter.stop().1;
            }
        };
        assert!(spent[&Role::Raw] > 0);
    }
}
