//! Record → publish what comes next → acknowledge, for many jobs at a time.
//!
//! The order is the promise: a job is acknowledged only when what became of it is committed. Killed
//! before the record, it comes again; killed after it, its copy is recognised as stale, and what
//! comes next is published by the reconciler, because it was recorded too.

use chrono::Utc;
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::settle::{Next, Settlement};
use push_queue::{Delivery, Message, Route};
use push_store::Recording;
use tokio::sync::mpsc;

use crate::admit::acknowledge;
use crate::database::{NoResult, until_available};
use crate::in_flight::InHand;
use crate::metrics;
use crate::run::Worker;

/// What is recorded in one transaction at most: 200 rows were seen to take a few milliseconds.
const BATCH_MAX: usize = 200;

/// A job whose round is over.
pub struct Worked {
    pub delivery: Delivery,
    pub settlement: Settlement,
    pub in_hand: InHand,
}

/// Settles whatever is waiting, until nothing more can come.
pub async fn run(worker: &Worker, mut worked: mpsc::Receiver<Worked>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while worked.recv_many(&mut batch, BATCH_MAX).await > 0 {
        settle_batch(worker, std::mem::take(&mut batch)).await;
    }
}

async fn settle_batch(worker: &Worker, batch: Vec<Worked>) {
    let (mut deliveries, mut settlements, mut in_hand) = (Vec::new(), Vec::new(), Vec::new());
    for worked in batch {
        deliveries.push(worked.delivery);
        settlements.push(worked.settlement);
        in_hand.push(worked.in_hand);
    }
    match record(worker, &settlements).await {
        Ok(fresh) => {
            // Recorded, a copy is recognised by the record; and the next round may come any moment.
            drop(in_hand);
            follow_up(worker, deliveries, fresh).await;
        }
        // Unacknowledged, the jobs go back to the queue when the connection closes.
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            tracing::warn!(%error, settlements = settlements.len(), "a batch could not be recorded; its rounds are taken one by one");
            for (delivery, settlement) in deliveries.into_iter().zip(settlements) {
                settle_one(worker, delivery, settlement).await;
            }
        }
    }
}

/// So that one round that cannot be recorded holds up no other.
async fn settle_one(worker: &Worker, delivery: Delivery, settlement: Settlement) {
    match record(worker, std::slice::from_ref(&settlement)).await {
        Ok(fresh) => follow_up(worker, vec![delivery], fresh).await,
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            tracing::error!(%error, notification.id = %settlement.notification, "the round cannot be recorded: dead-lettered");
            metrics::job("unprocessable");
            if delivery.dead_letter().await.is_err() {
                tracing::debug!("the channel of a job to be dead-lettered is lost; it comes again");
            }
        }
    }
}

/// Commits the rounds; those that were not recorded before are returned.
async fn record<'a>(
    worker: &Worker,
    settlements: &'a [Settlement],
) -> Result<Vec<&'a Settlement>, NoResult> {
    let record = move || {
        worker
            .store
            .record(settlements, Utc::now(), worker.reconcile_after)
    };
    let recordings = until_available(&worker.shutdown.hard, record).await?;
    let fresh = settlements
        .iter()
        .zip(recordings)
        .filter(|(_, recording)| *recording == Recording::Recorded);
    Ok(fresh.map(|(settlement, _)| settlement).collect())
}

async fn follow_up(worker: &Worker, deliveries: Vec<Delivery>, fresh: Vec<&Settlement>) {
    let next: Vec<_> = fresh.iter().copied().filter_map(next_message).collect();
    publish_next(worker, next).await;
    acknowledge(deliveries).await;
    for settlement in fresh {
        metrics::settled(settlement);
        log(settlement);
    }
}

fn next_message(settlement: &Settlement) -> Option<(NotificationId, Route, &Job)> {
    let id = settlement.notification;
    match &settlement.next {
        Next::Done(_) => None,
        Next::Wait(rung, job) => Some((id, Route::Retry(*rung), job)),
        Next::DeadLetter(job) => Some((id, Route::Dead, job)),
    }
}

/// Publishes what comes next. What the broker does not confirm is left to the reconciler, who finds
/// it in the database.
async fn publish_next(worker: &Worker, next: Vec<(NotificationId, Route, &Job)>) {
    if next.is_empty() {
        return;
    }
    let (ids, messages): (Vec<_>, Vec<_>) = next
        .into_iter()
        .map(|(id, route, job)| (id, (route, Message::job(job, None))))
        .unzip();
    let results = worker.broker.publish_all(messages).await;
    let lost: Vec<_> = ids
        .into_iter()
        .zip(results)
        .filter_map(|(id, result)| result.is_err().then_some(id))
        .collect();
    if lost.is_empty() {
        return;
    }
    tracing::warn!(
        jobs = lost.len(),
        "the broker did not take what comes next; the reconciler will publish it"
    );
    if let Err(error) = worker.store.mark_unpublished(&lost, Utc::now()).await {
        tracing::warn!(%error, "could not hasten the reconciler; it will find the jobs when they are due");
    }
}

fn log(settlement: &Settlement) {
    let (id, round) = (settlement.notification, settlement.round);
    match &settlement.next {
        Next::Done(ending) => {
            let reason = ending.reason().map_or("", |reason| reason.as_str());
            tracing::info!(notification.id = %id, round, status = ending.status().as_str(), reason, "settled");
        }
        Next::Wait(rung, _) => {
            tracing::info!(notification.id = %id, round, %rung, "waits for its next attempt")
        }
        Next::DeadLetter(_) => {
            tracing::warn!(notification.id = %id, round, "given up: on its way to the dead letters")
        }
    }
}
