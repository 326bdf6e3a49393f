//! What the phases came to, side by side: for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::lane::Lane;
use super::rows::Place;
use super::traffic::{Customers, Sent};
use super::{Evidence, Options, Phase, RATIO_MAX, Weather};
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

/// Until when a notification is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Its provider took it.
    Arrives,
    /// The database says `sent`.
    Recorded,
}

/// One provider's notifications while the other one is in trouble, and while it is not.
#[derive(Clone, Copy, Debug)]
struct Measure {
    in_trouble: Lane,
    customers: Customers,
    until: Until,
}

#[derive(Debug)]
struct Comparison {
    measure: Measure,
    well: Figures,
    troubled: Figures,
    /// Each phase by itself, in their order.
    phases: Vec<(Weather, Figures)>,
}

/// What became of the notifications that were sent while `in_trouble` was.
#[derive(Debug, Default)]
struct Effects {
    /// Of the other one's: how many, and what no trouble of their own explains.
    others: usize,
    others_retried: usize,
    others_maybe: usize,
    /// Of its own: how many, and where they were when the trouble ended.
    own: usize,
    in_hand: usize,
    waited: usize,
    waited_after_attempt: usize,
    /// And in the end.
    delivered: usize,
    retried: usize,
    maybe: usize,
    rang_twice: usize,
    /// Seconds after the end of the trouble, the longest.
    rest: f64,
}

impl Measure {
    fn all() -> impl Iterator<Item = Self> {
        Lane::ALL.into_iter().flat_map(|in_trouble| {
            let own = only(in_trouble.other());
            let measures = [
                (own, Until::Arrives),
                (own, Until::Recorded),
                // Recorded it is when both have it: that waits for the one in trouble.
                (Customers::Both, Until::Arrives),
            ];
            measures.map(|(customers, until)| Self {
                in_trouble,
                customers,
                until,
            })
        })
    }

    /// What was waited for, in phases of this kind.
    fn waits<'a>(
        self,
        evidence: &'a Evidence,
        phases: impl Iterator<Item = &'a Phase>,
    ) -> Option<Figures> {
        let sent = phases.flat_map(|phase| &phase.flow.sent);
        let sent = sent.filter(|sent| sent.customers == self.customers);
        let waits = sent.filter_map(|sent| {
            let until = self.ended_ms(evidence, sent)?;
            Some(until.saturating_sub(sent.due_ms))
        });
        Figures::of(waits.collect())
    }

    fn ended_ms(self, evidence: &Evidence, sent: &Sent) -> Option<u64> {
        match self.until {
            Until::Arrives => {
                let key = (sent.notification, self.in_trouble.other());
                evidence.arrivals.get(&key).map(|arrival| arrival.at_ms)
            }
            Until::Recorded => {
                let row = evidence.rows.get(&sent.notification)?;
                row.is_sent.then_some(row.completed_ms)
            }
        }
    }

    /// `None` when there is nothing to compare.
    fn compare(self, evidence: &Evidence) -> Option<Comparison> {
        let troubled = Weather::Trouble(self.in_trouble);
        let of = |weather| {
            let phases = evidence.phases.iter();
            self.waits(
                evidence,
                phases.filter(move |phase| phase.weather == weather),
            )
        };
        let phases = evidence.phases.iter();
        let compared = phases.filter(|phase| [Weather::Well, troubled].contains(&phase.weather));
        let phases = compared.filter_map(|phase| {
            let figures = self.waits(evidence, std::iter::once(phase))?;
            Some((phase.weather, figures))
        });
        Some(Comparison {
            measure: self,
            well: of(Weather::Well)?,
            troubled: of(troubled)?,
            phases: phases.collect(),
        })
    }

    fn name(self) -> String {
        let provider = self.in_trouble.other().name();
        let until = match self.until {
            Until::Arrives => "until it arrives",
            Until::Recorded => "until it is recorded",
        };
        match self.customers {
            Customers::Fcm | Customers::Expo => format!("{provider}, {until}"),
            Customers::Both => format!("{provider}, of customers with both, {until}"),
        }
    }

    fn json(self) -> Value {
        let until = match self.until {
            Until::Arrives => "arrives",
            Until::Recorded => "recorded",
        };
        json!({
            "inTrouble": self.in_trouble.provider().as_str(),
            "provider": self.in_trouble.other().provider().as_str(),
            "customersWithBoth": self.customers == Customers::Both,
            "until": until,
        })
    }
}

/// Those with a device at this one only.
const fn only(lane: Lane) -> Customers {
    match lane {
        Lane::Fcm => Customers::Fcm,
        Lane::Expo => Customers::Expo,
    }
}

