//! Publishes what waits in the database for a time that was chosen, when that comes. Any worker may do it; one at a time
//! does.
//!
//! It waits there and not in the broker, where nothing could be taken back, and a wiped disk would lose it. Many may be due
//! at one moment: they are published in batches, and each waits until the work queue is short again, so that what is sent
//! in the meantime does not stand behind all of them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_queue::{BrokerState, Queue};
use push_runtime::shutdown::Shutdown;
use push_store::{Due, DueTaken, StoreError};
use tokio::time::{Instant, sleep};

use crate::database::in_time;
use crate::leader::Leader;
use crate::metrics;
use crate::reconciler::publish;
use crate::run::Worker;

/// How often it looks at least: what was accepted since the last look may be due before all that was seen then.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon it looks again at what is due and was locked by somebody.
const LOCKED_PAUSE: Duration = Duration::from_millis(200);
/// Jobs published in one go.
const BATCH_MAX: u32 = 500;
/// A longer work queue is waited for, but no longer than this: a backlog must not keep them for ever.
const BACKLOG_MAX: u32 = 1_000;
const BACKLOG_PATIENCE: Duration = Duration::from_secs(1);
const BACKLOG_LOOK_EVERY: Duration = Duration::from_millis(50);
/// The lock that makes it one at a time.
const LEASE: &str = "push.timer";

/// Publishes what is due until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let Shutdown { soft, hard } = &worker.shutdown;
    let mut leader = Leader::of(LEASE);
    let mut complained = false;
    let mut pause = LOOK_EVERY;
    while soft.run_until_cancelled(sleep(pause)).await.is_some() {
        let Some(looked) = hard.run_until_cancelled(look(worker, &mut leader)).await else {
            return;
        };
        match looked {
            Ok(next) => {
                pause = next;
                complained = false;
            }
            Err(error) => {
                tracing::debug!(%error, "it could not be looked what is due");
                if error.needs_someone() && !complained {
                    tracing::error!(%error, "what waits for its time cannot be read");
                }
                complained = true;
                pause = LOOK_EVERY;
                leader.step_down().await;
            }
        }
    }
}

/// Publishes a batch of what is due, and says how long to wait until the next look.
async fn look(worker: &Worker, leader: &mut Leader) -> Result<Duration, StoreError> {
    if worker.broker.state() != BrokerState::Connected {
        leader.step_down().await;
        return Ok(LOOK_EVERY);
    }
    if !leader.is_this(&worker.store).await? {
        return Ok(LOOK_EVERY);
    }
    let Some(next) = in_time(worker.store.next_timed()).await? else {
        return Ok(LOOK_EVERY);
    };
    // Zero when it is over.
    let wait = (next - Utc::now()).to_std().unwrap_or_default();
    if !wait.is_zero() {
        return Ok(wait.min(LOOK_EVERY));
    }
    queue_is_short(worker).await;
    let found = publish_due(worker, Utc::now()).await?;
    Ok(if found > 0 {
        Duration::ZERO
    } else {
        LOCKED_PAUSE
    })
}

async fn publish_due(worker: &Worker, now: DateTime<Utc>) -> Result<usize, StoreError> {
    let grace = TimeDelta::from_std(worker.reconcile_after).unwrap_or(TimeDelta::minutes(2));
    let taking = worker
        .store
        .take_due(Due::Timed, now, now + grace, BATCH_MAX);
    let DueTaken { jobs, changed } = in_time(taking).await?;
    let found = jobs.len();
    worker.broker.tell(&changed).await;
    let published = publish(worker, jobs).await?;
    if published > 0 {
        tracing::info!(jobs = published, "published what waited for its time");
        metrics::published_in_time(published);
    }
    Ok(found)
}

/// Waits, but not for ever, until there is room on the work queue.
async fn queue_is_short(worker: &Worker) {
    let patience_ends = Instant::now() + BACKLOG_PATIENCE;
    while Instant::now() < patience_ends && !worker.shutdown.soft.is_cancelled() {
        let depth = worker.broker.depth(Queue::Jobs).await;
        if depth.is_ok_and(|depth| depth.ready <= BACKLOG_MAX) {
            return;
        }
        sleep(BACKLOG_LOOK_EVERY).await;
    }
}
