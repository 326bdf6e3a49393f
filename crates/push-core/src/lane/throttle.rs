//! What a provider's "too many" means for its lane: nothing goes out for as long as it asks, then more and more (Firebase
//! docs, "Best practices when sending FCM messages at scale"). After an outage it goes on in the same way: what has piled up
//! meanwhile must not come down on a provider that has just got up.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// So many targets must be refused before "too many" is taken for the project's: until then it may be one device's own
/// (FCM counts both).
const TARGETS_MIN: usize = 3;
/// Within so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Pushes a second that need no ramp.
const GENTLE: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Throttle {
    pause: Duration,
    ramp: Duration,
    full: f64,
    rate: Rate,
    refused: Refused,
    held: Option<Held>,
}

/// A pause, and the ramp behind it.
#[derive(Debug)]
struct Held {
    /// Whether the provider asked for it.
    asked: bool,
    until: Instant,
    /// Pushes a second at the end of the ramp.
    full: f64,
    sent: f64,
}

/// Pushes of the last seconds: the last whole window, and the one that runs.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    before: u32,
    now: u32,
}

#[derive(Debug, Default)]
struct Refused {
    since: Option<Instant>,
    targets: HashSet<u64>,
}

impl Throttle {
    pub(super) fn new(pause: Duration, ramp: Duration, full: f64) -> Self {
        Self {
            pause,
            ramp,
            full,
            rate: Rate::default(),
            refused: Refused::default(),
            held: None,
        }
    }

    /// How long a push is to stay away; `None`: it may go.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let held = self.held.as_ref()?;
        if now < held.until {
            return Some(held.until - now);
        }
        let since = now - held.until;
        if since >= self.ramp {
            self.held = None;
            return None;
        }
        // The rate grows evenly, so what may have gone grows with the square of the time. Who did not ask for less gets at
        // once what needs no ramp: a lane with little to do must not put it back for milliseconds.
        let growth = held.full / (2.0 * self.ramp.as_secs_f64());
        let at_once = if held.asked { 0.0 } else { GENTLE };
        let seconds = since.as_secs_f64();
        let allowed = 1.0 + at_once * seconds + growth * seconds.powi(2);
        if held.sent + 1.0 <= allowed.max(at_once) {
            return None;
        }
        let root = (at_once.powi(2) + 4.0 * growth * held.sent).sqrt();
        let next = Duration::from_secs_f64((root - at_once) / (2.0 * growth));
        Some(next.saturating_sub(since))
    }

    /// A push goes out.
    pub(super) fn goes(&mut self, now: Instant) {
        self.rate.count(now);
        if let Some(held) = &mut self.held {
            held.sent += 1.0;
        }
    }

    /// The provider asked for less, for `target`, maybe for so long. One target alone cannot stop the lane for long.
    pub(super) fn too_much(&mut self, asked: Option<Duration>, target: u64, now: Instant) {
        let pause = match (asked, self.refused.are_many(target, now)) {
            (Some(asked), true) => asked,
            (Some(asked), false) => asked.min(self.pause),
            (None, true) => self.pause,
            (None, false) => return,
        };
        let until = now + pause;
        // What was under way together says the same; a refusal on the ramp begins it anew.
        if pause.is_zero() || self.held.as_ref().is_some_and(|held| held.until >= until) {
            return;
        }
        let full = self.rate.per_second().max(GENTLE);
        let before = self.held.as_ref().filter(|held| held.asked);
        let full = before.map_or(full, |held| held.full);
        self.held = Some(Held {
            asked: true,
            until,
            full,
            sent: 0.0,
        });
    }

    /// The provider is back after an outage: the way up begins anew, also where there was one already.
    pub(super) fn is_back(&mut self, now: Instant) {
        let before = self.held.take().filter(|held| held.asked);
        self.held = Some(Held {
            asked: before.is_some(),
            until: before.as_ref().map_or(now, |held| held.until.max(now)),
            full: before.map_or(self.full, |held| held.full),
            sent: 0.0,
        });
    }

    /// Whether it holds anything back that the provider asked for.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        let over = |held: &Held| now >= held.until + self.ramp;
        self.held
            .as_ref()
            .is_some_and(|held| held.asked && !over(held))
    }
}

impl Rate {
    fn count(&mut self, now: Instant) {
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(over) {
            *self = Self {
                since: Some(now),
                before: self.now,
                now: 0,
            };
        }
        self.now = self.now.saturating_add(1);
    }

    fn per_second(&self) -> f64 {
        f64::from(self.before.max(self.now)) / WINDOW.as_secs_f64()
    }
}

impl Refused {
    fn are_many(&mut self, target: u64, now: Instant) -> bool {
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(over) {
            self.since = Some(now);
            self.targets.clear();
        }
        if self.targets.len() < TARGETS_MIN {
            self.targets.insert(target);
        }
        self.targets.len() >= TARGETS_MIN
    }
}