/// Where their notifications are to arrive.
const fn lanes(customers: Customers) -> &'static [Lane] {
    match customers {
        Customers::Fcm => &[Lane::Fcm],
        Customers::Expo => &[Lane::Expo],
        Customers::Both => &Lane::ALL,
    }
}

impl Comparison {
    fn ratio(&self) -> f64 {
        self.troubled.ratio_to(&self.well)
    }

    fn is_within(&self) -> bool {
        self.ratio() <= RATIO_MAX
    }

    fn json(&self) -> Value {
        let mut json = self.measure.json();
        json["well"] = figures_json(&self.well);
        json["troubled"] = figures_json(&self.troubled);
        json["ratio"] = self.ratio().into();
        json["within"] = self.is_within().into();
        let phases = self.phases.iter().map(|(weather, figures)| {
            let mut json = figures_json(figures);
            json["isWell"] = (*weather == Weather::Well).into();
            json
        });
        json["phases"] = phases.collect();
        json
    }
}

fn figures_json(figures: &Figures) -> Value {
    let Figures {
        count,
        p50,
        p90,
        p99,
        max,
    } = figures;
    json!({"count": count, "p50": p50, "p90": p90, "p99": p99, "max": max})
}

impl Effects {
    fn of(evidence: &Evidence, in_trouble: Lane) -> Self {
        let mut effects = Self::default();
        let troubled = Weather::Trouble(in_trouble);
        let phases = evidence.phases.iter();
        for phase in phases.filter(|phase| phase.weather == troubled) {
            effects.rest = effects.rest.max(phase.rest.as_secs_f64());
            for sent in &phase.flow.sent {
                if sent.customers == only(in_trouble.other()) {
                    effects.count_other(evidence, sent);
                } else if sent.customers == only(in_trouble) {
                    effects.count_own(evidence, phase, sent, in_trouble);
                }
            }
        }
        effects
    }

    fn count_other(&mut self, evidence: &Evidence, sent: &Sent) {
        self.others += 1;
        if let Some(row) = evidence.rows.get(&sent.notification) {
            self.others_retried += usize::from(row.attempts != 1);
            self.others_maybe += usize::from(row.maybe_delivered);
        }
    }

    fn count_own(&mut self, evidence: &Evidence, phase: &Phase, sent: &Sent, lane: Lane) {
        self.own += 1;
        match phase.pending.get(&sent.notification) {
            Some(Place::InHand) => self.in_hand += 1,
            Some(Place::Waits) => self.waited += 1,
            Some(Place::WaitsAfterAttempt) => self.waited_after_attempt += 1,
            None => {}
        }
        if let Some(row) = evidence.rows.get(&sent.notification) {
            self.retried += usize::from(row.attempts > 1);
            self.maybe += usize::from(row.maybe_delivered);
        }
        if let Some(arrival) = evidence.arrivals.get(&(sent.notification, lane)) {
            self.delivered += 1;
            self.rang_twice += usize::from(arrival.times > 1);
        }
    }

    fn json(&self, in_trouble: Lane) -> Value {
        json!({
            "inTrouble": in_trouble.provider().as_str(),
            "others": {"sent": self.others, "notAtTheFirstAttempt": self.others_retried, "maybeDelivered": self.others_maybe},
            "own": {"sent": self.own, "inHand": self.in_hand, "waitedWithoutAttempt": self.waited,
                "waitedAfterAttempt": self.waited_after_attempt, "delivered": self.delivered, "retried": self.retried,
                "maybeDelivered": self.maybe, "rangTwice": self.rang_twice, "restSeconds": self.rest},
        })
    }
}

impl Report {
    pub(super) fn of(options: Options, evidence: &Evidence) -> Self {
        let mut problems = evidence.problems.clone();
        problems.extend(losses(evidence));
        let compared: Vec<_> = Measure::all()
            .map(|measure| (measure, measure.compare(evidence)))
            .collect();
        let nothing = compared.iter().filter(|(_, compared)| compared.is_none());
        problems
            .extend(nothing.map(|(measure, _)| format!("nothing measured: {}", measure.name())));
        let compared: Vec<_> = compared.into_iter().filter_map(|(_, it)| it).collect();
        let effects = Lane::ALL.map(|lane| (lane, Effects::of(evidence, lane)));
        let load = load();
        Self {
            table: table(options, &compared, &effects, &load),
            json: json!({
                "promise": "P6",
                "trouble": options.trouble.verb(),
                "phaseSeconds": options.phase.as_secs(),
                "perSecond": options.per_second,
                "rounds": options.rounds,
                "cores": cores(),
                "load": load,
                "ratioMax": RATIO_MAX,
                "comparisons": compared.iter().map(Comparison::json).collect::<Vec<_>>(),
                "effects": effects.iter().map(|(lane, it)| it.json(*lane)).collect::<Vec<_>>(),
                "problems": problems,
            }),
            problems,
        }
    }
}

