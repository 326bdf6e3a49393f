//! What the rounds came to: for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::machine::Others;
use super::meter::{Costs, Role, spent_json};
use super::step::{ROUND, Raw, Scene, Step};
use super::summary::{ONE_DEVICE, Spread, TWO_DEVICES};
use super::target::{self, Bound, MB, Target};
use super::waits::Waits;
use super::{Evidence, Options, Taken};
use crate::bench::figures::Figures;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// For people.
    pub table: String,
    /// For programs.
    pub json: Value,
    /// Why it proves nothing; empty when it does.
    pub problems: Vec<String>,
}

impl Report {
    pub(super) fn of(options: &Options, evidence: &Evidence) -> Self {
        let targets = target::all(evidence);
        let tables = [
            limits(evidence),
            programs(evidence),
            waits(evidence),
            more(evidence),
            judged(&targets),
        ];
        Self {
            table: tables.concat(),
            json: as_json(options, evidence, &targets),
            problems: evidence.problems.clone(),
        }
    }
}

/// `1234.5` as `1,235`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rates(rates: Spread) -> String {
    let [median, min, max] = [rates.median, rates.min, rates.max].map(thousands);
    format!("{median:>9} {min:>9} {max:>9}")
}

fn others(taken: &[Taken]) -> String {
    let share = Spread::of(taken.iter().map(|taken| taken.others.share)).median;
    format!("{:.0} %", share * 100.0)
}

fn limits(evidence: &Evidence) -> String {
    let mut table = format!(
        "{:<34} {:>29}   {:>8} {:>10} {:>10} {:>7}\n{:<34} {:>9} {:>9} {:>9}   {:>8} {:>10} {:>10}\n",
        "LIMIT: each raw part by itself",
        "a second",
        "own CPU",
        "broker+",
        "callers+",
        "others",
        "",
        "median",
        "min",
        "max",
        "µs",
        "database",
        "simulator"
    );
    for step in ROUND {
        let Step::Raw(raw) = step else { continue };
        let taken = evidence.of(step);
        let costs = evidence.costs(step);
        let _ = writeln!(
            table,
            "{:<34} {}   {:>8.1} {:>10.1} {:>10.1} {:>7}",
            raw.told(),
            rates(Spread::of(taken.iter().map(Taken::rate))),
            costs.own,
            costs.servers,
            costs.rest,
            others(taken)
        );
    }
    for (name, parts) in [
        ("one device", &ONE_DEVICE[..]),
        ("two devices", &TWO_DEVICES),
    ] {
        let floor = evidence.floor(parts);
        let _ = writeln!(
            table,
            "{:<34} {:>9} {:>9} {:>9}   {:>8.1} {:>10.1} {:>10.1}",
            format!("FLOOR, {name}: {} cores / sum", evidence.cores),
            thousands(floor.rate(evidence.cores)),
            "",
            "",
            floor.own,
            floor.servers,
            floor.rest
        );
    }
    table.push('\n');
    table
}

/// What the programs are asked, in order.
fn scenes() -> impl Iterator<Item = Scene> {
    ROUND.into_iter().filter_map(|step| match step {
        Step::Raw(_) => None,
        Step::Programs(scene) => Some(scene),
    })
}

fn programs(evidence: &Evidence) -> String {
    let mut table = format!(
        "{:<34} {:>29}   {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>7}\n\
         {:<34} {:>9} {:>9} {:>9}   {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7}\n",
        "PROGRAMS: delivered and recorded",
        "a second",
        "own CPU",
        "api",
        "worker",
        "broker",
        "database",
        "sim",
        "callers",
        "api",
        "worker",
        "others",
        "",
        "median",
        "min",
        "max",
        "µs",
        "µs",
        "µs",
        "µs",
        "µs",
        "µs",
        "µs",
        "MB",
        "MB"
    );
    for scene in scenes() {
        let step = Step::Programs(scene);
        let cost = |role| evidence.cost_of(scene, role);
        let memory = |figure: fn(&Taken) -> u64| {
            evidence.figure(scene, |taken| figure(taken) as f64).max / MB
        };
        let _ = writeln!(
            table,
            "{:<34} {}   {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>7.1} {:>7.1} {:>7}",
            scene.told(),
            rates(evidence.figure(scene, Taken::rate)),
            evidence.costs(step).own,
            cost(Role::Api),
            cost(Role::Worker),
            cost(Role::Broker),
            cost(Role::Database),
            cost(Role::Sim),
            cost(Role::Load),
            memory(|taken| taken.api_peak),
            memory(|taken| taken.worker_peak),
            others(evidence.of(step))
        );
    }
    table
        + "Two devices: no more than Expo's 600 a second can be delivered, whatever the CPU allows.\n\n"
}

