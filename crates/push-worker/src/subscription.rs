//! Consuming while the database is there.
//!
//! A message that waits in the worker cannot wait for ever: after 30 minutes (`consumer_timeout`) RabbitMQ closes the
//! channel, and counts one delivery of the twenty that a message has, although nothing is wrong with it. So when the
//! database has been away for some time, the subscription ends, and everything that it delivered goes back: as new
//! messages, because a message that is returned is counted as well.

use push_queue::{ConsumeFrom, Deliveries, Delivery, Message, Route};
use tokio_util::sync::CancellationToken;

use crate::admit::{acknowledge, requeue};
use crate::database;
use crate::run::Worker;

/// What a queue delivers, until the worker is asked to stop.
pub struct Subscription {
    from: ConsumeFrom,
    prefetch: u16,
    deliveries: Deliveries,
    /// Take nothing more into work: the worker is asked to stop, or the database has been away for long.
    pause: CancellationToken,
}

impl Subscription {
    /// Subscribes.
    pub fn start(worker: &Worker, from: ConsumeFrom, prefetch: u16) -> Self {
        let pause = worker.shutdown.soft.child_token();
        let (ended, patience) = (pause.clone(), worker.give_back_after);
        tokio::spawn(async move {
            let long = ended
                .run_until_cancelled(database::away_for(patience))
                .await;
            if long.is_some() {
                tracing::warn!(
                    queue = from.name(),
                    "the database has been away for long: messages go back to their queue, and none is taken until it is back"
                );
                ended.cancel();
            }
        });
        Self {
            from,
            prefetch,
            deliveries: worker.broker.consume(from, prefetch, pause.clone()),
            pause,
        }
    }

    /// Cancelled when what waits for the database is to be given back.
    pub fn pause(&self) -> CancellationToken {
        self.pause.clone()
    }

    /// The next messages, `limit` at most; empty when the worker is asked to stop and everything that was delivered has
    /// been handed out or given back.
    pub async fn next(&mut self, worker: &Worker, limit: usize) -> Vec<Delivery> {
        let stop = &worker.shutdown.soft;
        loop {
            let batch = self.deliveries.recv_batch(limit).await;
            match (batch.is_empty(), self.pause.is_cancelled()) {
                (false, false) => return batch,
                (false, true) => give_back(worker, self.from, batch).await,
                (true, _) if stop.is_cancelled() => return batch,
                (true, _) => {
                    database::back(&worker.store, stop).await;
                    *self = Self::start(worker, self.from, self.prefetch);
                }
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.pause.cancel();
    }
}

/// Gives back what is not worked on. A worker that stops returns it to its place in the queue, for the others; who waits
/// for the database puts it in anew, which costs no delivery.
pub async fn give_back(worker: &Worker, from: ConsumeFrom, deliveries: Vec<Delivery>) {
    let anew = match from {
        ConsumeFrom::Jobs if !worker.shutdown.soft.is_cancelled() => Route::Jobs,
        ConsumeFrom::Receipts if !worker.shutdown.soft.is_cancelled() => Route::Receipts,
        // Nothing ever falls from the dead letters, however often they are returned.
        ConsumeFrom::Jobs | ConsumeFrom::Receipts | ConsumeFrom::Dead => {
            return return_all(deliveries).await;
        }
    };
    let messages = deliveries
        .iter()
        .map(|delivery| (anew, Message::anew(delivery)));
    let published = worker.broker.publish_all(messages.collect()).await;
    let (mut done, mut returned) = (Vec::new(), Vec::new());
    for (delivery, published) in deliveries.into_iter().zip(published) {
        match published {
            Ok(()) => done.push(delivery),
            // Perhaps twice in the queue then: a copy is recognised.
            Err(_) => returned.push(delivery),
        }
    }
    acknowledge(done).await;
    return_all(returned).await;
}

async fn return_all(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        requeue(delivery).await;
    }
}
