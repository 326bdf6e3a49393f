//! Runs the operations: many dead letters replayed or discarded at their pace, and customers erased. Any worker may do it; one at a time does,
//! and another goes on within seconds when that one dies. What is committed is published at once, and by the reconciler
//! where that fails.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::receipt_batch::ReceiptBatch;
use push_queue::{BrokerState, Message, Route};
use push_runtime::shutdown::Shutdown;
use push_store::{DeadLetterId, How, OperationId, ReplayedJob, Running, Step, StoreError, Taken};

use crate::database::in_time;
use crate::housekeeping::ago;
use crate::leader::Leader;
use crate::metrics;
use crate::run::Worker;

/// How often who holds the lease looks while there is something to do.
const BUSY: Duration = Duration::from_millis(100);
/// How often everybody else looks.
const IDLE: Duration = Duration::from_secs(1);
/// The lock that makes it one at a time.
const LEASE: &str = "push.operator";
/// Replayed bytes that are published in one go: each may have 16 KiB.
const BYTES_BATCH_MAX: u32 = 20;

/// Runs operations until the worker is asked to stop. A step that is under way then is finished.
pub async fn run(worker: &Worker) {
    let Shutdown { soft, hard } = &worker.shutdown;
    let mut operator = Operator {
        worker,
        leader: Leader::of(LEASE),
        waited: HashMap::new(),
    };
    let mut complained = false;
    let mut wait = IDLE;
    loop {
        tokio::select! {
            () = soft.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
        let Some(looked) = hard.run_until_cancelled(operator.look()).await else {
            return;
        };
        match looked {
            Ok(busy) => {
                complained = false;
                wait = if busy { BUSY } else { IDLE };
            }
            Err(error) => {
                operator.leader.step_down().await;
                wait = IDLE;
                if error.needs_someone() && !complained {
                    tracing::error!(%error, "operations cannot go on");
                }
                complained = true;
            }
        }
    }
    operator.leader.step_down().await;
}

struct Operator<'a> {
    worker: &'a Worker,
    leader: Leader,
    /// Where each operation stands with the letters that had to wait.
    waited: HashMap<OperationId, DeadLetterId>,
}

impl Operator<'_> {
    /// Takes the steps that are due; true when there is more to do for this worker. What fails holds up nothing else.
    async fn look(&mut self) -> Result<bool, StoreError> {
        if !in_time(self.worker.store.any_operation(Utc::now())).await? {
            self.leader.step_down().await;
            self.waited.clear();
            return Ok(false);
        }
        if !self.leader.is_this(&self.worker.store).await? {
            return Ok(false);
        }
        let connected = self.worker.broker.state() == BrokerState::Connected;
        let mut failed = Ok(());
        if connected {
            failed = self.publish_bytes().await;
        }
        let now = Utc::now();
        for running in in_time(self.worker.store.running_operations(now)).await? {
            let due = running.next_at.is_none_or(|at| at <= now);
            // What is replayed while the broker is away would all come at once when it is back.
            if due
                && (connected || !running.publishes())
                && !self.worker.shutdown.soft.is_cancelled()
            {
                failed = failed.and(self.step(&running).await);
            }
        }
        failed?;
        if !connected {
            self.leader.step_down().await;
        }
        Ok(connected)
    }

    /// A letter that the database makes nothing of is left behind, and holds up no other.
    async fn step(&mut self, running: &Running) -> Result<(), StoreError> {
        let mut taken = Err(StoreError::Unusable("no step was taken"));
        for step in [Step::Full, Step::One, Step::SkipOne] {
            taken = in_time(self.take(running, step, Utc::now())).await;
            match &taken {
                Err(error) if is_its_own(error, running) => {
                    tracing::error!(%error, operation.id = %running.id.0, ?step, "a step of an operation failed");
                }
                Ok(_) | Err(_) => break,
            }
        }
        let Some(taken) = taken? else {
            return Ok(());
        };
        self.waited.insert(running.id, taken.waited);
        metrics::operation(running.kind(), taken.done, taken.failed);
        taken.ended.iter().copied().for_each(metrics::ended);
        if taken.finished {
            self.waited.remove(&running.id);
            tracing::info!(operation.id = %running.id.0, kind = running.kind(), "an operation is done");
        }
        publish(self.worker, taken.jobs).await;
        Ok(())
    }

    async fn take(
        &self,
        running: &Running,
        step: Step,
        now: DateTime<Utc>,
    ) -> Result<Option<Taken>, StoreError> {
        let how = How {
            step,
            waited: self.waited.get(&running.id).copied().unwrap_or_default(),
            due_after: self.worker.reconcile_after,
        };
        self.worker.store.take_step(running, &how, now).await
    }

    /// A copy more does no harm: it is recognised by its round.
    async fn publish_bytes(&self) -> Result<(), StoreError> {
        let store = &self.worker.store;
        for due in in_time(store.due_bytes(Utc::now(), BYTES_BATCH_MAX)).await? {
            let name = format!("dead-letter-{}", due.letter.0);
            let timestamp = u64::try_from(Utc::now().timestamp()).unwrap_or(0);
            let route = match ReceiptBatch::decode(&due.bytes) {
                Ok(_) => Route::Receipts,
                Err(_) => Route::Jobs,
            };
            let message = Message::bytes(due.bytes, name, timestamp);
            match self.worker.broker.publish(route, message).await {
                Ok(()) => {
                    in_time(store.bytes_published(due.letter, ago(self.worker.retention))).await?
                }
                // Again at the next look.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Whether an error may be about a single letter or notification, so that smaller steps get further. Of what is patient
/// also one that somebody must act on, as where a key is missing: the others need not wait for that.
fn is_its_own(error: &StoreError, running: &Running) -> bool {
    !error.is_unavailable() || (running.is_patient() && error.is_out_of_order())
}

/// Publishes what is committed. What the broker surely did not take is due at once.
async fn publish(worker: &Worker, jobs: Vec<ReplayedJob>) {
    if jobs.is_empty() {
        return;
    }
    jobs.iter()
        .for_each(|replayed| metrics::reopened(replayed.was));
    let messages = jobs
        .iter()
        .map(|replayed| (Route::Jobs, Message::job(&replayed.job, None)));
    let results = worker.broker.publish_all(messages.collect()).await;
    let refused: Vec<_> = jobs
        .iter()
        .zip(results)
        .filter(|(_, result)| {
            result
                .as_ref()
                .is_err_and(|error| !error.may_be_published())
        })
        .map(|(replayed, _)| replayed.job.notification.id)
        .collect();
    if refused.is_empty() {
        return;
    }
    let hastened = in_time(worker.store.mark_unpublished(&refused, Utc::now()));
    if let Err(error) = hastened.await {
        tracing::warn!(%error, "could not hasten the reconciler; it will find the replayed jobs when they are due");
    }
}
