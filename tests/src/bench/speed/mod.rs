//! Throughput: how close the programs come to what broker, database and HTTP allow on this machine.
//!
//! In one run, taking turns: the limit, which is the cheapest raw parts that a notification can be made of, each by itself
//! on the same servers; and the programs, from a caller's request to the row that says that it was sent. What CPU each
//! process spends is read from `/proc`. The floor is what the machine's cores could do in a second if a notification cost
//! no more than the sum of the parts, and nothing ever waited.

mod burst;
mod customers;
mod limits;
mod load;
mod machine;
mod meter;
mod more;
mod part;
mod process;
mod report;
mod rig;
mod step;
mod summary;
mod target;
mod waits;

use std::collections::BTreeMap;

pub use self::part::Part;
pub use self::report::Report;

use self::machine::Others;
use self::meter::{Costs, Spent};
use self::more::More;
use self::rig::Rig;
use self::step::{Lengths, ROUND, Scene, Step};
use self::waits::Waits;
use crate::stack::Stack;

/// A run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Two minutes instead of ten: its figures are rough.
    pub quick: bool,
    /// How often everything is measured.
    pub rounds: u32,
    /// Customers with one device who take turns.
    pub customers: u32,
    /// Rows of the history before anything is sent.
    pub rows: u32,
    /// Then so many at full speed, to see whether memory stays flat; 0: not.
    pub notifications: u32,
    /// Then so many that wait for a worker, to see what they cost it; 0: not.
    pub backlog: u32,
    /// Then so many while both providers are away, to see what comes down on them when they are back; 0: not.
    pub burst: u32,
    /// Then full speed again, with so many workers each.
    pub workers: Vec<u32>,
}

/// One measurement.
#[derive(Clone, Debug, Default)]
struct Taken {
    /// Notifications, from the first request until all were recorded.
    items: usize,
    seconds: f64,
    spent: Spent,
    /// The most memory that one process had resident meanwhile, in bytes.
    api_peak: u64,
    worker_peak: u64,
    /// Where requests came at a steady rate.
    waits: Option<Waits>,
    others: Others,
}

impl Taken {
    fn rate(&self) -> f64 {
        self.items as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn costs(&self) -> Costs {
        Costs::of(&self.spent, self.items)
    }
}

/// All that was seen.
#[derive(Debug, Default)]
struct Evidence {
    cores: usize,
    steps: BTreeMap<Step, Vec<Taken>>,
    more: More,
    /// Why it proves nothing.
    problems: Vec<String>,
}

/// Runs; `say` is told what goes on. The stack is handed back: at its end it looks whether anything was lost.
pub async fn run(options: &Options, say: impl Fn(&str)) -> (Report, Stack) {
    let lengths = if options.quick {
        Lengths::QUICK
    } else {
        Lengths::LONG
    };
    let mut evidence = Evidence {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        ..Evidence::default()
    };
    say("starting the programs, registering customers");
    let mut rig = Rig::start(options, lengths, &say).await;
    say("warm-up");
    rig.warm_up().await;
    for round in 1..=options.rounds {
        for step in ROUND {
            let taken = measure(&mut rig, step, &evidence.steps).await;
            say(&format!(
                "{round} of {}: {}: {}",
                options.rounds,
                step.told(),
                taken_told(&taken)
            ));
            evidence.steps.entry(step).or_default().push(taken);
        }
    }
    evidence.more = more::measure(&mut rig, options, &say).await;
    evidence.problems = std::mem::take(&mut rig.problems);
    (Report::of(options, &evidence), rig.end())
}

async fn measure(rig: &mut Rig, step: Step, before: &BTreeMap<Step, Vec<Taken>>) -> Taken {
    match step {
        Step::Raw(raw) => rig.raw(raw).await,
        Step::Programs(scene) => {
            let full = before.get(&Step::Programs(Scene::Single));
            let full = full.and_then(|taken| taken.last()).map_or(0.0, Taken::rate);
            rig.programs(scene, full).await
        }
    }
}

fn taken_told(taken: &Taken) -> String {
    let disturbed = if taken.others.are_in_the_way() {
        format!(" ({})", taken.others.told())
    } else {
        String::new()
    };
    let costs = taken.costs();
    format!(
        "{:.0}/s, own CPU {:.0} µs, of broker and database {:.0} µs{disturbed}",
        taken.rate(),
        costs.own,
        costs.servers
    )
}
