//! The providers' lanes in this worker: where pushes ask for leave, and wait for a moment if the lane is merely busy.
//! What is decided there, `push_core::lane` decides.

pub mod keeper;

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use push_core::lane::{self, Barrier, Entry, Lane, LaneReport, LaneSettings, LaneState, Signal};
use push_core::outcome::Outcome;
use push_core::provider::{PerProvider, Provider};
use push_core::token::Token;
use push_providers::{Expo, Fcm};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::metrics;
use crate::settings::Settings;

/// What the lanes need to know.
pub fn lane_settings(settings: &Settings) -> PerProvider<LaneSettings> {
    let lanes = usize::from(settings.fcm.is_some()) + usize::from(settings.expo.is_some());
    let share = under_way_max(settings.prefetch, lanes);
    let requests = settings.fcm.as_ref().map_or(1, |fcm| fcm.max_in_flight);
    // What goes out in a second: more would wait for the rate, and look as if Expo were slow.
    let rate = settings.expo.as_ref().map_or(1, |expo| expo.rate.get());
    PerProvider {
        fcm: Fcm::lane(share.min(requests), seed()),
        expo: Expo::lane(share.min(usize::try_from(rate).unwrap_or(share)), seed()),
    }
}

/// Pushes that may be under way in a lane: its share of what the worker may have in hand. Where there are two, what one may
/// not have under way is room for those who wait while it is not known yet whether a full lane gets on: else the first
/// seconds of a hang would fill the worker, and delay the other provider.
fn under_way_max(prefetch: u16, lanes: usize) -> usize {
    (usize::from(prefetch) / lanes.max(1)).max(1)
}

fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// A push that its lane does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    pub barrier: Barrier,
    /// Not before that it is worth asking again.
    pub wait: Duration,
}

/// The lanes of the providers.
#[derive(Debug)]
pub struct Lanes(PerProvider<Gate>);

/// A lane, and who waits in it.
#[derive(Debug)]
struct Gate {
    provider: Provider,
    lane: Mutex<Watched>,
    /// Somebody is back, or something has changed.
    changed: Notify,
    targets: RandomState,
}

#[derive(Debug)]
struct Watched {
    lane: Lane,
    /// As it was told last.
    told: LaneState,
    /// They go before those who come now.
    waiting: usize,
}

impl Lanes {
    /// A lane for each provider.
    pub fn new(settings: PerProvider<LaneSettings>) -> Self {
        Self(PerProvider {
            fcm: Gate::new(Provider::Fcm, settings.fcm),
            expo: Gate::new(Provider::Expo, settings.expo),
        })
    }

    /// Leave to send one push to `provider`; waits for it where the lane is merely busy.
    pub async fn enter(&self, provider: Provider) -> Result<Pass<'_>, PutBack> {
        let entered = self.0.get(provider).enter().await;
        if let Err(put_back) = &entered {
            metrics::postponed(provider, put_back.barrier);
        }
        entered
    }

    /// An operator's will, also for those who wait.
    pub fn set_paused(&self, paused: PerProvider<bool>) {
        for provider in Provider::ALL {
            let gate = self.0.get(*provider);
            gate.change(|lane, _| lane.set_paused(*paused.get(*provider)));
            gate.changed.notify_waiters();
        }
    }

    /// How the lanes stand.
    pub fn report(&self) -> Vec<LaneReport> {
        let all = Provider::ALL.iter();
        all.map(|provider| self.0.get(*provider).report()).collect()
    }
}

impl Gate {
    fn new(provider: Provider, settings: LaneSettings) -> Self {
        let watched = Watched {
            lane: Lane::new(settings),
            told: LaneState::Open,
            waiting: 0,
        };
        Self {
            provider,
            lane: Mutex::new(watched),
            changed: Notify::new(),
            targets: RandomState::new(),
        }
    }

    async fn enter(&self) -> Result<Pass<'_>, PutBack> {
        let since = Instant::now();
        let mut queued: Option<Queued<'_>> = None;
        let mut woken = pin!(self.changed.notified());
        loop {
            let waited = since.elapsed();
            let (entry, has_room) = self.change(|lane, waiting| {
                let behind = waiting > 0 && queued.is_none();
                (lane.ask(now(), waited, behind), lane.has_room())
            });
            match entry {
                Entry::Go(pass) => {
                    if let Some(queued) = queued {
                        queued.goes(has_room);
                    }
                    let pass = Some(pass);
                    return Ok(Pass { gate: self, pass });
                }
                Entry::Hold(barrier, wait) => return Err(PutBack { barrier, wait }),
                Entry::Wait(look) => {
                    queued.get_or_insert_with(|| Queued::behind(self));
                    // Whoever merely looks keeps its place.
                    if timeout(look, woken.as_mut()).await.is_ok() {
                        woken.set(self.changed.notified());
                    }
                }
            }
        }
    }

    /// Does something with the lane, and tells when its state is another one afterwards: once, not for each push.
    fn change<T>(&self, change: impl FnOnce(&mut Lane, usize) -> T) -> T {
        let mut watched = self.watched();
        let waiting = watched.waiting;
        let result = change(&mut watched.lane, waiting);
        let state = watched.lane.state(now());
        let before = std::mem::replace(&mut watched.told, state);
        drop(watched);
        if state != before {
            self.tell(before, state);
        }
        result
    }

    fn tell(&self, before: LaneState, state: LaneState) {
        let provider = self.provider.as_str();
        match state {
            LaneState::Broken => {
                metrics::breaker_opened(self.provider);
                tracing::warn!(
                    provider,
                    "the provider fails for many targets: its jobs wait, a few try it from time to time"
                );
            }
            LaneState::Throttled => {
                tracing::warn!(
                    provider,
                    "the provider asked for fewer pushes: its jobs wait, then go on slowly"
                );
            }
            LaneState::Paused => {
                tracing::warn!(provider, "an operator paused the provider: its jobs wait");
            }
            LaneState::Open => {
                tracing::info!(
                    provider,
                    was = before.as_str(),
                    "the provider's lane is open again"
                );
            }
        }
    }

    fn report(&self) -> LaneReport {
        self.change(|lane, _| LaneReport {
            provider: self.provider,
            state: lane.state(now()),
            in_flight: lane.in_flight(),
            limit: lane.limit(),
        })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane's clock.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Somebody who waits in a lane.
struct Queued<'a> {
    gate: &'a Gate,
    /// Whatever woke this one is for the next, too.
    wakes_next: bool,
}

