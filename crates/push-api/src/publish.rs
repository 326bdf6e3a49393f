//! Publishing the first job of a notification, after its commit; and telling of changes, after theirs.
//!
//! A broker that is away delays a notification and refuses nothing: what it surely did not take is
//! marked in the database, so that the worker's reconciler publishes it soon. Even where that mark
//! is lost, the notification becomes due by itself `RECONCILE_AFTER` it was accepted.

use chrono::{DateTime, Utc};
use push_core::changed::Changed;
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::notification::Notification;
use push_queue::{Broker, Message, Route};
use push_store::Store;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::database::in_time;
use crate::metrics;
use crate::trace::TraceContext;

/// Unpublished notifications that may wait for their mark; more become due by themselves.
const UNMARKED_MAX: usize = 10_000;
/// Marks of one statement.
const BATCH_MAX: usize = 500;

/// Publishes jobs and changes.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    unpublished: mpsc::Sender<NotificationId>,
}

impl Publisher {
    /// Starts the task that marks what was not published. It ends, all work done, when the last clone
    /// is dropped.
    #[must_use]
    pub fn start(
        broker: Broker,
        store: Store,
        now: fn() -> DateTime<Utc>,
        tasks: &TaskTracker,
    ) -> Self {
        let (unpublished, queue) = mpsc::channel(UNMARKED_MAX);
        tasks.spawn(mark(queue, store, now));
        Self {
            broker,
            unpublished,
        }
    }

    /// Tells all workers what changed; returns within the broker's two seconds, at once when it is away.
    pub async fn tell(&self, changes: &[Changed]) {
        self.broker.tell(changes).await;
    }

    /// Publishes the first job of a committed notification; returns within the broker's two seconds,
    /// at once when it is away.
    pub async fn publish(&self, notification: Notification, trace: TraceContext) {
        self.publish_job(&Job::first(notification), trace).await;
    }

    /// The same for a later job, which is committed as well: a replay.
    pub async fn publish_job(&self, job: &Job, trace: TraceContext) {
        let id = job.notification.id;
        let message = Message::job(job, Some(trace.to_string()));
        let published = self.broker.publish(Route::Jobs, message).await;
        metrics::published(published.as_ref().copied());
        if let Err(error) = published {
            tracing::debug!(notification.id = %id, %error, "the job was not published; the reconciler will do it");
            // A second copy of a job that the broker may have would be one too many (P2): that one
            // becomes due by itself if no worker ever sees it.
            if !error.may_be_published() {
                let _full = self.unpublished.try_send(id);
            }
        }
    }
}

async fn mark(mut queue: mpsc::Receiver<NotificationId>, store: Store, now: fn() -> DateTime<Utc>) {
    loop {
        let mut ids = Vec::new();
        if queue.recv_many(&mut ids, BATCH_MAX).await == 0 {
            return;
        }
        if let Err(error) = in_time(store.mark_unpublished(&ids, now())).await {
            tracing::debug!(%error, notifications = ids.len(), "not marked as unpublished; they become due by themselves");
        }
    }
}
