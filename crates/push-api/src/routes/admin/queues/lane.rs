//! How the lane of each provider stands, over all workers and in each of them.

use push_core::lane::LaneState;
use push_core::provider::{PerProvider, Provider};
use push_store::{SeenWorker, Switch};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::Time;
use crate::schemas;

/// A provider's lane.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderLane {
    /// Whose lane it is.
    #[schema(schema_with = schemas::provider)]
    provider: Provider,
    /// How it stands: `paused` where an operator has paused it, else the worst of the workers' states (from the best:
    /// `open`, `throttled`, `broken`). `null`: no running worker is set up for it.
    #[schema(schema_with = schemas::lane_state_or_null)]
    state: Option<LaneState>,
    /// Whether an operator has paused it. Workers obey within seconds.
    paused: bool,
    /// The API key of whoever did.
    #[schema(example = "desk")]
    paused_by: Option<String>,
    /// When.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    paused_at: Option<Time>,
    /// The running workers that are set up for it. One that has told nothing for ten seconds is gone.
    workers: Vec<WorkerLane>,
}

/// A lane in one worker.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WorkerLane {
    /// The worker's process: another one after a restart.
    worker: Uuid,
    /// How the lane stands there.
    #[schema(schema_with = schemas::lane_state)]
    state: LaneState,
    /// Pushes under way.
    in_flight: usize,
    /// How many there may be at the moment.
    limit: usize,
    /// How old this is.
    report_age_seconds: u64,
}

/// The lanes of all providers.
pub fn all(mut switches: PerProvider<Switch>, workers: &[SeenWorker]) -> Vec<ProviderLane> {
    let lane = |provider: &Provider| {
        let switch = std::mem::take(switches.get_mut(*provider));
        ProviderLane::new(*provider, switch, workers)
    };
    Provider::ALL.iter().map(lane).collect()
}

impl ProviderLane {
    fn new(provider: Provider, switch: Switch, workers: &[SeenWorker]) -> Self {
        let workers: Vec<_> = workers
            .iter()
            .filter_map(|seen| WorkerLane::of(seen, provider))
            .collect();
        let states = workers.iter().map(|lane| lane.state);
        let paused = switch.paused;
        Self {
            provider,
            state: states.chain(paused.then_some(LaneState::Paused)).max(),
            paused,
            paused_by: switch.changed_by.filter(|_| paused),
            paused_at: switch.changed_at.filter(|_| paused).map(Time),
            workers,
        }
    }
}

impl WorkerLane {
    fn of(seen: &SeenWorker, provider: Provider) -> Option<Self> {
        let lane = seen
            .report
            .lanes
            .iter()
            .find(|lane| lane.provider == provider)?;
        Some(Self {
            worker: seen.worker,
            state: lane.state,
            in_flight: lane.in_flight,
            limit: lane.limit,
            report_age_seconds: seen.age.as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use push_core::lane::{LaneReport, WorkerReport};

    use super::*;

    fn worker(state: LaneState) -> SeenWorker {
        let lane = LaneReport {
            provider: Provider::Fcm,
            state,
            in_flight: 1,
            limit: 2,
        };
        SeenWorker {
            worker: Uuid::nil(),
            report: WorkerReport {
                lanes: vec![lane],
                retry_delays: Vec::new(),
                receipt_delays: Vec::new(),
            },
            age: Duration::from_millis(2_900),
        }
    }

    #[test]
    fn over_all_workers_it_is_the_worst_and_paused_when_an_operator_says_so() {
        use LaneState::{Broken, Open, Paused, Throttled};
        let cases = [
            (false, vec![], None),
            (true, vec![], Some(Paused)),
            (false, vec![Open, Open], Some(Open)),
            (false, vec![Throttled, Open], Some(Throttled)),
            (false, vec![Open, Broken, Throttled], Some(Broken)),
            (true, vec![Open, Broken], Some(Paused)),
        ];
        for (paused, states, expected) in cases {
            let workers: Vec<_> = states.iter().copied().map(worker).collect();
            let switch = Switch {
                paused,
                changed_by: Some("desk".to_owned()),
                changed_at: Some(DateTime::UNIX_EPOCH),
            };
            let lane = ProviderLane::new(Provider::Fcm, switch, &workers);
            assert_eq!(lane.state, expected, "{paused} {states:?}");
            assert_eq!(lane.paused_by.is_some(), paused);
            assert_eq!(lane.paused_at.is_some(), paused);
            assert_eq!(lane.workers.len(), states.len());
        }
        let other = ProviderLane::new(Provider::Expo, Switch::default(), &[worker(Broken)]);
        assert!(
            other.state.is_none() && other.workers.is_empty(),
            "{other:?}"
        );
    }
}
