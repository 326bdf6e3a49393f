//! How full each queue is, and how long its oldest has been waiting.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use push_core::ladder::RetryDelay;
use push_queue::{Broker, Depth, DepthError, Queue, Topology};
use push_store::{SeenWorker, Waiting};
use serde::Serialize;
use utoipa::ToSchema;

use super::seconds_since;
use crate::metrics;

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Queue)]
pub struct QueueView {
    /// Its name on the broker.
    #[schema(example = "push.jobs")]
    name: String,
    /// Messages that wait in it; what workers have in hand is not among them. `null`: the broker did not tell.
    depth: Option<u32>,
    /// Who consumes from it, in all workers; what only waits has none. `null`: the broker did not tell.
    consumers: Option<u32>,
    /// How long the oldest has been waiting that workers could take now, by the database: of `push.jobs` since it was
    /// accepted, came back from its retry queue, or was published again; of `push.dead` since it was given up, or was found
    /// overdue there (`RECONCILE_AFTER` at most); of
    /// `push.receipts` since the receipt was due. `null`: the queue is empty, or it is not known, as for what waits for a
    /// time that its queue is named by.
    age_seconds: Option<u64>,
    /// Why the broker did not tell.
    problem: Option<String>,
}

/// Looks at all queues at once. Those in which something waits for a time are known by the workers that let it.
pub async fn look(
    broker: &Broker,
    workers: &[SeenWorker],
    waiting: &Waiting,
    now: DateTime<Utc>,
) -> Vec<QueueView> {
    let looks = topology(workers)
        .queues()
        .into_iter()
        .map(async |queue| QueueView::new(queue, broker.depth(queue).await, waiting, now));
    join_all(looks).await
}

fn topology(workers: &[SeenWorker]) -> Topology {
    let delays = |of: fn(&SeenWorker) -> &Vec<RetryDelay>| {
        let shortest_first: BTreeSet<_> = workers.iter().flat_map(of).copied().collect();
        shortest_first.into_iter().collect()
    };
    Topology {
        retry_delays: delays(|worker| &worker.report.retry_delays),
        receipt_delays: delays(|worker| &worker.report.receipt_delays),
    }
}

impl QueueView {
    /// Has the gauges tell it.
    pub(super) fn measure(&self) {
        metrics::queue(&self.name, self.depth, self.consumers, self.age_seconds);
    }

    fn new(
        queue: Queue,
        found: Result<Depth, DepthError>,
        waiting: &Waiting,
        now: DateTime<Utc>,
    ) -> Self {
        let depth = found.as_ref().ok();
        let since = match queue {
            Queue::Jobs => waiting.jobs,
            Queue::Dead => waiting.dead,
            Queue::Receipts => waiting.receipts,
            Queue::Retry(_) | Queue::ReceiptsAfter(_) => None,
        };
        let is_empty = depth.is_some_and(|depth| depth.ready == 0);
        Self {
            name: queue.name(),
            depth: depth.map(|depth| depth.ready),
            consumers: depth.map(|depth| depth.consumers),
            age_seconds: since
                .filter(|_| !is_empty)
                .map(|since| seconds_since(since, now)),
            problem: found.err().map(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use push_core::lane::WorkerReport;
    use uuid::Uuid;

    use super::*;

    fn worker(retry: &[&str], receipts: &[&str]) -> SeenWorker {
        let delays = |texts: &[&str]| {
            let delays = texts.iter().map(|text| RetryDelay::parse(text).unwrap());
            delays.collect()
        };
        SeenWorker {
            worker: Uuid::nil(),
            report: WorkerReport {
                lanes: Vec::new(),
                retry_delays: delays(retry),
                receipt_delays: delays(receipts),
            },
            age: Duration::ZERO,
        }
    }

    #[test]
    fn the_queues_are_those_of_all_workers_each_once() {
        let workers = [
            worker(&["30s", "10s"], &["15m", "1h"]),
            worker(&["2m", "10s"], &["15m"]),
        ];
        let queues = topology(&workers).queues();
        let names: Vec<_> = queues.into_iter().map(Queue::name).collect();
        assert_eq!(
            names[3..],
            [
                "push.retry.10s",
                "push.retry.30s",
                "push.retry.2m",
                "push.receipts.15m",
                "push.receipts.1h"
            ]
        );
    }

    #[test]
    fn an_empty_queue_has_no_age_and_one_that_nobody_sees_has_what_the_database_knows() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let waiting = Waiting {
            jobs: Some(now - TimeDelta::milliseconds(7_999)),
            dead: Some(now - TimeDelta::seconds(8)),
            unpublished: Some(now - TimeDelta::seconds(10)),
            receipts: Some(now + TimeDelta::seconds(9)),
        };
        let age = |queue, found| QueueView::new(queue, found, &waiting, now).age_seconds;
        let depth = |ready| {
            Ok(Depth {
                ready,
                consumers: 1,
            })
        };
        assert_eq!(age(Queue::Jobs, depth(1)), Some(7));
        assert_eq!(age(Queue::Jobs, depth(0)), None);
        assert_eq!(age(Queue::Dead, Err(DepthError::TimedOut)), Some(8));
        assert_eq!(age(Queue::Receipts, depth(1)), Some(0), "clocks differ");
        let rung = Queue::Retry(RetryDelay::parse("10s").unwrap());
        assert_eq!(age(rung, depth(1)), None);
        let unseen = QueueView::new(rung, Err(DepthError::NotConnected), &waiting, now);
        assert_eq!((unseen.depth, unseen.consumers), (None, None));
        assert_eq!(unseen.problem.as_deref(), Some("the broker is away"));
    }
}