/// What must not be: then it does not matter how fast it was.
fn losses(evidence: &Evidence) -> Vec<String> {
    let (mut refused, mut unsettled, mut missing, mut twice) = (0, 0, 0, 0);
    for phase in &evidence.phases {
        refused += phase.flow.refused;
        for sent in &phase.flow.sent {
            let row = evidence.rows.get(&sent.notification);
            unsettled += usize::from(!row.is_some_and(|row| row.is_sent));
            let maybe = row.is_some_and(|row| row.maybe_delivered);
            for lane in lanes(sent.customers) {
                let arrival = evidence.arrivals.get(&(sent.notification, *lane));
                missing += usize::from(arrival.is_none());
                twice += usize::from(!maybe && arrival.is_some_and(|it| it.times > 1));
            }
        }
    }
    let told = [
        (refused, "requests were not answered with a 2xx"),
        (unsettled, "notifications are not recorded as sent"),
        (missing, "notifications have not arrived"),
        (
            twice,
            "notifications arrived twice, though not maybe delivered",
        ),
    ];
    let found = told.iter().filter(|(count, _)| *count > 0);
    found
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processes that ran or waited for a core in the last minute, on the average, as the kernel tells it: others too.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn table(
    options: Options,
    compared: &[Comparison],
    effects: &[(Lane, Effects)],
    load: &str,
) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(&format!(
        "{} phases of {} s; {} notifications a second for FCM, as many for Expo, {} for both; {} cores, load {load}",
        options.rounds * 4,
        options.phase.as_secs(),
        options.per_second,
        options.per_second.div_ceil(super::BOTH_EVERY),
        cores(),
    ));
    for (lane, effects) in effects {
        let what = format!("{} {}", lane.name(), options.trouble.verb());
        line("");
        line(&format!(
            "{:<46} {:^26} {:^26} {:>6}  {}",
            "milliseconds, from when it is to be sent", "both are well", what, "p99", "within"
        ));
        let columns = format!("{:>7}{:>6}{:>6}{:>6}", "n", "p50", "p90", "p99");
        line(&format!(
            "{:<46} {columns:>26} {columns:>26} {:>6}  {RATIO_MAX} ×",
            "", "ratio"
        ));
        let of_lane = compared.iter().filter(|it| it.measure.in_trouble == *lane);
        for comparison in of_lane {
            line(&format!(
                "{:<46} {:>26} {:>26} {:>6.2}  {}",
                comparison.measure.name(),
                columns_of(&comparison.well),
                columns_of(&comparison.troubled),
                comparison.ratio(),
                if comparison.is_within() { "yes" } else { "NO" },
            ));
            line(&format!("    p99 of each phase: {}", each(comparison)));
        }
        lines_of(effects, *lane, &what)
            .iter()
            .for_each(|it| line(it));
    }
    text
}

fn columns_of(figures: &Figures) -> String {
    let Figures {
        count,
        p50,
        p90,
        p99,
        max: _,
    } = figures;
    format!("{count:>7}{p50:>6}{p90:>6}{p99:>6}")
}

fn each(comparison: &Comparison) -> String {
    let told = comparison.phases.iter().map(|(weather, figures)| {
        let mark = if *weather == Weather::Well { "" } else { "!" };
        format!("{}{mark}", figures.p99)
    });
    told.collect::<Vec<_>>().join(" ")
}

fn lines_of(effects: &Effects, lane: Lane, what: &str) -> [String; 3] {
    let (own, other) = (lane.name(), lane.other().name());
    [
        format!(
            "  while {what}, {other}'s: {} sent; not at the first attempt {}, maybe delivered {}",
            effects.others, effects.others_retried, effects.others_maybe
        ),
        format!(
            "  {own}'s own: {} sent; at its end {} waited without an attempt, {} after one, {} were in hand",
            effects.own, effects.waited, effects.waited_after_attempt, effects.in_hand
        ),
        format!(
            "  and {:.0} s later: delivered {}, of these after more than one attempt {}, maybe delivered {}, shown twice {}",
            effects.rest, effects.delivered, effects.retried, effects.maybe, effects.rang_twice
        ),
    ]
}
