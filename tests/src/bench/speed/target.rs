//! What is to be reached, and whether it was.

use super::machine::Others;
use super::meter::Costs;
use super::more::spread;
use super::step::{FCM_IN_FLIGHT, SLOW, Scene, Step};
use super::summary::{ONE_DEVICE, TWO_DEVICES, raw};
use super::waits::Waits;
use super::{Evidence, Taken};

/// A megabyte of memory.
pub(super) const MB: f64 = 1_048_576.0;

/// Which side of it is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// A figure of the waits, in microseconds.
type Percentile = fn(&Waits) -> u64;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) bound: Bound,
    value: f64,
    /// Who was in the way: then nothing is told.
    pub(super) disturbed: Option<String>,
}

impl Target {
    /// What was measured, unless others are in it.
    pub(super) fn value(&self) -> Option<f64> {
        self.disturbed.is_none().then_some(self.value)
    }

    /// Whether it was reached, unless nobody can say.
    pub(super) fn met(&self) -> Option<bool> {
        self.value().map(|value| self.bound.holds(value))
    }
}

/// All that were measured.
pub(super) fn all(evidence: &Evidence) -> Vec<Target> {
    let mut all = Targets {
        evidence,
        all: Vec::new(),
    };
    all.throughput();
    all.cpu();
    all.waits();
    all.memory();
    all.slow_providers();
    all.more();
    all.all
}

struct Targets<'a> {
    evidence: &'a Evidence,
    all: Vec<Target>,
}

impl Targets<'_> {
    fn add(&mut self, what: &str, (value, unit): (f64, &'static str), bound: Bound, of: &[Step]) {
        let disturbed = self.evidence.disturbed(of).map(Others::told);
        self.all.push(Target {
            what: what.to_owned(),
            unit,
            bound,
            value,
            disturbed,
        });
    }

    fn throughput(&mut self) {
        let evidence = self.evidence;
        let floor = evidence.floor(&ONE_DEVICE).rate(evidence.cores);
        let rate = evidence.figure(Scene::Single, Taken::rate).median;
        let mut of = raw(&ONE_DEVICE);
        of.push(Step::Programs(Scene::Single));
        self.add(
            "one device: delivered and recorded, of the floor's rate",
            (rate / floor * 100.0, "%"),
            Bound::AtLeast(70.0),
            &of,
        );
        // No more than Expo takes can be delivered: what the CPU would allow is compared.
        let floor = evidence.floor(&TWO_DEVICES).rate(evidence.cores);
        let two = Step::Programs(Scene::Two);
        let rate = evidence.costs(two).rate(evidence.cores);
        let mut of = raw(&TWO_DEVICES);
        of.push(two);
        self.add(
            "two devices: what the CPU allows, of the floor's rate",
            (rate / floor * 100.0, "%"),
            Bound::AtLeast(60.0),
            &of,
        );
    }

    fn cpu(&mut self) {
        for (scene, what, bound) in [
            (Scene::Single, "own CPU of a notification", 150.0),
            (Scene::Batch, "own CPU of one in sendBatch", 60.0),
        ] {
            let step = Step::Programs(scene);
            let own = self.evidence.costs(step).own;
            self.add(what, (own, "µs"), Bound::AtMost(bound), &[step]);
        }
        let step = Step::Programs(Scene::Single);
        let servers = self.evidence.costs(step).servers;
        let bound = Bound::AtMost(230.0);
        self.add(
            "broker's and database's CPU of a notification",
            (servers, "µs"),
            bound,
            &[step],
        );
    }

    fn waits(&mut self) {
        let steady: [(&str, Percentile, f64); 3] = [
            ("200/s: accepting, p99", |waits| waits.accepted.p99, 10.0),
            (
                "200/s: accepted to provider called, p50",
                |waits| waits.called.p50,
                4.0,
            ),
            (
                "200/s: accepted to provider called, p99",
                |waits| waits.called.p99,
                15.0,
            ),
        ];
        for (what, figure, bound) in steady {
            self.wait(Scene::Steady, what, figure, bound);
        }
        let (what, bound) = (
            "70 % of full speed: to be sent to provider called, p99",
            100.0,
        );
        self.wait(Scene::Loaded, what, |waits| waits.arrived.p99, bound);
    }

    fn wait(&mut self, scene: Scene, what: &str, figure: Percentile, bound: f64) {
        let of = |taken: &Taken| {
            taken
                .waits
                .as_ref()
                .map_or(f64::INFINITY, |waits| figure(waits) as f64)
        };
        let value = self.evidence.figure(scene, of).median / 1_000.0;
        self.add(
            what,
            (value, "ms"),
            Bound::AtMost(bound),
            &[Step::Programs(scene)],
        );
    }

    fn memory(&mut self) {
        // What others do with the CPU makes no difference to it.
        let most = |figure: fn(&Taken) -> u64| {
            let of = |scene| {
                self.evidence
                    .figure(scene, |taken| figure(taken) as f64)
                    .max
            };
            of(Scene::Single).max(of(Scene::Batch)) / MB
        };
        let (api, worker) = (
            most(|taken| taken.api_peak),
            most(|taken| taken.worker_peak),
        );
        self.add(
            "full speed: memory of push-api",
            (api, "MB"),
            Bound::AtMost(20.0),
            &[],
        );
        self.add(
            "full speed: memory of push-worker",
            (worker, "MB"),
            Bound::AtMost(30.0),
            &[],
        );
    }

    fn slow_providers(&mut self) {
        let full = self.evidence.figure(Scene::Single, Taken::rate).median;
        for milliseconds in SLOW {
            let scene = Scene::Slow(milliseconds);
            let rate = self.evidence.figure(scene, Taken::rate).median;
            let of = [Step::Programs(scene), Step::Programs(Scene::Single)];
            self.add(
                &format!("FCM takes {milliseconds} ms: delivered and recorded, of what can be"),
                (rate / possible(full, milliseconds) * 100.0, "%"),
                Bound::AtLeast(90.0),
                &of,
            );
        }
        let peak = |scene| {
            self.evidence
                .figure(scene, |taken| taken.worker_peak as f64)
                .median
        };
        let more = peak(Scene::Slow(SLOW[1])) - peak(Scene::Single);
        // A second each: as many were in flight as were delivered in one.
        let in_flight = self
            .evidence
            .figure(Scene::Slow(SLOW[1]), Taken::rate)
            .median;
        let a_thousand = more / MB / (in_flight / 1_000.0);
        let bound = Bound::AtMost(5.0);
        self.add(
            "FCM takes 1,000 ms: more memory for a thousand in flight",
            (a_thousand, "MB"),
            bound,
            &[],
        );
    }

    fn more(&mut self) {
        let more = &self.evidence.more;
        if let Some(flat) = &more.flat {
            for (index, name) in ["push-api", "push-worker"].iter().enumerate() {
                let growth =
                    (flat.late[index] as f64 / flat.early[index].max(1) as f64 - 1.0) * 100.0;
                let what = format!("many notifications: growth of {name} since the second tenth");
                self.add(&what, (growth, "%"), Bound::AtMost(5.0), &[]);
            }
        }
        if let Some(backlog) = &more.backlog {
            let (api, worker) = (backlog.accepted.api_peak, backlog.worker_peak);
            let api = (api as f64 / MB, "MB");
            self.add("backlog: memory of push-api", api, Bound::AtMost(20.0), &[]);
            let worker = (worker as f64 / MB, "MB");
            self.add(
                "backlog: memory of push-worker",
                worker,
                Bound::AtMost(30.0),
                &[],
            );
        }
        if let Some(burst) = &more.burst {
            let expo = (burst.most(1) as f64, "/s");
            self.add(
                "burst: most to Expo in a second",
                expo,
                Bound::AtMost(600.0),
                &[],
            );
            let first = burst.way_up().first().copied().unwrap_or_default();
            let most = burst.way_up().into_iter().max().unwrap_or_default();
            let first = (first as f64 / most.max(1) as f64 * 100.0, "%");
            self.add(
                "burst: FCM's first ten seconds, of the busiest ten",
                first,
                Bound::AtMost(50.0),
                &[],
            );
            let asked = (burst.asked(), "");
            self.add("burst: requests a push", asked, Bound::AtMost(1.05), &[]);
        }
        if more.workers.len() > 1 {
            let full = more.workers.iter().map(|workers| &workers.full);
            self.of_workers("more workers, each with less to do", full);
            let drained = more.workers.iter().map(|workers| &workers.drained);
            self.of_workers("more workers, all with enough to do", drained);
        }
    }

    fn of_workers<'a>(&mut self, what: &str, taken: impl Iterator<Item = &'a Taken> + Clone) {
        let costs: Vec<Costs> = taken.clone().map(Taken::costs).collect();
        let value = (spread(&costs) * 100.0, "%");
        let what = format!("{what}: own and servers' CPU, dearest over cheapest");
        self.add(&what, value, Bound::AtMost(10.0), &[]);
        let mut others = taken.map(|taken| &taken.others);
        let disturbed = others.find(|others| others.are_in_the_way());
        if let Some(last) = self.all.last_mut() {
            last.disturbed = disturbed.map(Others::told);
        }
    }
}