/// One kind of waits.
type Kind = fn(&Waits) -> Figures;

/// All of them.
const WAITS: [(&str, Kind); 4] = [
    ("to be sent → accepted", |waits| waits.accepted),
    ("accepted → provider called", |waits| waits.called),
    ("to be sent → provider called", |waits| waits.arrived),
    ("to be sent → recorded", |waits| waits.recorded),
];

fn waits(evidence: &Evidence) -> String {
    let mut table = format!(
        "{:<34} {:<30} {:>8} {:>8} {:>8}\n",
        "WAITS, milliseconds", "", "p50", "p99", "max"
    );
    for scene in [Scene::Steady, Scene::Loaded] {
        for (what, figures) in WAITS {
            let of = |figure: fn(Figures) -> u64| {
                let waits = evidence
                    .of(Step::Programs(scene))
                    .iter()
                    .filter_map(|taken| taken.waits);
                Spread::of(waits.map(|waits| figure(figures(&waits)) as f64 / 1_000.0))
            };
            let _ = writeln!(
                table,
                "{:<34} {what:<30} {:>8.1} {:>8.1} {:>8.1}",
                scene.told(),
                of(|figures| figures.p50).median,
                of(|figures| figures.p99).median,
                of(|figures| figures.max).max
            );
        }
    }
    table.push('\n');
    table
}

fn more(evidence: &Evidence) -> String {
    let more = &evidence.more;
    let mut table = String::new();
    let mega = |bytes: u64| bytes as f64 / MB;
    if let Some(flat) = &more.flat {
        let _ = writeln!(
            table,
            "{} notifications at {}/s: push-api {:.1} → {:.1} MB, push-worker {:.1} → {:.1} MB",
            thousands(flat.taken.items as f64),
            thousands(flat.taken.rate()),
            mega(flat.early[0]),
            mega(flat.late[0]),
            mega(flat.early[1]),
            mega(flat.late[1])
        );
    }
    if let Some(backlog) = &more.backlog {
        let _ = writeln!(
            table,
            "{} waited for a worker: accepted at {}/s, push-api {:.1} MB; delivered at {}/s, push-worker {:.1} MB",
            thousands(backlog.accepted.items as f64),
            thousands(backlog.accepted.rate()),
            mega(backlog.accepted.api_peak),
            thousands(backlog.rate()),
            mega(backlog.worker_peak)
        );
    }
    if let Some(burst) = &more.burst {
        let _ = writeln!(
            table,
            "{} while both providers were away: delivered {:.0} s after their return; FCM a second, in each ten seconds: {}; most in a \
             second: FCM {}, Expo {}; {:.2} requests a push",
            thousands(burst.accepted.items as f64),
            burst.seconds,
            burst
                .way_up()
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            burst.most(0),
            burst.most(1),
            burst.asked()
        );
    }
    for workers in &more.workers {
        let of = |taken: &Taken| {
            let costs = taken.costs();
            let rate = thousands(taken.rate());
            format!(
                "{rate}/s, own CPU {:.0} µs, broker and database {:.0} µs",
                costs.own, costs.servers
            )
        };
        let _ = writeln!(
            table,
            "{} workers: {}; what had waited for them, without its acceptance: {}",
            workers.count,
            of(&workers.full),
            of(&workers.drained)
        );
    }
    if !table.is_empty() {
        table.push('\n');
    }
    table
}

fn judged(targets: &[Target]) -> String {
    let mut table = format!("{:<72} {:>10} {:>12}\n", "TARGETS", "measured", "wanted");
    for target in targets {
        let value = target.value();
        let value = value.map_or("–".to_owned(), |value| {
            format!("{value:.1} {}", target.unit)
        });
        let wanted = match target.bound {
            Bound::AtLeast(bound) => format!("≥ {bound} {}", target.unit),
            Bound::AtMost(bound) => format!("≤ {bound} {}", target.unit),
        };
        let met = match (target.met(), &target.disturbed) {
            (Some(true), _) => "met".to_owned(),
            (Some(false), _) => "MISSED".to_owned(),
            (None, disturbed) => format!("NOT TOLD: {}", disturbed.as_deref().unwrap_or_default()),
        };
        let _ = writeln!(table, "{:<72} {value:>10} {wanted:>12}  {met}", target.what);
    }
    table
}

