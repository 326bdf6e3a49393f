//! The circuit breaker: opens when the lane fails for many targets, lets a few pushes through after a while, and closes
//! when those succeed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// So many targets must fail: one that fails again and again is its own trouble.
const TARGETS_MIN: usize = 10;
/// And for so long: a connection that breaks takes a hundred requests with it, and the next one works.
const FAILING_MIN: Duration = Duration::from_secs(1);
/// Failures that are this far apart have nothing to do with each other.
const FAILING_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Where some succeed, half of the answers of this time must be failures,
const WINDOW: Duration = Duration::from_secs(10);
/// and there must be so many.
const ANSWERS_MIN: u32 = 20;
/// How long it stays open the first time; then twice as long each time.
const OPEN_FIRST: Duration = Duration::from_secs(5);
/// At most, and with its jitter still below the longest wait of what was put back.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Closed for so long, an opening counts as the first.
const HEALED_AFTER: Duration = Duration::from_secs(60);
/// Pushes that go out together to see whether it works again.
const PROBES_MAX: usize = 2;
/// So many must succeed.
const SUCCESSES_MIN: u32 = 3;

/// How a push was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    /// What it says counts for this turn of the breaker only: what was under way when it opened is old news.
    turn: u64,
    probe: bool,
}

impl Leave {
    pub(super) const fn is_probe(self) -> bool {
        self.probe
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    turn: u64,
    /// How often it opened without healing in between.
    openings: u32,
    closed_at: Option<Instant>,
    streak: Streak,
    window: Window,
    dice: StdRng,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: usize, succeeded: u32 },
}

/// Failures without a success in between.
#[derive(Debug, Default)]
struct Streak {
    since: Option<Instant>,
    last: Option<Instant>,
    /// At most [`TARGETS_MIN`].
    targets: HashSet<u64>,
}

/// The answers of the last seconds.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    works: u32,
    fails: u32,
    /// At most [`TARGETS_MIN`].
    targets: HashSet<u64>,
}

impl Breaker {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: State::Closed,
            turn: 0,
            openings: 0,
            closed_at: None,
            streak: Streak::default(),
            window: Window::default(),
            dice: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// How a push may go out; or how long it is to stay away.
    pub(super) fn ask(&mut self, now: Instant) -> Result<Leave, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until - now);
            }
            self.enter(State::HalfOpen {
                probing: 0,
                succeeded: 0,
            });
        }
        let leave = |probe| Leave {
            turn: self.turn,
            probe,
        };
        match self.state {
            State::Closed => Ok(leave(false)),
            State::HalfOpen { probing, .. } if probing < PROBES_MAX => Ok(leave(true)),
            State::HalfOpen { .. } | State::Open { .. } => Err(Duration::ZERO),
        }
    }

    /// A push goes out as it was told.
    pub(super) const fn goes(&mut self, leave: Leave) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && leave.probe
        {
            *probing += 1;
        }
    }

    /// The provider works; true when that closes it.
    pub(super) fn works(&mut self, leave: Leave, now: Instant) -> bool {
        if leave.turn != self.turn {
            return false;
        }
        match &mut self.state {
            State::Closed => {
                self.streak = Streak::default();
                self.window.at(now).works += 1;
            }
            State::HalfOpen { probing, succeeded } => {
                *probing = probing.saturating_sub(1);
                *succeeded += 1;
                if *succeeded >= SUCCESSES_MIN {
                    self.closed_at = Some(now);
                    self.enter(State::Closed);
                    return true;
                }
            }
            State::Open { .. } => {}
        }
        false
    }

    /// The provider fails for `target`.
    pub(super) fn fails(&mut self, leave: Leave, entered: Instant, target: u64, now: Instant) {
        if leave.turn != self.turn {
            return;
        }
        match self.state {
            State::Closed => {
                let streak = self.streak.add(entered, target, now);
                let window = self.window.at(now);
                window.fails += 1;
                add(&mut window.targets, target);
                if streak || window.is_bad(now) {
                    self.open(now);
                }
            }
            State::HalfOpen { .. } => self.open(now),
            State::Open { .. } => {}
        }
    }

    /// A push that went out for nothing leaves its place to another one.
    pub(super) const fn nothing_known(&mut self, leave: Leave) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && leave.turn == self.turn
        {
            *probing = probing.saturating_sub(1);
        }
    }

    fn open(&mut self, now: Instant) {
        let healed = |closed: Instant| now.saturating_duration_since(closed) >= HEALED_AFTER;
        if self.state == State::Closed && self.closed_at.is_some_and(healed) {
            self.openings = 0;
        }
        let doubled = 2_u32.saturating_pow(self.openings);
        let least = OPEN_FIRST.saturating_mul(doubled).min(OPEN_MAX);
        let until = now + least.mul_f64(self.dice.random_range(1.0..1.25));
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open { until });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
        self.streak = Streak::default();
        self.window = Window::default();
    }
}

impl Streak {
    /// True when that was enough.
    fn add(&mut self, entered: Instant, target: u64, now: Instant) -> bool {
        let stale = |last: Instant| now.saturating_duration_since(last) > FAILING_PAUSE_MAX;
        if self.last.is_some_and(stale) {
            *self = Self::default();
        }
        // A request that hangs fails from its beginning.
        let since = *self.since.get_or_insert(entered);
        self.last = Some(now);
        add(&mut self.targets, target);
        self.targets.len() >= TARGETS_MIN && now.saturating_duration_since(since) >= FAILING_MIN
    }
}

impl Window {
    fn at(&mut self, now: Instant) -> &mut Self {
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(over) {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        self
    }

    fn is_bad(&self, now: Instant) -> bool {
        let long = |since: Instant| now.saturating_duration_since(since) >= FAILING_MIN;
        let answers = self.works + self.fails;
        let many = answers >= ANSWERS_MIN && self.targets.len() >= TARGETS_MIN;
        many && self.fails * 2 >= answers && self.since.is_some_and(long)
    }
}

fn add(targets: &mut HashSet<u64>, target: u64) {
    if targets.len() < TARGETS_MIN {
        targets.insert(target);
    }
}
