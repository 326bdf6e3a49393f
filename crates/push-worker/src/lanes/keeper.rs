//! Beside the work: reads the operators' switches, and tells how the lanes stand.

use std::time::Duration;

use anyhow::Context;
use push_core::lane::{LaneReport, WorkerReport};
use push_core::provider::PerProvider;
use push_store::StoreError;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::database::{NoResult, in_time, until_available};
use crate::metrics;
use crate::run::Worker;

/// How soon a switch is seen.
const LOOK: Duration = Duration::from_secs(1);
/// How often the database is told, unless a lane's state has changed.
const TELL: Duration = Duration::from_secs(3);

/// Reads the switches before the first push goes out: nothing is sent past a switch that nobody could read. False when
/// the worker is asked to stop first.
///
/// # Errors
/// When there is something in the table that is no switch.
pub async fn know_switches(worker: &Worker) -> anyhow::Result<bool> {
    let read = until_available(&worker.shutdown.soft, || read_switches(worker));
    match read.await {
        Ok(()) => Ok(true),
        Err(NoResult::Stopped) => Ok(false),
        Err(NoResult::Failed(error)) => Err(error).context("reading the switches of the providers"),
    }
}

/// Keeps on until what was in flight at the stop is finished. What cannot be read stays as it was last known.
pub async fn keep(worker: &Worker) {
    let me = Uuid::new_v4();
    tracing::info!(worker = %me, "reports its lanes under this id");
    let mut told = Told::default();
    let mut complained = false;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let drained = &worker.drained;
    while drained.run_until_cancelled(ticks.tick()).await.is_some() {
        complain(in_time(read_switches(worker)).await, &mut complained);
        let report = report(worker);
        report.lanes.iter().for_each(metrics::lane);
        if told.is_news(&report.lanes) {
            match in_time(worker.store.report_worker(me, &report)).await {
                Ok(()) => told.set(&report.lanes),
                Err(error) => tracing::debug!(%error, "the lanes' states could not be told"),
            }
        }
    }
    if let Err(error) = in_time(worker.store.forget_worker(me)).await {
        tracing::debug!(%error, "the worker's report could not be removed; it is ignored soon");
    }
}

/// Once. Of an outage of the database others tell.
fn complain(read: Result<(), StoreError>, complained: &mut bool) {
    let Err(error) = read else {
        *complained = false;
        return;
    };
    tracing::debug!(%error, "the switches could not be read");
    if error.needs_someone() && !std::mem::replace(complained, true) {
        tracing::error!(%error, "the switches of the providers cannot be read: pausing and resuming has no effect here");
    }
}

async fn read_switches(worker: &Worker) -> Result<(), StoreError> {
    let switches = worker.store.switches().await?;
    worker.lanes.set_paused(PerProvider {
        fcm: switches.fcm.paused,
        expo: switches.expo.paused,
    });
    Ok(())
}

fn report(worker: &Worker) -> WorkerReport {
    let mut lanes = worker.lanes.report();
    lanes.retain(|lane| worker.reach.providers.contains(&lane.provider));
    WorkerReport {
        lanes,
        retry_delays: worker.ladder.rungs().to_vec(),
        receipt_delays: worker.receipt_delays.clone(),
    }
}

/// What the database was told, and when.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    lanes: Vec<LaneReport>,
}

impl Told {
    fn is_news(&self, lanes: &[LaneReport]) -> bool {
        let states = |lanes: &[LaneReport]| -> Vec<_> {
            lanes
                .iter()
                .map(|lane| (lane.provider, lane.state))
                .collect()
        };
        let old = self.at.is_none_or(|at| at.elapsed() >= TELL);
        old || states(&self.lanes) != states(lanes)
    }

    fn set(&mut self, lanes: &[LaneReport]) {
        self.at = Some(Instant::now());
        self.lanes = lanes.to_vec();
    }
}
