//! A provider's lane: which pushes may go out to it now, which wait a moment, and which are put back (P6).
//!
//! One provider's trouble is its own: each lane has its own [limit](limit), [breaker](breaker) and
//! [throttle](throttle), and may be paused by an operator. What a lane does not take goes back to the broker without
//! an attempt. A lane that is merely busy lets pushes wait; that is the ordinary backpressure of a burst. A lane that
//! is full and does not get on takes no more, so that it never fills the worker.
//!
//! Pure: the clock comes in with each call, and the dice with a seed.

mod breaker;
mod limit;
mod throttle;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ladder::RetryDelay;
use crate::outcome::{Outcome, Pause, Trouble};
use crate::provider::{Provider, spelled};
use breaker::{Breaker, Leave};
use limit::Limit;
use throttle::Throttle;

spelled! {
    /// How a lane stands, as operators are told: from the best to what weighs most.
    LaneState {
        /// All is well.
        Open = "open",
        /// The provider asked for less: nothing goes out for a while, then more and more.
        Throttled = "throttled",
        /// The provider fails: only a few pushes go out, to see whether it works again.
        Broken = "broken",
        /// An operator has stopped it.
        Paused = "paused",
    }
}

spelled! {
    /// Why a lane takes no push now.
    Barrier {
        /// An operator has stopped it.
        Paused = "paused",
        /// The provider fails.
        Broken = "broken",
        /// The provider asked for less.
        Throttled = "throttled",
        /// It has all that it can take in hand, and does not get on with it.
        Full = "full",
    }
}

/// How a worker's lane stands: part of the worker's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneReport {
    /// Whose lane it is.
    pub provider: Provider,
    /// How it stands.
    pub state: LaneState,
    /// Pushes under way.
    pub in_flight: usize,
    /// How many there may be at the moment.
    pub limit: usize,
}

/// What a worker tells of itself, for whoever looks at the service as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// The lanes of the providers that it is set up for.
    pub lanes: Vec<LaneReport>,
    /// The rungs that it waits on: a queue each.
    pub retry_delays: Vec<RetryDelay>,
    /// How long Expo receipts wait: a queue each.
    pub receipt_delays: Vec<RetryDelay>,
}

/// What a lane needs to know.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Pushes under way at most.
    pub in_flight_max: usize,
    /// How long to stay away when the provider says "too many" and not for how long.
    pub pause: Duration,
    /// How long it takes after such a pause, or an outage, until all may go again.
    pub ramp: Duration,
    /// Pushes a second that the provider takes of one project at most: where the way up after an outage leads to.
    pub full: f64,
    /// Of the dice.
    pub seed: u64,
}

/// How long half of what is under way may be on its way before the lane counts as one that does not get on: longer than a
/// provider takes that is slow, and well.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a push waits for its turn in a lane that gets on.
const TURN_MAX: Duration = Duration::from_secs(3);
/// Nobody looks more often than that whether the lane gets on.
const LOOK: Duration = Duration::from_millis(100);

/// Whether a push may go out.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// Now. The pass is handed back when it is known what came of it.
    Go(Pass),
    /// Not yet, but soon: when another one is back. If none is for so long, to be asked again.
    Wait(Duration),
    /// Not now: back to the broker, for about so long.
    Hold(Barrier, Duration),
}

/// The right to have one push under way.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a pass that is not handed back takes up room for ever"]
pub struct Pass {
    number: u64,
    entered: Instant,
    leave: Leave,
}

/// What came of a push, as far as its lane cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The provider works: it took the message, or had something against this one.
    Works,
    /// The provider fails, or cannot be reached.
    Fails,
    /// The provider asks for less, maybe for so long.
    TooMuch(Option<Duration>),
    /// Nothing is known: it was not sent.
    Nothing,
}

impl Signal {
    /// What an outcome says about the provider as a whole.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted(_)
            | Outcome::TokenDead(_)
            | Outcome::Refused(_)
            | Outcome::OperatorMustAct { .. } => Self::Works,
            Outcome::Retry(retry) => match (retry.trouble, retry.pause) {
                (Trouble::Device, _) => Self::Works,
                (Trouble::Provider, _) => Self::Fails,
                (Trouble::Quota, Pause::Asked(asked)) => Self::TooMuch(Some(asked)),
                (Trouble::Quota, Pause::AtLeast(_)) => Self::TooMuch(None),
            },
        }
    }
}

