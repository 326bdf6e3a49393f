//! Finds pending notifications that no queue knows any more (the API was killed between commit and
//! publish, the broker was away or lost its disk) and publishes them again. Any worker may do it;
//! one at a time does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use push_core::timeline::{Step, TimelineEntry};
use push_queue::{BrokerState, Message, Queue, Route};
use push_runtime::shutdown::Shutdown;
use push_store::{Due, DueJob, StoreError, WhyDue};
use tokio_util::sync::CancellationToken;

use crate::database::in_time;
use crate::leader::Leader;
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
    let mut reconciler = Reconciler {
        worker,
        leader: Leader::of(LEASE),
        owners_first: None,
    };
    let mut complained = false;
    while !pause(soft).await {
        let Some(looked) = hard.run_until_cancelled(reconciler.look()).await else {
            return;
        };
        let Err(error) = looked else {
            complained = false;
            continue;
        };
        tracing::debug!(%error, "the reconciler could not look");
        reconciler.leader.step_down().await;
        if error.needs_someone() && !complained {
            tracing::error!(%error, "the reconciler cannot read what is due");
        }
        complained = true;
    }
}

/// Waits; true when the worker is stopping.
async fn pause(stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(EVERY) => false,
    }
}

struct Reconciler<'a> {
    worker: &'a Worker,
    leader: Leader,
    /// After an outage of the database all claims are over, and what was sent meanwhile waits to be recorded: its owners
    /// come first, until then.
    owners_first: Option<Instant>,
}

impl Reconciler<'_> {
    /// Jobs first: receipts are many, and wait for hours.
    async fn look(&mut self) -> Result<(), StoreError> {
        let leads = self.publish_jobs_again().await.inspect_err(|error| {
            if error.is_unavailable() && !error.is_locked() {
                tracing::debug!("owners record first when the database is back");
                self.owners_first = Some(Instant::now() + self.worker.claim_for);
            }
        });
        if leads? {
            remind_of_overdue(self.worker, Utc::now()).await?;
        }
        Ok(())
    }

    /// Whether it is this worker that reconciles.
    async fn publish_jobs_again(&mut self) -> Result<bool, StoreError> {
        if self.worker.broker.state() != BrokerState::Connected {
            self.leader.step_down().await;
            return Ok(false);
        }
        if !self.leader.is_this(&self.worker.store).await? {
            return Ok(false);
        }
        let now = Utc::now();
        publish_all_again(self.worker, Due::Unpublished, now).await?;
        if self
            .owners_first
            .is_none_or(|until| until <= Instant::now())
        {
            publish_all_again(self.worker, Due::Overdue, passed(self.worker, now).await).await?;
        }
        Ok(true)
    }
}

/// What was due before that is nowhere. What waits in a long work queue is overdue, and not lost. An empty queue proves
/// that it is nowhere; a longer one has handed out all that came before what it hands out now.
async fn passed(worker: &Worker, now: DateTime<Utc>) -> DateTime<Utc> {
    if is_empty(worker, Queue::Jobs).await {
        now
    } else {
        worker.watermark.read().min(now)
    }
}

async fn publish_all_again(
    worker: &Worker,
    which: Due,
    before: DateTime<Utc>,
) -> Result<(), StoreError> {
    let grace = TimeDelta::from_std(worker.reconcile_after).unwrap_or(TimeDelta::minutes(2));
    while !worker.shutdown.soft.is_cancelled() {
        let again = Utc::now() + grace;
        let taking = worker.store.take_due(which, before, again, BATCH_MAX);
        let mut due = in_time(taking).await?.jobs;
        let found = due.len();
        // Likewise what waits to be kept as a dead letter: it is looked for later once more.
        let given_up = due.iter().any(|due| due.job.is_given_up());
        if which == Due::Overdue && given_up && !is_empty(worker, Queue::Dead).await {
            due.retain(|due| !due.job.is_given_up());
        }
        let published = publish_again(worker, due).await?;
        if found < BATCH_MAX as usize || published < found {
            break;
        }
    }
    Ok(())
}

async fn is_empty(worker: &Worker, queue: Queue) -> bool {
    match worker.broker.depth(queue).await {
        Ok(depth) => depth.ready == 0,
        Err(_) => false,
    }
}

async fn publish_again(worker: &Worker, due: Vec<DueJob>) -> Result<usize, StoreError> {
    let published = publish(worker, due).await?;
    if published > 0 {
        tracing::warn!(
            jobs = published,
            "published again what no queue knew any more"
        );
        metrics::republished(published);
    }
    Ok(published)
}

/// Publishes jobs that were taken out of the database, in order, and says how many. They are looked for later once more, also
/// those of which nobody knows whether the broker took them. What it surely did not take is due at once.
pub async fn publish(worker: &Worker, due: Vec<DueJob>) -> Result<usize, StoreError> {
    if due.is_empty() {
        return Ok(0);
    }
    let now = Utc::now();
    tell(worker, &due, now).await?;
    let ids: Vec<_> = due.iter().map(|due| due.job.notification.id).collect();
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
    let refused: Vec<_> = refused.into_iter().map(|(id, _)| id).collect();
    in_time(worker.store.mark_unpublished(&refused, now)).await?;
    Ok(published.len())
}

/// Before they are published: a quick worker would have ended them before their timelines told of it.
async fn tell(worker: &Worker, due: &[DueJob], now: DateTime<Utc>) -> Result<(), StoreError> {
    for why in [WhyDue::Lost, WhyDue::QuietHoursOver, WhyDue::TimeCame] {
        let because = due.iter().filter(|due| due.why == why);
        let ids: Vec<_> = because.map(|due| due.job.notification.id).collect();
        let (step, text) = match why {
            WhyDue::Lost => (
                Step::Republished,
                "published again: no queue knew it any more",
            ),
            WhyDue::QuietHoursOver => (
                Step::QuietHours,
                "its wait for the end of the quiet hours is over",
            ),
            WhyDue::TimeCame => (Step::TimeCame, "its time has come: published"),
        };
        let entry = TimelineEntry::new(now, step, text);
        in_time(worker.store.tell(&ids, &entry, false)).await?;
    }
    Ok(())
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
