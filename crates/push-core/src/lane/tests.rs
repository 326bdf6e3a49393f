use proptest::prelude::*;

use super::*;

const SETTINGS: LaneSettings = LaneSettings {
    in_flight_max: 100,
    pause: Duration::from_secs(60),
    ramp: Duration::from_secs(60),
    full: 600.0,
    seed: 7,
};

/// A lane and a clock that is moved by hand.
struct Played {
    lane: Lane,
    now: Instant,
    next_target: u64,
}

impl Played {
    fn new() -> Self {
        Self {
            lane: Lane::new(SETTINGS),
            now: Instant::now(),
            next_target: 0,
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn ask(&mut self) -> Entry {
        self.lane.ask(self.now, Duration::ZERO, false)
    }

    #[track_caller]
    fn go(&mut self) -> Pass {
        match self.ask() {
            Entry::Go(pass) => pass,
            other @ (Entry::Wait(_) | Entry::Hold(..)) => panic!("{other:?}"),
        }
    }

    fn why(&mut self) -> Option<Barrier> {
        match self.ask() {
            Entry::Hold(barrier, _) => Some(barrier),
            Entry::Wait(_) => None,
            Entry::Go(pass) => {
                self.end(pass, Signal::Nothing);
                None
            }
        }
    }

    fn end(&mut self, pass: Pass, signal: Signal) {
        self.next_target += 1;
        self.end_for(pass, signal, self.next_target);
    }

    fn end_for(&mut self, pass: Pass, signal: Signal, target: u64) {
        self.lane.ended(pass, signal, target, self.now);
    }

    fn state(&self) -> LaneState {
        self.lane.state(self.now)
    }

    /// So many targets fail, one every 200 ms.
    fn fail(&mut self, targets: u64) {
        for _ in 0..targets {
            let pass = self.go();
            self.pass(200);
            self.end(pass, Signal::Fails);
        }
    }

    /// Until probes may go; how long that took.
    fn until_probes(&mut self) -> Duration {
        let since = self.now;
        loop {
            match self.ask() {
                Entry::Hold(barrier, wait) => {
                    assert_eq!(barrier, Barrier::Broken);
                    self.now += wait;
                }
                Entry::Go(pass) => {
                    self.end(pass, Signal::Nothing);
                    return self.now - since;
                }
                Entry::Wait(_) => panic!("a probe does not wait"),
            }
        }
    }
}

#[test]
fn a_busy_lane_has_others_wait_and_one_that_does_not_get_on_puts_them_back() {
    let mut played = Played::new();
    let passes: Vec<_> = (0..100).map(|_| played.go()).collect();
    assert_eq!(played.ask(), Entry::Wait(PATIENCE), "a burst is no trouble");
    let turn_ends = played.lane.ask(played.now, TURN_MAX - LOOK * 2, false);
    assert_eq!(turn_ends, Entry::Wait(LOOK * 2));
    let waited = played.lane.ask(played.now, TURN_MAX, false);
    assert!(matches!(waited, Entry::Hold(Barrier::Full, _)));
    played.pass(1_999);
    assert_eq!(played.ask(), Entry::Wait(LOOK));
    played.pass(1);
    assert_eq!(played.why(), Some(Barrier::Full));
    passes
        .into_iter()
        .for_each(|pass| played.end(pass, Signal::Works));
    let pass = played.go();
    played.end(pass, Signal::Works);
}

#[test]
fn a_few_targets_that_hang_do_not_stop_the_others() {
    let mut played = Played::new();
    let hanging: Vec<_> = (0..40).map(|_| played.go()).collect();
    played.pass(10_000);
    let fresh: Vec<_> = (0..60).map(|_| played.go()).collect();
    assert_eq!(played.ask(), Entry::Wait(PATIENCE), "most are young");
    assert_eq!(played.state(), LaneState::Open);
    for pass in hanging.into_iter().chain(fresh) {
        played.end(pass, Signal::Nothing);
    }
    assert_eq!(played.lane.in_flight(), 0);
}

#[test]
fn a_provider_that_takes_a_second_is_slow_and_well() {
    let mut played = Played::new();
    for _ in 0..5 {
        let passes: Vec<_> = (0..100).map(|_| played.go()).collect();
        played.pass(1_050);
        assert!(matches!(played.ask(), Entry::Wait(_)), "nobody is put back");
        for pass in passes {
            played.end(pass, Signal::Works);
        }
    }
    assert_eq!(played.lane.limit(), 100);
}

#[test]
fn many_targets_open_the_breaker_and_one_never_does() {
    let mut played = Played::new();
    for _ in 0..200 {
        let pass = played.go();
        played.pass(100);
        played.end_for(pass, Signal::Fails, 1_000);
    }
    assert_eq!(played.state(), LaneState::Open, "one token's trouble");
    played.fail(8);
    assert_eq!(played.state(), LaneState::Open, "too few");
    played.fail(1);
    assert_eq!(played.state(), LaneState::Broken);
    assert_eq!(played.why(), Some(Barrier::Broken));
}

#[test]
fn a_connection_that_breaks_opens_nothing() {
    let mut played = Played::new();
    let passes: Vec<_> = (0..100).map(|_| played.go()).collect();
    played.pass(300);
    passes
        .into_iter()
        .for_each(|pass| played.end(pass, Signal::Fails));
    assert_eq!(played.state(), LaneState::Open);
    // But those that were never answered at all do.
    let passes: Vec<_> = (0..20).map(|_| played.go()).collect();
    played.pass(15_000);
    passes
        .into_iter()
        .for_each(|pass| played.end(pass, Signal::Fails));
    assert_eq!(played.state(), LaneState::Broken);
}

#[test]
fn where_some_succeed_half_of_many_must_fail() {
    let mut played = Played::new();
    for (fails, state) in [(3, LaneState::Open), (6, LaneState::Broken)] {
        for number in 0..60 {
            let Entry::Go(pass) = played.ask() else {
                break;
            };
            played.pass(100);
            let signal = if number % 10 < fails {
                Signal::Fails
            } else {
                Signal::Works
            };
            played.end(pass, signal);
        }
        assert_eq!(played.state(), state, "{fails} of 10");
        played.pass(10_000);
    }
}

#[test]
fn an_open_breaker_probes_with_few_and_closes_when_they_succeed() {
    let mut played = Played::new();
    played.fail(10);
    let opened = played.until_probes();
    assert!((5_000..6_300).contains(&opened.as_millis()), "{opened:?}");
    let probes = [played.go(), played.go()];
    assert_eq!(played.why(), Some(Barrier::Broken), "no more than two");
    for probe in probes {
        played.end(probe, Signal::Works);
    }
    assert_eq!(played.state(), LaneState::Broken, "not yet");
    let probe = played.go();
    played.end(probe, Signal::Works);
    assert_eq!(played.state(), LaneState::Open);
    assert_eq!(played.lane.limit(), 10, "and begins small");
}

#[test]
fn a_probe_that_fails_opens_it_for_longer_and_longer_up_to_a_bound() {
    let mut played = Played::new();
    played.fail(10);
    let mut waits = Vec::new();
    for _ in 0..8 {
        waits.push(played.until_probes().as_secs());
        let probe = played.go();
        played.end(probe, Signal::Fails);
    }
    assert!(waits.is_sorted_by(|a, b| a < b || *a >= 60), "{waits:?}");
    assert!(waits[7] >= 60 && waits[7] <= 75, "{waits:?}");
    assert!(Duration::from_secs(75) < crate::ladder::Ladder::PUT_BACK_MAX);
}

#[test]
fn what_was_under_way_when_it_opened_says_nothing_about_the_probes() {
    let mut played = Played::new();
    let old: Vec<_> = (0..20).map(|_| played.go()).collect();
    played.fail(10);
    played.until_probes();
    for pass in old {
        played.end(pass, Signal::Fails);
    }
    let probes = [played.go(), played.go()];
    probes
        .into_iter()
        .for_each(|probe| played.end(probe, Signal::Works));
    let last = played.go();
    played.end(last, Signal::Works);
    assert_eq!(played.state(), LaneState::Open);
}

#[test]
fn retry_after_stops_the_lane_and_then_it_goes_on_slowly() {
    let mut played = Played::new();
    let pass = played.go();
    played.end(pass, Signal::TooMuch(Some(Duration::from_secs(30))));
    assert_eq!(played.state(), LaneState::Throttled);
    let Entry::Hold(Barrier::Throttled, wait) = played.ask() else {
        panic!("not throttled");
    };
    assert_eq!(wait, Duration::from_secs(30));
    played.now += wait;
    let mut went = [0_u32; 7];
    for step in 0..700_u64 {
        if let Entry::Go(pass) = played.ask() {
            let tenth = usize::try_from(step / 100).unwrap();
            went[tenth] += 1;
            played.end(pass, Signal::Works);
        }
        played.pass(100);
    }
    assert!(
        went[0] > 5 && went[0] < 100,
        "after ten seconds a sixth: {went:?}"
    );
    assert!(went.is_sorted(), "{went:?}");
    assert_eq!(went[6], 100, "then all may go: {went:?}");
    assert_eq!(played.state(), LaneState::Open);
}

#[test]
fn after_an_outage_what_has_piled_up_comes_down_slowly() {
    let mut played = Played::new();
    // Once, and once more on the way up.
    for _ in 0..2 {
        played.fail(10);
        played.until_probes();
        while played.state() == LaneState::Broken {
            let probe = played.go();
            played.end(probe, Signal::Works);
        }
        assert_eq!(played.state(), LaneState::Open, "nobody asked for less");
        played.pass(3_000);
    }
    played.now -= Duration::from_secs(3);
    let mut went = [0_u32; 8];
    for step in 0..80_000_u64 {
        if let Entry::Go(pass) = played.ask() {
            went[usize::try_from(step / 10_000).unwrap()] += 1;
            played.end(pass, Signal::Works);
        }
        played.pass(1);
    }
    // 600 a second more after a minute: of 600 × 60 / 2 a thirty-sixth in the first ten seconds, and 100 a second.
    assert!((1_490..=1_510).contains(&went[0]), "{went:?}");
    assert!(went[..6].iter().sum::<u32>() <= 24_010, "{went:?}");
    assert!(went.is_sorted(), "{went:?}");
    assert_eq!(went[7], 10_000, "then all may go: {went:?}");
}

#[test]
fn too_many_without_a_time_is_the_lanes_when_several_targets_hear_it() {
    let mut played = Played::new();
    for _ in 0..5 {
        let pass = played.go();
        played.end_for(pass, Signal::TooMuch(None), 1);
    }
    assert_eq!(played.state(), LaneState::Open, "one device's own limit");
    for target in [2, 3] {
        let pass = played.go();
        played.end_for(pass, Signal::TooMuch(None), target);
    }
    assert_eq!(played.state(), LaneState::Throttled);
}

#[test]
fn one_target_alone_does_not_stop_the_lane_for_as_long_as_it_is_to_wait_itself() {
    let day = Duration::from_secs(86_400);
    let mut played = Played::new();
    let mut passes: Vec<_> = (0..3).map(|_| played.go()).collect();
    let wait = |played: &mut Played| match played.ask() {
        Entry::Hold(Barrier::Throttled, wait) => wait,
        other @ (Entry::Go(_) | Entry::Wait(_) | Entry::Hold(..)) => panic!("{other:?}"),
    };
    played.end_for(passes.remove(0), Signal::TooMuch(Some(day)), 1);
    assert_eq!(wait(&mut played), SETTINGS.pause);
    for (target, pass) in [2, 3].into_iter().zip(passes) {
        played.end_for(pass, Signal::TooMuch(Some(day)), target);
    }
    assert_eq!(wait(&mut played), day, "several targets: it is the lane's");
}

#[test]
fn a_paused_lane_takes_nothing_and_goes_on_where_it_was() {
    let mut played = Played::new();
    played.lane.set_paused(true);
    assert_eq!(played.why(), Some(Barrier::Paused));
    assert_eq!(played.state(), LaneState::Paused);
    played.lane.set_paused(false);
    assert_eq!(played.why(), None);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut played = Played::new();
    let behind = played.lane.ask(played.now, Duration::ZERO, true);
    assert_eq!(behind, Entry::Wait(PATIENCE));
}

#[test]
fn the_limit_shrinks_once_for_all_that_were_under_way_together_and_grows_again() {
    let mut played = Played::new();
    let hanging: Vec<_> = (0..5).map(|_| played.go()).collect();
    played.pass(15_000);
    for pass in hanging {
        played.end(pass, Signal::Fails);
    }
    assert_eq!(played.lane.limit(), 100, "a few that hang");
    let passes: Vec<_> = (0..20).map(|_| played.go()).collect();
    played.pass(4_000);
    passes
        .into_iter()
        .for_each(|pass| played.end(pass, Signal::Works));
    assert_eq!(played.lane.limit(), 90, "slow");
    for _ in 0..30 {
        let pass = played.go();
        played.pass(50);
        played.end(pass, Signal::Works);
    }
    assert_eq!(played.lane.limit(), 90, "one by one proves nothing");
    let passes: Vec<_> = (0..5).map(|_| played.go()).collect();
    played.pass(1);
    passes
        .into_iter()
        .for_each(|pass| played.end(pass, Signal::TooMuch(None)));
    played.lane.throttle = Throttle::new(Duration::ZERO, Duration::ZERO, 1.0);
    assert_eq!(played.lane.limit(), 45, "refused");
    for _ in 0..300 {
        let limit = played.lane.limit();
        let passes: Vec<_> = (0..limit).map(|_| played.go()).collect();
        played.pass(50);
        passes
            .into_iter()
            .for_each(|pass| played.end(pass, Signal::Works));
    }
    assert_eq!(played.lane.limit(), 100);
}

#[derive(Clone, Debug)]
enum Move {
    Ask,
    End(usize, Signal),
    Pass(u64),
    Pause(bool),
}

fn any_move() -> impl Strategy<Value = Move> {
    let signal = prop_oneof![
        3 => Just(Signal::Works),
        3 => Just(Signal::Fails),
        1 => Just(Signal::TooMuch(None)),
        1 => (0_u64..40).prop_map(|seconds| Signal::TooMuch(Some(Duration::from_secs(seconds)))),
        1 => Just(Signal::Nothing),
    ];
    prop_oneof![
        6 => Just(Move::Ask),
        4 => (any::<usize>(), signal).prop_map(|(which, signal)| Move::End(which, signal)),
        2 => (0_u64..20_000).prop_map(Move::Pass),
        1 => any::<bool>().prop_map(Move::Pause),
    ]
}

proptest! {
    /// Whatever happens: never more under way than the limit and the probes, none through a barrier, and when all is well
    /// again it opens within the bound that what was put back comes again.
    #[test]
    fn every_lane_keeps_its_bounds_and_heals(moves in prop::collection::vec(any_move(), 1..400)) {
        let mut played = Played::new();
        let mut passes: Vec<Pass> = Vec::new();
        let mut paused = false;
        for step in moves {
            match step {
                Move::Ask => {
                    let before = played.state();
                    match played.ask() {
                        Entry::Go(pass) => {
                            prop_assert!(!paused);
                            prop_assert!(passes.len() < played.lane.limit() || before == LaneState::Broken);
                            passes.push(pass);
                            prop_assert!(passes.len() <= SETTINGS.in_flight_max + 2);
                        }
                        Entry::Wait(_) => prop_assert!(!paused && passes.len() >= played.lane.limit()),
                        Entry::Hold(barrier, wait) => {
                            prop_assert_eq!(barrier == Barrier::Paused, paused);
                            prop_assert!(wait <= Duration::from_secs(75));
                        }
                    }
                }
                Move::End(which, signal) if !passes.is_empty() => {
                    let pass = passes.swap_remove(which % passes.len());
                    played.end(pass, signal);
                }
                Move::End(..) => {}
                Move::Pass(milliseconds) => played.pass(milliseconds),
                Move::Pause(pause) => {
                    paused = pause;
                    played.lane.set_paused(pause);
                }
            }
            prop_assert_eq!(played.lane.in_flight(), passes.len());
            prop_assert!((10..=100).contains(&played.lane.limit()));
        }
        played.lane.set_paused(false);
        for pass in passes {
            played.end(pass, Signal::Nothing);
        }
        for _ in 0..1_400 {
            if let Entry::Go(pass) = played.ask() {
                played.end(pass, Signal::Works);
            }
            played.pass(100);
        }
        prop_assert_eq!(played.state(), LaneState::Open);
    }
}
