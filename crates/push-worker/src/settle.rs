//! Record → publish what comes next → acknowledge, for many jobs at a time.
//!
//! The order is the promise: a job is acknowledged only when what became of it is committed. Killed
//! before the record, it comes again; killed after it, its copy is recognised as stale, and what
//! comes next is published by the reconciler, because it was recorded too.

use std::sync::atomic::Ordering;

use chrono::Utc;
use push_core::id::NotificationId;
use push_core::settle::{Next, Settlement};
use push_queue::{Delivery, Message, Route};
use push_store::{ClaimedRound, Recording};
use tokio::sync::mpsc;

use crate::admit::{acknowledge, dead_letter};
use crate::database::{NoResult, in_time, until_available};
use crate::hand::InHand;
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
    let (mut deliveries, mut rounds, mut in_hand) = (Vec::new(), Vec::new(), Vec::new());
    for worked in batch {
        deliveries.push(worked.delivery);
        rounds.push(ClaimedRound {
            claim: worked.in_hand.claim(),
            settlement: worked.settlement,
        });
        in_hand.push(worked.in_hand);
    }
    match record(worker, &rounds).await {
        Ok(recordings) => {
            // Recorded, a copy is recognised by the record; and the next round may come any moment.
            in_hand.into_iter().for_each(InHand::recorded);
            follow_up(worker, deliveries, &rounds, &recordings).await;
        }
        // Unacknowledged, the jobs go back to the queue when the connection closes.
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            tracing::warn!(%error, rounds = rounds.len(), "a batch could not be recorded; its rounds are taken one by one");
            for ((delivery, round), in_hand) in deliveries.into_iter().zip(rounds).zip(in_hand) {
                settle_one(worker, delivery, round, in_hand).await;
            }
        }
    }
}

/// So that one round that cannot be recorded holds up no other.
async fn settle_one(worker: &Worker, delivery: Delivery, round: ClaimedRound, in_hand: InHand) {
    let round = [round];
    match record(worker, &round).await {
        Ok(recordings) => {
            in_hand.recorded();
            follow_up(worker, vec![delivery], &round, &recordings).await;
        }
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            let [round] = round;
            let notification = round.settlement.notification;
            tracing::error!(%error, notification.id = %notification, "the round cannot be recorded: dead-lettered");
            metrics::job("unprocessable");
            dead_letter(delivery).await;
        }
    }
}

async fn record(worker: &Worker, rounds: &[ClaimedRound]) -> Result<Vec<Recording>, NoResult> {
    let record = move || {
        worker
            .store
            .record(rounds, Utc::now(), worker.reconcile_after)
    };
    until_available(&worker.shutdown.hard, record).await
}

/// Publishes what comes next for the rounds that were not recorded before, then acknowledges all.
async fn follow_up(
    worker: &Worker,
    deliveries: Vec<Delivery>,
    rounds: &[ClaimedRound],
    recordings: &[Recording],
) {
    let mut next = Vec::new();
    for ((delivery, round), recording) in deliveries.iter().zip(rounds).zip(recordings) {
        if *recording == Recording::Recorded {
            let settlement = &round.settlement;
            next.extend(next_message(settlement, delivery.trace_parent.clone()));
            metrics::settled(settlement);
            log(settlement);
        }
    }
    publish_next(worker, next).await;
    acknowledge(deliveries).await;
}

type NextMessage = (NotificationId, (Route, Message));

fn next_message(settlement: &Settlement, trace_parent: Option<String>) -> Option<NextMessage> {
    let (route, job) = match &settlement.next {
        Next::Done(_) => return None,
        Next::Wait(rung, job) => (Route::Retry(*rung), job),
        Next::DeadLetter(job) => (Route::Dead, job),
    };
    Some((
        settlement.notification,
        (route, Message::job(job, trace_parent)),
    ))
}

/// What the broker does not confirm is left to the reconciler, who finds it in the database: at once
/// what surely was not published, in due time what may be.
async fn publish_next(worker: &Worker, next: Vec<NextMessage>) {
    if next.is_empty() {
        return;
    }
    let (ids, messages): (Vec<_>, Vec<_>) = next.into_iter().unzip();
    let results = worker.broker.publish_all(messages).await;
    let lost = ids
        .into_iter()
        .zip(results)
        .filter_map(|(id, result)| Some((id, result.err()?)));
    let lost: Vec<_> = lost.collect();
    let refused_before = worker
        .next_is_refused
        .swap(!lost.is_empty(), Ordering::Relaxed);
    let Some((_, error)) = lost.first() else {
        return;
    };
    // Once an outage, not once a batch.
    if !refused_before {
        tracing::warn!(%error, jobs = lost.len(), "the broker does not take what comes next; the reconciler will publish it");
    }
    let surely: Vec<_> = lost
        .iter()
        .filter(|(_, error)| !error.may_be_published())
        .map(|(id, _)| *id)
        .collect();
    let hastened = in_time(worker.store.mark_unpublished(&surely, Utc::now()));
    if let Err(error) = hastened.await {
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
