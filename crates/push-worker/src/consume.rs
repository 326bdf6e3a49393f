//! The way of a job through the worker: admitted in batches, delivered side by side, settled in
//! batches. At most `PREFETCH` jobs are in the worker at one time: the broker keeps the rest.

use std::sync::Arc;

use chrono::Utc;
use push_core::settle::settle;
use push_queue::ConsumeFrom;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::admit::{Admitted, admit_batch, requeue};
use crate::deliver::deliver;
use crate::run::Worker;
use crate::settle::{self, Worked};

/// Jobs looked up with one query at most.
const ADMIT_BATCH_MAX: usize = 100;

/// Consumes until the worker is asked to stop, then finishes what is in flight.
pub async fn consume(worker: Arc<Worker>) {
    let mut deliveries = worker.broker.consume(
        ConsumeFrom::Jobs,
        worker.prefetch,
        worker.shutdown.soft.clone(),
    );
    let (worked, to_settle) = mpsc::channel(usize::from(worker.prefetch));
    let settler = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { settle::run(&worker, to_settle).await }
    });
    let in_flight = TaskTracker::new();
    loop {
        let batch = deliveries.recv_batch(ADMIT_BATCH_MAX).await;
        if batch.is_empty() {
            break;
        }
        if worker.shutdown.soft.is_cancelled() {
            for delivery in batch {
                requeue(delivery).await;
            }
            continue;
        }
        for admitted in admit_batch(&worker, batch).await {
            in_flight.spawn(work(Arc::clone(&worker), admitted, worked.clone()));
        }
    }
    drop(worked);
    in_flight.close();
    in_flight.wait().await;
    if let Err(error) = settler.await {
        tracing::error!(%error, "settling ended early; unacknowledged jobs come again");
    }
}

async fn work(worker: Arc<Worker>, admitted: Admitted, worked: mpsc::Sender<Worked>) {
    let Admitted {
        delivery,
        job,
        targets,
        in_hand,
    } = admitted;
    let reports = tokio::select! {
        reports = deliver(&worker.providers, &job, targets) => reports,
        // Unacknowledged: the broker gives the job to another worker.
        () = worker.shutdown.hard.cancelled() => return,
    };
    let settlement = settle(&job, &reports, &worker.ladder, Utc::now());
    // The settler ends only after the last sender is gone.
    drop(
        worked
            .send(Worked {
                delivery,
                settlement,
                in_hand,
            })
            .await,
    );
}