fn as_json(options: &Options, evidence: &Evidence, targets: &[Target]) -> Value {
    let steps: serde_json::Map<_, _> = evidence
        .steps
        .iter()
        .map(|(step, taken)| (step.name(), taken.iter().map(taken_json).collect()))
        .collect();
    let floor = |parts: &[Raw]| {
        let floor = evidence.floor(parts);
        let mut json = costs_json(floor);
        json["rate"] = floor.rate(evidence.cores).into();
        json
    };
    json!({
        "cores": evidence.cores,
        "options": {
            "quick": options.quick, "rounds": options.rounds, "customers": options.customers, "rows": options.rows,
            "notifications": options.notifications, "backlog": options.backlog, "burst": options.burst, "workers": options.workers,
        },
        "floor": {"oneDevice": floor(&ONE_DEVICE), "twoDevices": floor(&TWO_DEVICES)},
        "rounds": steps,
        "more": more_json(evidence),
        "targets": targets.iter().map(target_json).collect::<Value>(),
        "problems": evidence.problems,
    })
}

fn costs_json(costs: Costs) -> Value {
    json!({"ownUs": costs.own, "serversUs": costs.servers, "callersAndSimulatorUs": costs.rest})
}

fn taken_json(taken: &Taken) -> Value {
    json!({
        "notifications": taken.items, "seconds": taken.seconds, "rate": taken.rate(),
        "each": costs_json(taken.costs()), "spentUs": spent_json(&taken.spent),
        "apiPeakBytes": taken.api_peak, "workerPeakBytes": taken.worker_peak,
        "waitsUs": taken.waits.as_ref().map(waits_json), "others": others_json(&taken.others),
    })
}

fn waits_json(waits: &Waits) -> Value {
    let json = |figures: Figures| json!({"count": figures.count, "p50": figures.p50, "p90": figures.p90, "p99": figures.p99, "max": figures.max});
    json!({
        "toBeSentToAccepted": json(waits.accepted), "acceptedToCalled": json(waits.called),
        "toBeSentToCalled": json(waits.arrived), "toBeSentToRecorded": json(waits.recorded),
    })
}

fn others_json(others: &Others) -> Value {
    json!({"share": others.share, "who": others.who})
}

fn target_json(target: &Target) -> Value {
    let (kind, bound) = match target.bound {
        Bound::AtLeast(bound) => ("atLeast", bound),
        Bound::AtMost(bound) => ("atMost", bound),
    };
    json!({
        "what": target.what, "unit": target.unit, kind: bound, "measured": target.value(), "met": target.met(),
        "disturbed": target.disturbed,
    })
}

fn more_json(evidence: &Evidence) -> Value {
    let more = &evidence.more;
    let flat = more.flat.as_ref().map(|flat| {
        json!({"run": taken_json(&flat.taken), "earlyBytes": flat.early, "lateBytes": flat.late})
    });
    let backlog = more.backlog.as_ref().map(|backlog| {
        json!({
            "accepted": taken_json(&backlog.accepted), "deliveredSeconds": backlog.seconds,
            "workerPeakBytes": backlog.worker_peak,
        })
    });
    let burst = more.burst.as_ref().map(|burst| {
        json!({
            "accepted": taken_json(&burst.accepted), "deliveredSeconds": burst.seconds,
            "cameASecond": {"fcm": burst.came[0], "expo": burst.came[1]},
        })
    });
    let workers = more.workers.iter();
    let workers: Vec<_> = workers
        .map(|workers| {
            json!({
                "workers": workers.count, "run": taken_json(&workers.full), "drained": taken_json(&workers.drained),
            })
        })
        .collect();
    json!({"flat": flat, "backlog": backlog, "burst": burst, "workers": workers})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(1_234_567.8), "1,234,568");
        assert_eq!(thousands(-1_000.0), "-1,000");
        assert_eq!(thousands(-100.0), "-100");
    }

    #[test]
    fn a_disturbed_ratio_is_printed_nowhere() {
        let mut evidence = Evidence {
            cores: 2,
            ..Evidence::default()
        };
        let disturbed = Taken {
            items: 100,
            seconds: 1.0,
            others: Others {
                share: 0.42,
                who: vec![("rustc".to_owned(), 0.4)],
            },
            ..Taken::default()
        };
        for step in ROUND {
            evidence.steps.insert(step, vec![disturbed.clone()]);
        }
        let options = Options {
            quick: true,
            rounds: 1,
            customers: 10,
            rows: 0,
            notifications: 0,
            backlog: 0,
            burst: 0,
            workers: Vec::new(),
        };
        let report = Report::of(&options, &evidence);
        let line = report
            .table
            .lines()
            .find(|line| line.contains("of the floor's rate"));
        let line = line.unwrap();
        assert!(line.contains('–') && line.contains("rustc 40 %"), "{line}");
        assert_eq!(report.json["targets"][0]["measured"], Value::Null);
        assert_eq!(report.json["targets"][0]["met"], Value::Null);
    }
}
