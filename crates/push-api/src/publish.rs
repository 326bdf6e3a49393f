//! Publishing the first job of a notification, after its commit; and telling of changes, after theirs.
//!
//! A broker that is away delays a notification and refuses nothing: what it surely did not take is
//! marked in the database, so that the worker's reconciler publishes it soon. So is what nobody published
//! because the answer to its commit was lost; the mark waits for that transaction's end. Even where a mark
//! is lost, the notification becomes due by itself `RECONCILE_AFTER` it was accepted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::changed::Changed;
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::trace::TraceContext;
use push_queue::{Broker, Message, PublishError, Route};
use push_store::Store;
use push_trace::{Span, SpanKind};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::database::in_time;
use crate::metrics::{self, Stage};

/// Unpublished notifications that may wait for their mark, of either kind; more become due by themselves.
const UNMARKED_MAX: usize = 10_000;
/// Marks of one statement.
const BATCH_MAX: usize = 500;
/// How soon a database that was away is asked again to take marks.
const MARK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Publishes jobs and changes.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    unpublished: mpsc::Sender<NotificationId>,
    /// Its own queue: a mark may have to wait for a transaction whose end the database has not noticed.
    in_doubt: mpsc::Sender<NotificationId>,
}

impl Publisher {
    /// Starts the tasks that mark what was not published. They end when the last clone is dropped, all work done
    /// unless the database is away then.
    #[must_use]
    pub fn start(
        broker: Broker,
        store: Store,
        now: fn() -> DateTime<Utc>,
        tasks: &TaskTracker,
    ) -> Self {
        let start = || {
            let (marked, queue) = mpsc::channel(UNMARKED_MAX);
            tasks.spawn(mark(queue, store.clone(), now));
            marked
        };
        Self {
            broker,
            unpublished: start(),
            in_doubt: start(),
        }
    }

    /// Tells all workers what changed; returns within the broker's two seconds, at once when it is away.
    pub async fn tell(&self, changes: &[Changed]) {
        self.broker.tell(changes).await;
    }

    /// Whether these are committed is not known, and whoever asked was told so: nobody publishes them. Those that are
    /// will be published soon.
    pub fn unpublished_if_committed(&self, ids: impl IntoIterator<Item = NotificationId>) {
        for id in ids {
            let _full = self.in_doubt.try_send(id);
        }
    }

    /// Publishes the jobs of committed notifications, each with the trace that it belongs to, in order and in one go; returns
    /// within the broker's two seconds for each portion of them, at once when it is away.
    pub async fn publish(&self, jobs: &[(Job, TraceContext)]) {
        let spans: Vec<_> = jobs.iter().map(|(_, trace)| Span::within(*trace)).collect();
        let messages = jobs.iter().zip(&spans).map(|((job, _), span)| {
            let message = Message::job(job, Some(span.context()));
            (Route::Jobs, message)
        });
        let results = self.broker.publish_all(messages.collect()).await;
        for (((job, _), span), published) in jobs.iter().zip(&spans).zip(results) {
            describe(span, job, &published);
            self.see_to(job.notification.id, published);
        }
    }

    fn see_to(&self, id: NotificationId, published: Result<(), PublishError>) {
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

/// By OpenTelemetry's names ("Semantic conventions for RabbitMQ").
fn describe(span: &Span, job: &Job, published: &Result<(), PublishError>) {
    if published.is_ok() {
        metrics::stage(Stage::Publish, span.elapsed());
    }
    span.end(SpanKind::Producer, "publish push.jobs", |about| {
        about.set("messaging.system", "rabbitmq");
        about.set("messaging.operation.type", "send");
        about.set("messaging.destination.name", "push.jobs");
        about.set("messaging.message.id", job.notification.id.to_string());
        if let Err(error) = published {
            about.failed(metrics::publish_outcome(Err(error)));
        }
    });
}

/// Marks until the queue is closed and empty, or the database is away then. A mark of what is not there, or has been
/// worked on, changes nothing.
async fn mark(mut queue: mpsc::Receiver<NotificationId>, store: Store, now: fn() -> DateTime<Utc>) {
    let mut ids = Vec::new();
    while queue.recv_many(&mut ids, BATCH_MAX).await > 0 {
        while let Err(error) = in_time(store.mark_unpublished(&ids, now())).await {
            tracing::debug!(%error, notifications = ids.len(), "not marked as unpublished");
            if !error.is_unavailable() {
                break;
            }
            if queue.is_closed() {
                return;
            }
            tokio::time::sleep(MARK_AGAIN_AFTER).await;
        }
        ids.clear();
    }
}
