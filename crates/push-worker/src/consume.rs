//! The way of a job through the worker: admitted in batches, delivered side by side, settled in
//! batches. At most `PREFETCH` jobs are in the worker at one time: the broker keeps the rest.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use futures::FutureExt;
use push_core::left_out;
use push_core::settle::{Fate, put_off, settle, suppress};
use push_queue::ConsumeFrom;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use crate::admit::{Admitted, Batch, What, admit_batch, dead_letter};
use crate::behind;
use crate::deliver::deliver;
use crate::metrics::{self, Stage};
use crate::run::Worker;
use crate::settle::{self, Worked, end_job};
use crate::subscription::Subscription;

/// Jobs looked up with one query at most. Never more than there is room for.
const ADMIT_BATCH_MAX: usize = 100;

/// Consumes until the worker is asked to stop, then finishes what is in flight.
///
/// # Errors
/// When settling ended early: what was sent since then is not recorded, and comes again.
pub async fn consume(worker: Arc<Worker>) -> Result<(), JoinError> {
    let mut jobs = Subscription::start(&worker, ConsumeFrom::Jobs, worker.prefetch);
    let (worked, to_settle) = mpsc::channel(usize::from(worker.prefetch));
    let settler = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move {
            // Should it panic: nothing more may be sent that nobody would record.
            let _guard = worker.shutdown.soft.clone().drop_guard();
            settle::run(&worker, to_settle).await;
        }
    });
    let in_flight = TaskTracker::new();
    let batch_max = ADMIT_BATCH_MAX.min(usize::from(worker.prefetch));
    loop {
        let batch = jobs.next(&worker, batch_max).await;
        if batch.is_empty() {
            break;
        }
        let pause = jobs.pause();
        let Batch { admitted, behind } = admit_batch(&worker, batch, &pause).await;
        work_on(&worker, admitted, &worked, &in_flight);
        if !behind.is_empty() {
            let (worker, worked, tracker) =
                (Arc::clone(&worker), worked.clone(), in_flight.clone());
            in_flight.spawn(behind::wait(worker, behind, worked, tracker, pause));
        }
    }
    drop(worked);
    in_flight.close();
    in_flight.wait().await;
    settler.await
}

/// Starts to work on each.
pub fn work_on(
    worker: &Arc<Worker>,
    admitted: Vec<Admitted>,
    worked: &mpsc::Sender<Worked>,
    in_flight: &TaskTracker,
) {
    for admitted in admitted {
        in_flight.spawn(work(Arc::clone(worker), admitted, worked.clone()));
    }
}

async fn work(worker: Arc<Worker>, admitted: Admitted, worked: mpsc::Sender<Worked>) {
    let Admitted {
        delivery,
        span,
        job,
        what,
        in_hand,
    } = admitted;
    let round = AssertUnwindSafe(async {
        match what {
            What::Deliver(targets, left_out) => {
                let delivering = Instant::now();
                let reports = deliver(&worker, &job, &in_hand, span.context(), targets).await;
                if reports
                    .iter()
                    .any(|report| matches!(report.fate, Fate::Tried(_)))
                {
                    metrics::stage(Stage::Deliver, delivering.elapsed());
                }
                let mut settlement = settle(&job, &reports, &worker.ladder, Utc::now());
                if let Some(left_out) = left_out {
                    left_out::tell(&mut settlement, left_out);
                }
                settlement
            }
            What::Suppress(why) => suppress(&job, why, Utc::now()),
            What::PutOff(until) => put_off(&job, until, Utc::now()),
        }
    });
    let settlement = tokio::select! {
        settlement = round.catch_unwind() => settlement,
        () = worker.shutdown.hard.cancelled() => {
            end_job(&span, (job.notification.id, job.round), Err("given_back"));
            return worker.abandoned.keep(delivery);
        }
    };
    let Ok(settlement) = settlement else {
        // It would happen again, here and on every other worker.
        tracing::error!(notification.id = %job.notification.id, round = job.round, "the job makes the worker panic: dead-lettered");
        metrics::job("panic");
        end_job(&span, (job.notification.id, job.round), Err("panic"));
        return dead_letter(delivery).await;
    };
    // The settler ends only after the last sender is gone.
    drop(
        worked
            .send(Worked::new(delivery, span, settlement, in_hand))
            .await,
    );
}
