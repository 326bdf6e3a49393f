//! Consuming, over all reconnects.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use push_seal::Keyring;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::delivery::{Delivery, Origin};
use crate::link::{Link, reason_of};
use crate::supervisor::Links;
use crate::topology::Queue;

/// For subscribing, and for taking leave.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A subscription that was silent for so long, with nothing in hand, is made anew.
///
/// Seen with RabbitMQ 3.10.8, under load, after `push.jobs` was deleted by hand and declared again at once by another
/// process: the broker counted one consumer and one unacknowledged message, and the message never came out of the
/// client. Where it stuck is not known; a new channel gets it, because the end of the old one returns it to the queue.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// What a queue delivers. Ends when it was stopped and everything prefetched was handed out.
pub struct Deliveries {
    incoming: mpsc::Receiver<Delivery>,
}

impl Deliveries {
    /// The next message; `None` at the end. May be cancelled without losing anything.
    pub async fn recv(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.incoming.recv().await?;
            // Those of a lost channel come again: working on them would be work done twice.
            if !delivery.is_lost() {
                return Some(delivery);
            }
        }
    }

    /// Waits for one message, and takes with it what is already there, up to `limit`. Empty at the
    /// end. May be cancelled without losing anything.
    pub async fn recv_batch(&mut self, limit: usize) -> Vec<Delivery> {
        let Some(first) = self.recv().await else {
            return Vec::new();
        };
        let mut batch = vec![first];
        while batch.len() < limit {
            match self.incoming.try_recv() {
                Ok(delivery) if delivery.is_lost() => {}
                Ok(delivery) => batch.push(delivery),
                Err(_) => break,
            }
        }
        batch
    }
}

pub(crate) fn start(
    links: Links,
    keys: Keyring,
    queue: Queue,
    prefetch: u16,
    stop: CancellationToken,
) -> Deliveries {
    // The broker sends no more than this; after a reconnect the old ones make room as they are read.
    let (outgoing, incoming) = mpsc::channel(usize::from(prefetch));
    let worker = Worker {
        links,
        keys,
        queue,
        prefetch,
        stop,
        outgoing,
    };
    tokio::spawn(worker.run());
    Deliveries { incoming }
}

struct Worker {
    links: Links,
    keys: Keyring,
    queue: Queue,
    prefetch: u16,
    stop: CancellationToken,
    outgoing: mpsc::Sender<Delivery>,
}

/// A consumer on a channel of its own.
struct Subscription {
    origin: Arc<Origin>,
    consumer: Consumer,
}

/// Why a subscription is over.
enum Over {
    /// On purpose, or because nobody reads any more.
    Stopped,
    /// The broker cancelled it: the queue was deleted.
    Cancelled,
    /// It was silent for long, and is to be made anew.
    Silent,
    /// The channel or its connection is gone.
    Lost(String),
}

impl Worker {
    async fn run(mut self) {
        while let Some(link) = self.next_link().await {
            let over = match self.subscribe(&link).await {
                Ok(subscription) => self.forward(subscription).await,
                Err(reason) => Over::Lost(reason),
            };
            match over {
                Over::Stopped => return,
                Over::Cancelled => link.declare_again(&self.queue.name()).await,
                Over::Silent => {}
                Over::Lost(reason) => {
                    link.fail(format!("consuming from {}: {reason}", self.queue.name()));
                }
            }
        }
    }

    /// Waits for a link that works. `None` when there is no use in one.
    async fn next_link(&mut self) -> Option<Arc<Link>> {
        let works = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.has_failed());
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.outgoing.closed() => None,
            link = self.links.wait_for(works) => link.ok()?.clone(),
        }
    }

    async fn subscribe(&self, link: &Link) -> Result<Subscription, String> {
        let subscribe = async {
            let channel = link.consuming.create_channel().await?;
            // Per consumer: RabbitMQ 4.3 refuses the channel-wide one.
            let qos = BasicQosOptions { global: false };
            channel.basic_qos(self.prefetch, qos).await?;
            let consumer = channel
                .basic_consume(
                    self.queue.name().into(),
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await?;
            Ok((channel, consumer))
        };
        match timeout(ANSWER_MAX, subscribe).await {
            Ok(Ok((channel, consumer))) => Ok(Subscription {
                origin: Arc::new(Origin::new(channel, link.last_settled.clone())),
                consumer,
            }),
            Ok(Err(error)) => Err(reason_of(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn forward(&self, mut subscription: Subscription) -> Over {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.drain(subscription, Over::Stopped).await,
                () = self.outgoing.closed() => return self.drain(subscription, Over::Stopped).await,
                delivery = subscription.consumer.next() => delivery,
                () = sleep(SILENT_MAX) => {
                    if subscription.origin.is_settled() {
                        return self.drain(subscription, Over::Silent).await;
                    }
                    continue;
                }
            };
            match delivery {
                Some(Ok(delivery)) => self.hand_over(&subscription.origin, delivery).await,
                Some(Err(error)) => return Over::Lost(reason_of(&error)),
                None if subscription.origin.is_open() => return Over::Cancelled,
                None => return Over::Lost("the channel was closed".to_owned()),
            }
        }
    }

    /// Cancels the consumer, then hands out what the broker had sent until then.
    async fn drain(&self, mut subscription: Subscription, over: Over) -> Over {
        let channel: &Channel = subscription.origin.channel();
        let tag = subscription.consumer.tag();
        let cancel = channel.basic_cancel(tag, BasicCancelOptions::default());
        // Without an answer the channel is as good as lost: the broker delivers again what it sent.
        if matches!(timeout(ANSWER_MAX, cancel).await, Ok(Ok(()))) {
            while let Some(Ok(delivery)) = subscription.consumer.next().await {
                self.hand_over(&subscription.origin, delivery).await;
            }
        }
        over
    }

    /// If nobody reads any more, the delivery is dropped, and so goes back to its queue.
    async fn hand_over(&self, origin: &Arc<Origin>, delivery: lapin::message::Delivery) {
        let delivery = Delivery::new(Arc::clone(origin), delivery, &self.keys);
        let _ = self.outgoing.send(delivery).await;
    }
}
