//! Moves dead letters from the queue `push.dead` into the table `dead_letters`, where people can
//! find, mend and replay them. Acknowledges only what is committed.

use chrono::Utc;
use push_core::job::GiveUpReason;
use push_queue::{ConsumeFrom, Delivery, Unreadable};
use push_store::{DeadLetterRecord, Kept};
use tokio_util::sync::CancellationToken;

use crate::admit::acknowledge;
use crate::database::{NoResult, has_all_keys, until_available};
use crate::metrics;
use crate::run::Worker;
use crate::subscription::Subscription;

/// Dead letters are rare, and may be large.
const PREFETCH: u16 = 50;

/// How long a dead letter that the database refuses holds up the others.
const UNRECORDABLE_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// Records dead letters until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let mut letters = Subscription::start(worker, ConsumeFrom::Dead, PREFETCH);
    loop {
        let batch = letters.next(worker, usize::from(PREFETCH)).await;
        if batch.is_empty() {
            return;
        }
        record_batch(worker, batch, &letters.pause()).await;
    }
}

/// What is not recorded before `pause` is dropped, and so goes back to its queue.
async fn record_batch(worker: &Worker, batch: Vec<Delivery>, pause: &CancellationToken) {
    let is_sealed = |delivery: &Delivery| matches!(delivery.job(), Err(Unreadable::Sealed(_)));
    if batch.iter().any(is_sealed) && !has_all_keys(&worker.store, pause).await {
        return;
    }
    let records: Vec<_> = batch.iter().map(read).collect();
    match record(worker, &records, pause).await {
        Ok(kept) => {
            records
                .iter()
                .zip(kept)
                .for_each(|(record, kept)| metrics::dead_lettered(record, kept));
            acknowledge(batch).await;
        }
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            tracing::warn!(%error, "a batch of dead letters could not be recorded; they are taken one by one");
            for (delivery, record) in batch.into_iter().zip(records) {
                record_one(worker, delivery, record, pause).await;
            }
        }
    }
}

/// So that a dead letter that cannot be recorded as what it is holds up no other: it is kept as bytes.
async fn record_one(
    worker: &Worker,
    delivery: Delivery,
    letter: DeadLetterRecord,
    pause: &CancellationToken,
) {
    let bytes = || DeadLetterRecord::Poison {
        bytes: delivery.body.to_vec(),
        why: "could not be recorded as a job".to_owned(),
    };
    let recorded = match record(worker, std::slice::from_ref(&letter), pause).await {
        Err(NoResult::Failed(error)) => {
            tracing::error!(%error, "a dead letter cannot be recorded as a job; its bytes are kept");
            record(worker, &[bytes()], pause).await
        }
        other => other,
    };
    match recorded {
        Ok(kept) => {
            kept.into_iter()
                .for_each(|kept| metrics::dead_lettered(&letter, kept));
            acknowledge(vec![delivery]).await;
        }
        Err(NoResult::Stopped) => {}
        Err(NoResult::Failed(error)) => {
            tracing::error!(%error, "a dead letter cannot be recorded at all; it stays in its queue");
            // Dropped, it comes again at once: not more often than this.
            tokio::select! {
                () = tokio::time::sleep(UNRECORDABLE_PAUSE) => {}
                () = worker.shutdown.soft.cancelled() => {}
            }
        }
    }
}

async fn record(
    worker: &Worker,
    records: &[DeadLetterRecord],
    pause: &CancellationToken,
) -> Result<Vec<Kept>, NoResult> {
    let record = move || worker.store.record_dead_letters(records, Utc::now());
    until_available(pause, record).await
}

/// What a message on `push.dead` is: a job given up by a worker, one given up by the broker or
/// rejected by a worker, or no job at all.
fn read(delivery: &Delivery) -> DeadLetterRecord {
    match delivery.job() {
        Ok(job) => DeadLetterRecord::Job {
            reason: reason(delivery),
            job: Box::new(job),
        },
        Err(why) => DeadLetterRecord::Poison {
            bytes: delivery.body.to_vec(),
            why: why.to_string(),
        },
    }
}

/// Why a job is here that names no target it was given up for: as the worker said that gave it up, else as the broker did.
fn reason(delivery: &Delivery) -> GiveUpReason {
    let by_broker = || match delivery.death.as_ref().map(|death| death.reason.as_str()) {
        Some("delivery_limit") => GiveUpReason::DeliveryLimit,
        Some(_) | None => GiveUpReason::Unprocessable,
    };
    delivery.given_up.unwrap_or_else(by_broker)
}
