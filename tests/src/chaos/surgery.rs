//! What an operator's hands do to the broker: purge, delete, publish again what was there before.
//!
//! A tap listens to everything that is published to the work queue, so that old jobs can come back.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use super::plan::Lane;
use super::strike::queue;
use super::world::World;
use crate::broker::Broker;

/// The contract's exchange for work.
const EXCHANGE: &str = "push";
/// A queue of ours, beside the work queue.
const TAP: &str = "chaos.tap";
/// Jobs that the tap keeps, the newest.
const KEPT: i32 = 200;
/// Jobs that come back at one time.
const AGAIN_MAX: u32 = 40;
/// A frozen broker is somebody else's fault.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of work with the broker, in time or not at all.
async fn in_time<T>(work: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// How many messages are gone.
pub(crate) async fn purge(world: &World, lane: Lane) -> Result<u32, String> {
    in_time(async {
        let (_connection, channel) = world.broker.open().await?;
        let options = QueuePurgeOptions::default();
        channel.queue_purge(queue(lane).into(), options).await
    })
    .await
}

/// How many messages are gone.
pub(crate) async fn delete(world: &World, lane: Lane) -> Result<u32, String> {
    in_time(async {
        let (_connection, channel) = world.broker.open().await?;
        let options = QueueDeleteOptions::default();
        channel.queue_delete(queue(lane).into(), options).await
    })
    .await
}

/// How many jobs came back. The tap is opened again where the broker lost it.
pub(crate) async fn duplicate(world: &World, copies: usize) -> Result<u32, String> {
    in_time(publish_again(world, copies)).await
}

async fn publish_again(world: &World, copies: usize) -> lapin::Result<u32> {
    let (_connection, channel) = world.broker.open().await?;
    open_tap(&channel).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    for again in 0..AGAIN_MAX {
        let options = BasicGetOptions { no_ack: true };
        let Some(taken) = channel.basic_get(TAP.into(), options).await? else {
            return Ok(again);
        };
        let (body, properties) = (&taken.delivery.data, &taken.delivery.properties);
        for _ in 0..copies {
            let options = BasicPublishOptions::default();
            let to = Broker::JOBS.into();
            channel
                .basic_publish("".into(), to, options, body, properties.clone())
                .await?
                .await?;
        }
    }
    Ok(AGAIN_MAX)
}

/// From now on everything that is published to the work queue is kept, too.
pub(crate) async fn tap(world: &World) -> Result<(), String> {
    in_time(async {
        let (_connection, channel) = world.broker.open().await?;
        open_tap(&channel).await
    })
    .await
}

async fn open_tap(channel: &lapin::Channel) -> lapin::Result<()> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(KEPT));
    channel
        .queue_declare(TAP.into(), durable, arguments)
        .await?;
    let options = QueueBindOptions::default();
    let (tap, exchange, key) = (TAP.into(), EXCHANGE.into(), Broker::JOBS.into());
    channel
        .queue_bind(tap, exchange, key, options, FieldTable::default())
        .await
}

/// What lies on the queues of the contract that must be empty in the end.
pub(crate) async fn leftovers(world: &World) -> Vec<(String, u32)> {
    let lanes = (0..world.shape.rungs)
        .map(Lane::Rung)
        .chain([Lane::Jobs, Lane::Dead]);
    let mut left = Vec::new();
    for lane in lanes {
        let name = queue(lane);
        let depth = world.broker.depth(&name).await;
        if depth > 0 {
            left.push((name, depth));
        }
    }
    left
}