/// What can be delivered a second while a provider takes so long, at the rate without: no more than may be in flight.
fn possible(full: f64, milliseconds: u32) -> f64 {
    let in_flight = FCM_IN_FLIGHT as f64 * 1_000.0 / f64::from(milliseconds);
    full.min(in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_provider_bounds_what_can_be_in_flight() {
        assert!((possible(3_000.0, 40) - 3_000.0).abs() < 1e-9);
        assert!((possible(3_000.0, 1_000) - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_told_while_others_are_in_the_way() {
        let mut target = Target {
            what: String::new(),
            unit: "%",
            bound: Bound::AtLeast(70.0),
            value: 70.0,
            disturbed: None,
        };
        assert_eq!(target.met(), Some(true));
        target.bound = Bound::AtMost(69.9);
        assert_eq!(target.met(), Some(false));
        target.disturbed = Some("rustc".to_owned());
        assert_eq!((target.met(), target.value()), (None, None));
    }

    #[test]
    fn who_disturbs_a_limit_disturbs_what_is_compared_with_it() {
        let disturbed = Taken {
            others: Others {
                share: 0.5,
                who: Vec::new(),
            },
            ..Taken::default()
        };
        let mut evidence = Evidence::default();
        for step in super::super::step::ROUND {
            evidence.steps.insert(step, vec![Taken::default()]);
        }
        let withheld = |evidence: &Evidence| {
            all(evidence)
                .iter()
                .filter(|target| target.met().is_none())
                .count()
        };
        assert_eq!(withheld(&evidence), 0);
        let fcm = Step::Raw(super::super::step::Raw::Fcm);
        evidence.steps.insert(fcm, vec![disturbed]);
        assert_eq!(withheld(&evidence), 2, "both floors have it");
    }
}
