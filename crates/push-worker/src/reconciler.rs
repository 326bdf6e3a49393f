//! Finds pending notifications that no queue knows any more (the API was killed between commit and
//! publish, the broker was away or lost its disk) and publishes them again. Any worker may do it;
//! one at a time does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::timeline::{Step, TimelineEntry};
use push_queue::{BrokerState, Message, Queue, Route};
use push_store::{Due, DueJob, Lease, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::run::Worker;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// Jobs published again in one go.
const BATCH_MAX: u32 = 500;
/// The lock that makes it one at a time.
const LEASE: &str = "push.reconciler";

/// Reconciles until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let stop = &worker.shutdown.soft;
    let mut lease = None;
    let mut complained = false;
    while !pause(stop).await {
        match look(worker, &mut lease).await {
            Ok(()) => complained = false,
            Err(error) => {
                lease = None;
                if !error.is_unavailable() && !complained {
                    tracing::error!(%error, "the reconciler cannot read what is due");
                }
                complained = true;
            }
        }
    }
}

/// Waits; true when the worker is stopping.
async fn pause(stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(EVERY) => false,
    }
}

async fn look(worker: &Worker, lease: &mut Option<Lease>) -> Result<(), StoreError> {
    if worker.broker.state() != BrokerState::Connected || !hold(worker, lease).await? {
        return Ok(());
    }
    publish_all_again(worker, Due::Unpublished).await?;
    // What waits in a long work queue is overdue, and not lost: only an empty queue proves that it is
    // nowhere.
    if queue_is_empty(worker).await {
        publish_all_again(worker, Due::Overdue).await?;
    }
    Ok(())
}

async fn publish_all_again(worker: &Worker, which: Due) -> Result<(), StoreError> {
    while !worker.shutdown.soft.is_cancelled() {
        let now = Utc::now();
        let due = worker.store.due(which, now, BATCH_MAX).await?;
        let full = due.len() >= BATCH_MAX as usize;
        let published = publish_again(worker, due, now).await?;
        if !full || published == 0 {
            break;
        }
    }
    Ok(())
}

async fn hold(worker: &Worker, lease: &mut Option<Lease>) -> Result<bool, StoreError> {
    if let Some(held) = lease.as_mut()
        && held.still_held().await
    {
        return Ok(true);
    }
    *lease = worker.store.try_lease(LEASE).await?;
    Ok(lease.is_some())
}

async fn queue_is_empty(worker: &Worker) -> bool {
    match worker.broker.depth(Queue::Jobs).await {
        Ok(depth) => depth.ready == 0,
        Err(_) => false,
    }
}

/// Publishes jobs again and looks for them later once more. Returns how many the broker took.
async fn publish_again(
    worker: &Worker,
    due: Vec<DueJob>,
    now: DateTime<Utc>,
) -> Result<usize, StoreError> {
    if due.is_empty() {
        return Ok(0);
    }
    let messages = due.iter().map(|due| {
        let route = if due.job.is_given_up() {
            Route::Dead
        } else {
            Route::Jobs
        };
        (route, Message::job(&due.job, None))
    });
    let results = worker.broker.publish_all(messages.collect()).await;
    let taken = due
        .iter()
        .zip(results)
        .filter(|(_, result)| result.is_ok())
        .map(|(due, _)| due.job.notification.id);
    let taken: Vec<_> = taken.collect();
    if !taken.is_empty() {
        let again =
            now + TimeDelta::from_std(worker.reconcile_after).unwrap_or(TimeDelta::minutes(2));
        let entry = TimelineEntry::new(
            now,
            Step::Republished,
            "published again: no queue knew it any more",
        );
        worker.store.push_back_due(&taken, again, &entry).await?;
        tracing::warn!(
            jobs = taken.len(),
            "published again what no queue knew any more"
        );
        metrics::republished(taken.len());
    }
    Ok(taken.len())
}
