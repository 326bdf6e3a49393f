//! Receipts that no queue knows any more: the worker was killed between record and publish, the broker was away or lost
//! its disk. Looked for by the reconciler, hence by one worker at a time.

use chrono::{DateTime, TimeDelta, Utc};
use push_queue::{DepthError, Queue, Route};
use push_store::StoreError;

use super::remind;
use crate::database::in_time;
use crate::metrics;
use crate::run::Worker;

/// Tickets reminded of in one look.
const BATCH_MAX: u32 = 5_000;

/// Reminds of what is overdue, and looks for it later once more. What lies in the queue is overdue in a backlog, and
/// not lost: only an empty one proves that it is nowhere. A reminder too many would cost a question, no more.
pub async fn remind_of_overdue(worker: &Worker, now: DateTime<Utc>) -> Result<(), StoreError> {
    let due = in_time(worker.store.tickets_due(now, BATCH_MAX)).await?;
    if due.is_empty() || !queue_is_empty(worker).await {
        return Ok(());
    }
    let grace = TimeDelta::from_std(worker.reconcile_after).unwrap_or(TimeDelta::minutes(2));
    // Before: if it could not be written afterwards, they would be reminded of every time.
    in_time(worker.store.push_back_tickets(&due, now + grace)).await?;
    remind(worker, Route::Receipts, &due).await;
    tracing::warn!(
        receipts = due.len(),
        "asks again for receipts that no queue knew any more"
    );
    metrics::receipts_reminded(due.len());
    Ok(())
}

/// Or is not there at all: publishing declares it again.
async fn queue_is_empty(worker: &Worker) -> bool {
    match worker.broker.depth(Queue::Receipts).await {
        Ok(depth) => depth.ready == 0,
        Err(DepthError::Refused(_)) => true,
        Err(DepthError::NotConnected | DepthError::TimedOut) => false,
    }
}