impl<'a> Queued<'a> {
    fn behind(gate: &'a Gate) -> Self {
        gate.watched().waiting += 1;
        Self {
            gate,
            wakes_next: true,
        }
    }

    /// The next is woken only where there is room for it: who wakes in vain goes to the end.
    fn goes(mut self, has_room: bool) {
        self.wakes_next = has_room;
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.gate.watched().waiting -= 1;
        if self.wakes_next {
            self.gate.changed.notify_one();
        }
    }
}

/// One push under way.
#[derive(Debug)]
pub struct Pass<'a> {
    gate: &'a Gate,
    pass: Option<lane::Pass>,
}

impl Pass<'_> {
    /// The provider answered, or did not.
    pub fn ended(mut self, token: &Token, outcome: &Outcome) {
        let target = self.gate.targets.hash_one(token);
        self.hand_back(Signal::of(outcome), target);
    }

    fn hand_back(&mut self, signal: Signal, target: u64) {
        if let Some(pass) = self.pass.take() {
            self.gate
                .change(|lane, _| lane.ended(pass, signal, target, now()));
            self.gate.changed.notify_one();
        }
    }
}

impl Drop for Pass<'_> {
    /// Not sent, or given up: nothing is known.
    fn drop(&mut self) {
        self.hand_back(Signal::Nothing, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{FCM_MAX_IN_FLIGHT, PREFETCH};

    const LOOK: Duration = Duration::from_millis(100);

    /// How much the worker has in hand at most, of one of two providers, when that begins to hang.
    fn in_hand_at_most(prefetch: u16, per_second: u32) -> usize {
        let mut lane = Lane::new(Fcm::lane(under_way_max(prefetch, 2), 1));
        let pace = Duration::from_secs(1) / per_second;
        let (mut waiting, mut looked, mut most) = (Vec::new(), Duration::ZERO, 0);
        let since = now();
        let mut passes = Vec::new();
        let mut ask = |at: Duration, came: Duration, behind: bool| {
            let entry = lane.ask(since + at, at - came, behind);
            let waits = matches!(entry, Entry::Wait(_));
            if let Entry::Go(pass) = entry {
                passes.push(pass);
            }
            (waits, passes.len())
        };
        for number in 0..5 * per_second {
            let at = pace * number;
            if at - looked >= LOOK {
                looked = at;
                waiting.retain(|came| ask(at, *came, false).0);
            }
            let (waits, under_way) = ask(at, at, !waiting.is_empty());
            waiting.extend(waits.then_some(at));
            most = most.max(under_way + waiting.len());
        }
        most
    }

    #[test]
    fn a_provider_that_begins_to_hang_leaves_room_for_the_other() {
        // By default, with as much for the other as arrives in 100 ms.
        let most = in_hand_at_most(2_000, 650);
        assert!(most <= 2_000 - 65, "{most}");
        let (alone, least) = (under_way_max(2_000, 1), under_way_max(1, 2));
        assert_eq!((alone, least), (2_000, 1));
        let requests: usize = FCM_MAX_IN_FLIGHT.default.parse().unwrap();
        let prefetch: u16 = PREFETCH.default.parse().unwrap();
        assert_eq!(under_way_max(prefetch, 2), requests, "FCM gets what it may");
    }

    fn gate_of(in_flight_max: usize) -> Gate {
        Gate::new(Provider::Fcm, Fcm::lane(in_flight_max, 1))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_in_the_order_in_which_they_came() {
        let gate = gate_of(1);
        let order = Mutex::new(Vec::new());
        let first = gate.enter().await.unwrap();
        let one = async |number: u32| {
            let pass = gate.enter().await.unwrap();
            order.lock().unwrap().push(number);
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(pass);
        };
        let ended = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(first);
        };
        tokio::join!(one(1), one(2), one(3), one(4), one(5), ended);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_learn_that_the_lane_does_not_get_on() {
        let gate = gate_of(1);
        let _hangs = gate.enter().await.unwrap();
        let since = Instant::now();
        let all = futures::future::join_all((0..5).map(|_| gate.enter())).await;
        assert!(all.iter().all(Result::is_err));
        assert!(since.elapsed() < Duration::from_millis(2_200));
    }
}
