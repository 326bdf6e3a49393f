//! P6 measured: how long a notification takes while the other provider is well, and while it is not, in the same run.
//!
//! Notifications of both providers flow at the same steady rate all the time. Phases in which all is well and phases in
//! which one provider is in trouble take turns, so that what else goes on in the machine hits both alike. After each
//! phase everything comes to rest, so that no phase pays for the one before.

mod arrivals;
mod lane;
mod report;
mod rows;
mod traffic;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

pub use self::lane::Trouble;
pub use self::report::Report;

use self::arrivals::{Arrival, Arrivals};
use self::lane::Lane;
use self::rows::{Place, Row};
use self::traffic::{Customers, Flow};
use crate::servers::Servers;
use crate::stack::Stack;
use crate::wait::within;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a phase is.
    pub phase: Duration,
    /// Notifications a second to customers with a device at FCM; as many to those with one at Expo.
    pub per_second: u32,
    /// How often the four phases follow each other: well, FCM in trouble, well, Expo in trouble.
    pub rounds: u32,
    /// What befalls a provider.
    pub trouble: Trouble,
}

/// To customers with a device at each, beside the others.
const BOTH_EVERY: u32 = 10;
/// Connections are opened and customers read before anything is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// As the defaults begin; the later rungs are shorter, so that what waited comes back soon when the trouble is over.
const RETRY_DELAYS: &str = "10s,20s,20s,30s";
/// How long what waited may take to be delivered: the breaker tries every 75 seconds, a throttled lane takes a minute to
/// get into its stride.
const REST_MAX: Duration = Duration::from_secs(300);

/// By how much one provider's trouble may slow the other down (P6).
const RATIO_MAX: f64 = 1.5;

/// What a phase is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    WarmUp,
    Well,
    Trouble(Lane),
}

/// What was seen of a phase.
#[derive(Debug)]
struct Phase {
    weather: Weather,
    flow: Flow,
    /// At its end, what of this phase had not ended.
    pending: HashMap<u128, Place>,
    /// How long it took then until all had.
    rest: Duration,
}

/// All that was seen.
#[derive(Debug, Default)]
struct Evidence {
    phases: Vec<Phase>,
    rows: HashMap<u128, Row>,
    arrivals: HashMap<(u128, Lane), Arrival>,
    /// Why it proves nothing.
    problems: Vec<String>,
}

fn plan(rounds: u32) -> Vec<Weather> {
    let mut plan = vec![Weather::WarmUp];
    for _ in 0..rounds {
        for lane in Lane::ALL {
            plan.extend([Weather::Well, Weather::Trouble(lane)]);
        }
    }
    plan
}

/// Runs; `say` is told what goes on. The stack is handed back: at its end it looks whether anything was lost.
pub async fn run(options: Options, say: impl Fn(&str)) -> (Report, Stack) {
    let stack = Stack::with()
        // The bench's own; nobody needs to manage it.
        .on(Servers::of_environment(), false)
        .env_api("RATE_LIMIT_PER_KEY", "off")
        .env_api("RATE_LIMIT_PER_CUSTOMER", "off")
        .env_worker("RETRY_DELAYS", RETRY_DELAYS)
        .start()
        .await;
    stack.all_ready().await;
    // Where a provider resets connections it may have taken what it did not answer.
    stack.rings_twice();
    traffic::register_all(&stack).await;

    let arrivals = Arc::new(Arrivals::default());
    let mut aside = JoinSet::new();
    let (following, sim) = (Arc::clone(&arrivals), stack.sim.clone());
    aside.spawn(async move { following.follow(&sim).await });
    let mut evidence = Evidence::default();
    let plan = plan(options.rounds);
    for (number, weather) in plan.iter().enumerate() {
        say(&format!(
            "{number} of {}: {}",
            plan.len() - 1,
            told(*weather, options)
        ));
        let phase = phase(&stack, *weather, options, &mut evidence.problems).await;
        evidence.phases.push(phase);
    }
    aside.shutdown().await;
    arrivals.catch_up(&stack.sim).await;
    let (taken, problems) = arrivals.finish();
    evidence.arrivals = taken;
    evidence.problems.extend(problems);
    match rows::rows(&stack).await {
        Some(rows) => evidence.rows = rows,
        None => evidence
            .problems
            .push("the history cannot be read".to_owned()),
    }
    (Report::of(options, &evidence), stack)
}

fn told(weather: Weather, options: Options) -> String {
    let seconds = options.phase.as_secs();
    match weather {
        Weather::WarmUp => "warm-up".to_owned(),
        Weather::Well => format!("all is well, {seconds} s"),
        Weather::Trouble(lane) => {
            format!("{} {}, {seconds} s", lane.name(), options.trouble.verb())
        }
    }
}

async fn phase(
    stack: &Stack,
    weather: Weather,
    options: Options,
    problems: &mut Vec<String>,
) -> Phase {
    let trouble = options.trouble;
    let lasting = match weather {
        Weather::WarmUp => WARM_UP,
        Weather::Well => options.phase,
        Weather::Trouble(lane) => {
            trouble.begin(&stack.sim, lane).await;
            options.phase
        }
    };
    let flow = all_flow(stack, options.per_second, lasting).await;
    let pending = rows::pending(stack).await;
    if let Weather::Trouble(lane) = weather {
        trouble.end(&stack.sim, lane).await;
    }
    if pending.is_none() {
        problems.push("what waits cannot be read".to_owned());
    }
    let since = Instant::now();
    if !comes_to_rest(stack).await {
        problems.push(format!(
            "{} s after a phase something still waits",
            REST_MAX.as_secs()
        ));
    }
    Phase {
        weather,
        flow,
        pending: pending.unwrap_or_default(),
        rest: since.elapsed(),
    }
}

async fn all_flow(stack: &Stack, per_second: u32, lasting: Duration) -> Flow {
    let both = per_second.div_ceil(BOTH_EVERY);
    let (mut fcm, expo, both) = tokio::join!(
        traffic::flow(stack, Customers::Fcm, per_second, lasting),
        traffic::flow(stack, Customers::Expo, per_second, lasting),
        traffic::flow(stack, Customers::Both, both, lasting),
    );
    for more in [expo, both] {
        fcm.sent.extend(more.sent);
        fcm.refused += more.refused;
    }
    fcm
}

/// Everything has ended, and both lanes are as if nothing had been.
async fn comes_to_rest(stack: &Stack) -> bool {
    let worker = &stack.workers[0];
    let rest = within(REST_MAX, async || {
        let pending = stack
            .database
            .number("SELECT COUNT(*) FROM notification_history WHERE status = 'pending'")
            .await;
        if pending > 0 {
            return None;
        }
        let metrics = stack.metrics_of(worker).await;
        let open = metrics.sum("push_lane_state", "state=\"open\"");
        (open == Some(2.0)).then_some(())
    });
    rest.await.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_both_kinds_take_turns() {
        let (fcm, expo) = (Weather::Trouble(Lane::Fcm), Weather::Trouble(Lane::Expo));
        let round = [Weather::Well, fcm, Weather::Well, expo];
        let plan = plan(2);
        assert_eq!(plan[0], Weather::WarmUp);
        assert_eq!((&plan[1..5], &plan[5..]), (&round[..], &round[..]));
    }
}
