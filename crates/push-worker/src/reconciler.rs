//! Finds pending notifications that no queue knows any more (the API was killed between commit and
//! publish, the broker was away or lost its disk) and publishes them again. Any worker may do it;
//! one at a time does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::NotificationId;
use push_core::timeline::{Step, TimelineEntry};
use push_queue::{BrokerState, Message, Queue, Route};
use push_runtime::shutdown::Shutdown;
use push_store::{Due, DueJob, Lease, StoreError};
use tokio_util::sync::CancellationToken;

use crate::database::in_time;
use crate::metrics;
use crate::receipts::overdue::remind_of_overdue;
use crate::run::Worker;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// Jobs published again in one go.
const BATCH_MAX: u32 = 500;
/// The lock that makes it one at a time.
const LEASE: &str = "push.reconciler";

/// Reconciles until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let Shutdown { soft, hard } = &worker.shutdown;
    let mut lease = None;
    let mut complained = false;
    let mut owners_first = None;
    while !pause(soft).await {
        let Some(looked) = hard
            .run_until_cancelled(look(worker, &mut lease, owners_first))
            .await
        else {
            return;
        };
        match looked {
            Ok(()) => complained = false,
            Err(error) => {
                lease = None;
                tracing::debug!(%error, "the reconciler could not look: owners record first when it can");
                owners_first = Some(Instant::now() + worker.claim_for);
                let someone_must_act = !error.is_unavailable() || error.is_out_of_order();
                if someone_must_act && !complained {
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

/// After an outage of the database all claims are over, and what was sent meanwhile waits to be recorded: its
/// owners come first, for as long as a claim lasts.
async fn look(
    worker: &Worker,
    lease: &mut Option<Lease>,
    owners_first: Option<Instant>,
) -> Result<(), StoreError> {
    if worker.broker.state() != BrokerState::Connected {
        // Another worker may be able to publish.
        if let Some(held) = lease.take() {
            held.release().await;
        }
        return Ok(());
    }
    if !hold(worker, lease).await? {
        return Ok(());
    }
    let now = Utc::now();
    remind_of_overdue(worker, now).await?;
    publish_all_again(worker, Due::Unpublished, now).await?;
    if owners_first.is_some_and(|until| Instant::now() < until) {
        return Ok(());
    }
    // What waits in a long work queue is overdue, and not lost. An empty queue proves that it is nowhere; a
    // longer one has handed out all that came before what it hands out now.
    let passed = if queue_is_empty(worker).await {
        now
    } else {
        worker.watermark.read().min(now)
    };
    publish_all_again(worker, Due::Overdue, passed).await
}

async fn publish_all_again(
    worker: &Worker,
    which: Due,
    before: DateTime<Utc>,
) -> Result<(), StoreError> {
    while !worker.shutdown.soft.is_cancelled() {
        let due = in_time(worker.store.due(which, before, BATCH_MAX)).await?;
        let found = due.len();
        let published = publish_again(worker, due).await?;
        if found < BATCH_MAX as usize || published < found {
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

/// Publishes jobs again and looks for them later once more: also for those of which nobody knows whether the
/// broker took them. What it surely did not take stays due.
async fn publish_again(worker: &Worker, due: Vec<DueJob>) -> Result<usize, StoreError> {
    if due.is_empty() {
        return Ok(0);
    }
    let now = Utc::now();
    let again = now + TimeDelta::from_std(worker.reconcile_after).unwrap_or(TimeDelta::minutes(2));
    let ids: Vec<_> = due.iter().map(|due| due.job.notification.id).collect();
    // Before: if it could not be written afterwards, they would be published every time.
    in_time(worker.store.push_back_due(&ids, again)).await?;
    let messages = due.iter().map(|due| {
        let route = if due.job.is_given_up() {
            Route::Dead
        } else {
            Route::Jobs
        };
        (route, Message::job(&due.job, None))
    });
    let results = worker.broker.publish_all(messages.collect()).await;
    let (published, refused): (Vec<_>, Vec<_>) =
        ids.into_iter()
            .zip(results)
            .partition(|(_, result)| match result {
                Ok(()) => true,
                Err(error) => error.may_be_published(),
            });
    let ids_of = |part: Vec<(NotificationId, _)>| part.into_iter().map(|(id, _)| id).collect();
    let (published, refused): (Vec<_>, Vec<_>) = (ids_of(published), ids_of(refused));
    in_time(worker.store.mark_unpublished(&refused, now)).await?;
    if !published.is_empty() {
        tracing::warn!(
            jobs = published.len(),
            "published again what no queue knew any more"
        );
        metrics::republished(published.len());
        let entry = TimelineEntry::new(
            now,
            Step::Republished,
            "published again: no queue knew it any more",
        );
        in_time(worker.store.tell(&published, &entry)).await?;
    }
    Ok(published.len())
}

/// How far the work queue has come: the newest acceptance among the first jobs that it handed out to this
/// worker. A queue hands out what it got first, so what was due before that, which is [`RECONCILE_AFTER`] after it
/// was published, is no longer in it.
///
/// [`RECONCILE_AFTER`]: Worker::reconcile_after
#[derive(Debug, Default)]
pub struct Watermark(AtomicI64);

impl Watermark {
    /// A first job was handed out that was accepted at `accepted`.
    pub fn taken(&self, accepted: DateTime<Utc>) {
        self.0
            .fetch_max(accepted.timestamp_millis(), Ordering::Relaxed);
    }

    /// How far it has come.
    fn read(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }
}
