//! Queueing: jobs of the same size are published with confirms to a quorum queue like ours, consumed from it, and
//! acknowledged many at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm,
};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{WARM_UP, lasting, text};
use crate::bench::speed::meter::Role;
use crate::bench::speed::part::{measured, meter};
use crate::wait::eventually;

const QUEUE: &str = "bench.limit";
/// Published and not yet confirmed, at one time.
const OUTSTANDING: usize = 1_000;
/// Consumed and not yet acknowledged, at one time.
const PREFETCH: u16 = 1_000;
/// Acknowledged at one time.
const ACKNOWLEDGED: usize = 200;
const PERSISTENT: u8 = 2;

/// Does what it is told: `url`, `body`, `seconds`.
pub(in crate::bench::speed) async fn run(told: &Value) -> Value {
    let url = text(told, "url");
    let connection = Connection::connect(url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker answers");
    let (publisher, consumer) = (channel(&connection).await, channel(&connection).await);
    declare(&publisher).await;
    let confirms = publisher.confirm_select(ConfirmSelectOptions::default());
    confirms.await.expect("confirms");
    let limit = consumer.basic_qos(PREFETCH, BasicQosOptions::default());
    limit.await.expect("a limit");
    let deliveries = consumer.basic_consume(
        QUEUE.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let deliveries = deliveries.await.expect("deliveries");
    let taken = Arc::new(AtomicUsize::new(0));
    tokio::spawn(take_all(deliveries, Arc::clone(&taken)));

    let body = text(told, "body").as_bytes();
    let warm = publish(&publisher, body, Instant::now() + WARM_UP).await;
    wait(&taken, warm).await;
    let meter = meter(Role::Raw, told);
    let published = publish(&publisher, body, Instant::now() + lasting(told)).await;
    wait(&taken, warm + published).await;
    let answer = measured(meter, published);
    let gone = publisher.queue_delete(QUEUE.into(), QueueDeleteOptions::default());
    drop(gone.await);
    answer
}

async fn channel(connection: &Connection) -> Channel {
    connection.create_channel().await.expect("a channel")
}

async fn declare(channel: &Channel) {
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-exchange", "push.dlx"),
        ("x-dead-letter-routing-key", "push.dead"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
    ] {
        arguments.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(QUEUE.into(), durable, arguments);
    declared.await.expect("a queue");
}

/// Publishes until then; how many were confirmed, which is all.
async fn publish(channel: &Channel, body: &[u8], until: Instant) -> usize {
    let mut outstanding = VecDeque::with_capacity(OUTSTANDING);
    let mut published = 0;
    while Instant::now() < until {
        if outstanding.len() == OUTSTANDING {
            confirmed(outstanding.pop_front()).await;
        }
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(Uuid::new_v4().to_string().into())
            .with_type("push.job".into());
        let publish = channel.basic_publish("".into(), QUEUE.into(), mandatory, body, properties);
        outstanding.push_back(publish.await.expect("the broker takes it"));
        published += 1;
    }
    while !outstanding.is_empty() {
        confirmed(outstanding.pop_front()).await;
    }
    published
}

/// Confirms come in order, as good as always.
async fn confirmed(confirm: Option<PublisherConfirm>) {
    if let Some(confirm) = confirm {
        let confirmation = confirm.await.expect("the broker confirms");
        assert!(confirmation.is_ack(), "{confirmation:?}");
    }
}

async fn take_all(mut deliveries: Consumer, taken: Arc<AtomicUsize>) {
    let many = BasicAckOptions { multiple: true };
    while let Some(Ok(delivery)) = deliveries.next().await {
        let now = taken.load(Ordering::Relaxed) + 1;
        // The last ones of a measurement may stay unacknowledged: less than a batch.
        if now.is_multiple_of(ACKNOWLEDGED) {
            delivery.acker.ack(many).await.expect("it is acknowledged");
        }
        taken.store(now, Ordering::Relaxed);
    }
}

async fn wait(taken: &AtomicUsize, wanted: usize) {
    let all = eventually("all jobs are taken", async || {
        (taken.load(Ordering::Relaxed) >= wanted).then_some(())
    });
    all.await;
}