/// One provider's lane in one worker.
#[derive(Debug)]
pub struct Lane {
    paused: bool,
    breaker: Breaker,
    throttle: Throttle,
    limit: Limit,
    /// What is under way: since when, in the order of entry.
    under_way: BTreeMap<u64, Instant>,
    entered: u64,
}

impl Lane {
    /// A lane in which all is well.
    #[must_use]
    pub fn new(settings: LaneSettings) -> Self {
        Self {
            paused: false,
            breaker: Breaker::new(settings.seed),
            throttle: Throttle::new(settings.pause, settings.ramp, settings.full),
            limit: Limit::new(settings.in_flight_max),
            under_way: BTreeMap::new(),
            entered: 0,
        }
    }

    /// An operator stops it, or lets it go on.
    pub const fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether a push may go out that has waited in the lane for so long; `behind` others, none that comes first.
    pub fn ask(&mut self, now: Instant, waited: Duration, behind: bool) -> Entry {
        if self.paused {
            return Entry::Hold(Barrier::Paused, Duration::ZERO);
        }
        let leave = match self.breaker.ask(now) {
            Ok(leave) => leave,
            Err(wait) => return Entry::Hold(Barrier::Broken, wait),
        };
        if let Some(wait) = self.throttle.wait(now) {
            return Entry::Hold(Barrier::Throttled, wait);
        }
        // A probe passes those that hang.
        if !leave.is_probe() && (behind || !self.has_room()) {
            let patience = PATIENCE.saturating_sub(self.under_way_for(now));
            let patience = patience.min(TURN_MAX.saturating_sub(waited));
            return if patience.is_zero() {
                Entry::Hold(Barrier::Full, Duration::ZERO)
            } else {
                Entry::Wait(patience.max(LOOK))
            };
        }
        self.throttle.goes(now);
        self.breaker.goes(leave);
        self.entered += 1;
        self.under_way.insert(self.entered, now);
        Entry::Go(Pass {
            number: self.entered,
            entered: now,
            leave,
        })
    }

    /// A push is back. `target` tells targets apart: the lane is judged by many, never by one.
    pub fn ended(&mut self, pass: Pass, signal: Signal, target: u64, now: Instant) {
        let Pass {
            number,
            entered,
            leave,
        } = pass;
        let was_full = self.under_way.len() * 2 >= self.limit.now();
        self.under_way.remove(&number);
        if signal != Signal::Nothing {
            self.limit.took(entered, now);
        }
        match signal {
            Signal::Works => {
                if was_full {
                    self.limit.works();
                }
                if self.breaker.works(leave, now) {
                    self.limit.begin_small();
                    self.throttle.is_back(now);
                }
            }
            Signal::Fails => self.breaker.fails(leave, entered, target, now),
            // It is there, and says so.
            Signal::TooMuch(asked) => {
                self.limit.too_much(entered, now);
                self.breaker.works(leave, now);
                self.throttle.too_much(asked, target, now);
            }
            Signal::Nothing => self.breaker.nothing_known(leave),
        }
    }

    /// How long half of what is under way has been so: a few targets that hang do not stop the others.
    fn under_way_for(&self, now: Instant) -> Duration {
        let middle = self.under_way.values().nth(self.under_way.len() / 2);
        middle.map_or(Duration::ZERO, |since| {
            now.saturating_duration_since(*since)
        })
    }

    /// Whether one more may be under way.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.under_way.len() < self.limit.now()
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Instant) -> LaneState {
        if self.paused {
            LaneState::Paused
        } else if self.breaker.is_open() {
            LaneState::Broken
        } else if self.throttle.is_on(now) {
            LaneState::Throttled
        } else {
            LaneState::Open
        }
    }

    /// Pushes under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    /// How many there may be now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.now()
    }
}

#[cfg(test)]
mod tests;
