//! A delivered message, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, DeliveryTag, FieldTable};
use lapin::{Acker, Channel};
use push_core::job::{GiveUpReason, Job};
use push_core::trace::{TRACE_PARENT, TraceContext};
use push_seal::{Keyring, Unopened};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::ChannelLost;
use crate::message::{GIVEN_UP, Message};
use crate::sealed::{self, Unreadable};
use crate::topology::DELIVERY_LIMIT;

/// For an acknowledgement to leave this process. It takes longer only when the connection is stuck.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// A message from a queue. Exactly one of [`ack`](Delivery::ack), [`requeue`](Delivery::requeue) and
/// [`dead_letter`](Delivery::dead_letter) settles it. One that is dropped goes back to its queue: a
/// task that panics must not keep its message until the process ends.
pub struct Delivery {
    /// The payload, whoever wrote it; opened, if it was sealed and could be.
    pub body: Vec<u8>,
    /// Property `message_id`.
    pub message_id: Option<String>,
    /// Property `type`.
    pub kind: Option<String>,
    /// Property `timestamp`, seconds since 1970.
    pub timestamp: Option<u64>,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// How often it was delivered before, as far as the broker counts.
    pub delivery_count: u32,
    /// If it was dead-lettered: the last time.
    pub death: Option<Death>,
    /// Header `traceparent`, if it is one.
    pub trace_parent: Option<TraceContext>,
    /// Header `x-push-given-up`: why a worker gave it up as a whole.
    pub given_up: Option<GiveUpReason>,
    /// Why it could not be opened.
    unopened: Option<Unopened>,
    pending: Pending,
}

/// Why a message was dead-lettered ("Dead Letter Exchanges", "Effects on Messages").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// `rejected`, `expired`, `delivery_limit` or `maxlen`.
    pub reason: String,
    /// The queue that it left.
    pub queue: String,
    /// The exchange that it had been published to.
    pub exchange: String,
    /// The reason of its first death, which may have been a rung of the ladder (`expired`).
    pub first_reason: Option<String>,
    /// The queue of its first death.
    pub first_queue: Option<String>,
}

impl Delivery {
    pub(crate) fn new(
        origin: Arc<Origin>,
        delivery: lapin::message::Delivery,
        keys: &Keyring,
    ) -> Self {
        let (body, unopened) = match sealed::open(keys, &delivery.data) {
            Ok(opened) => (opened.unwrap_or(delivery.data), None),
            Err(why) => (delivery.data, Some(why)),
        };
        let properties = delivery.properties;
        let no_headers = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&no_headers);
        Self {
            body,
            message_id: properties.message_id().as_ref().map(ToString::to_string),
            kind: properties.kind().as_ref().map(ToString::to_string),
            timestamp: *properties.timestamp(),
            redelivered: delivery.redelivered,
            delivery_count: delivery_count(headers),
            death: death(headers),
            trace_parent: text(headers, TRACE_PARENT).and_then(|text| TraceContext::parse(&text)),
            given_up: text(headers, GIVEN_UP)
                .and_then(|reason| GiveUpReason::from_spelling(&reason)),
            unopened,
            pending: Pending::new(origin, delivery.delivery_tag, delivery.acker),
        }
    }

    /// The job in it.
    ///
    /// # Errors
    /// [`Unreadable`] says why there is none.
    pub fn job(&self) -> Result<Job, Unreadable> {
        sealed::read(&self.body, self.unopened)
    }

    /// Whether it was handed out more often than [`DELIVERY_LIMIT`] allows. The broker gives up what it counts
    /// itself; since 4.3 it does not count what was returned, so whoever consumes has to look.
    #[must_use]
    pub fn is_beyond_limit(&self) -> bool {
        is_beyond_limit(self.delivery_count)
    }

    /// What to publish to the dead letters before this is acknowledged, so that they say why: the broker does not let
    /// who rejects a message add anything to it.
    #[must_use]
    pub fn given_up_for(&self, reason: GiveUpReason) -> Message {
        Message {
            given_up: Some(reason),
            ..Message::anew(self)
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        !self.pending.acker.usable()
    }

    /// Done: the broker forgets it.
    ///
    /// # Errors
    /// [`ChannelLost`]: it will be delivered again.
    pub async fn ack(self) -> Result<(), ChannelLost> {
        self.pending.ack(BasicAckOptions::default()).await
    }

    /// Not done, and not to be counted: back to its queue, at once, for whoever consumes. Not for
    /// retries: there is no pause, and RabbitMQ 4.3 does not count it for the delivery limit.
    ///
    /// # Errors
    /// [`ChannelLost`]: it will be delivered again, which is the same.
    pub async fn requeue(self) -> Result<(), ChannelLost> {
        self.pending.requeue().await
    }

    /// Given up: to the dead letters, as it is.
    ///
    /// # Errors
    /// [`ChannelLost`]: it will be delivered again.
    pub async fn dead_letter(self) -> Result<(), ChannelLost> {
        self.pending.dead_letter().await
    }
}

/// Acknowledges many, with as few frames as is safe, and without waiting for one after the other.
///
/// # Errors
/// [`ChannelLost`] if that is so for any of them: those will be delivered again.
pub async fn ack_all(deliveries: Vec<Delivery>) -> Result<(), ChannelLost> {
    let mut by_origin: BTreeMap<usize, Vec<Pending>> = BTreeMap::new();
    for Delivery { pending, .. } in deliveries {
        let origin = Arc::as_ptr(&pending.origin).addr();
        by_origin.entry(origin).or_default().push(pending);
    }
    let results = join_all(by_origin.into_values().map(ack_of_one_origin)).await;
    results.into_iter().collect()
}

async fn ack_of_one_origin(mut batch: Vec<Pending>) -> Result<(), ChannelLost> {
    batch.sort_unstable_by_key(|pending| pending.tag);
    let Some(origin) = batch.first().map(|pending| Arc::clone(&pending.origin)) else {
        return Ok(());
    };
    let rest = batch.split_off(origin.contiguous(&batch));
    let together = async {
        match batch.pop() {
            Some(last) => last.ack_up_to(batch).await,
            None => Ok(()),
        }
    };
    let one_by_one = join_all(
        rest.into_iter()
            .map(|pending| pending.ack(BasicAckOptions::default())),
    );
    let (together, one_by_one) = tokio::join!(together, one_by_one);
    one_by_one.into_iter().fold(together, Result::and)
}

/// How long a channel stays open after the last acknowledgement on it. Having sent it is not enough:
/// the broker hands a quorum queue some 32 settlements at a time, keeps the rest in the channel's
/// process, and forgets them when the channel closes (seen with 3.10: of 97 acknowledgements before a
/// close 64 were lost). Nothing tells when it is done; it takes milliseconds.
const LINGER: Duration = Duration::from_secs(1);

/// When something was last settled, on any channel of a link.
#[derive(Clone, Default)]
pub(crate) struct LastSettled(Arc<Mutex<Option<Instant>>>);

impl LastSettled {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until the broker has surely taken it in.
    pub(crate) async fn linger(&self) {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            sleep_until(last + LINGER).await;
        }
    }
}

/// The channel that deliveries came from, open until the last of them is settled.
pub(crate) struct Origin {
    channel: Channel,
    last_settled: LastSettled,
    /// What was delivered and is not known to be settled. A tag leaves after its frame was written,
    /// never before: until then it must not look as if somebody had settled it.
    unsettled: Mutex<BTreeSet<DeliveryTag>>,
}

impl Origin {
    pub(crate) fn new(channel: Channel, last_settled: LastSettled) -> Self {
        Self {
            channel,
            last_settled,
            unsettled: Mutex::default(),
        }
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Whether nothing that it delivered waits to be settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// A frame was written that settled these.
    fn settled(&self, tags: impl IntoIterator<Item = DeliveryTag>) {
        self.last_settled.now();
        let mut unsettled = self.unsettled();
        for tag in tags {
            unsettled.remove(&tag);
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, BTreeSet<DeliveryTag>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many from the start of `batch` (in order of their tags) can be acknowledged by one frame
    /// with `multiple`, which acknowledges everything up to its tag: nothing that is not in the batch
    /// may be unsettled below. Tags are counted up by a channel with one consumer, and noted before
    /// anyone sees the delivery.
    fn contiguous(&self, batch: &[Pending]) -> usize {
        let unsettled = self.unsettled();
        batch
            .iter()
            .zip(unsettled.iter())
            .take_while(|(pending, tag)| pending.tag == **tag)
            .count()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.is_open() {
            let (channel, last_settled) = (self.channel.clone(), self.last_settled.clone());
            runtime.spawn(async move {
                last_settled.linger().await;
                drop(channel);
            });
        }
    }
}

/// The right, and duty, to settle a delivery.
struct Pending {
    origin: Arc<Origin>,
    tag: DeliveryTag,
    acker: Acker,
    /// Another delivery's `multiple` settles this one.
    covered: bool,
}

impl Pending {
    fn new(origin: Arc<Origin>, tag: DeliveryTag, acker: Acker) -> Self {
        origin.unsettled().insert(tag);
        Self {
            origin,
            tag,
            acker,
            covered: false,
        }
    }

    async fn ack(self, options: BasicAckOptions) -> Result<(), ChannelLost> {
        self.settled(self.acker.ack(options)).await
    }

    async fn requeue(self) -> Result<(), ChannelLost> {
        let options = BasicNackOptions {
            requeue: true,
            multiple: false,
        };
        self.settled(self.acker.nack(options)).await
    }

    async fn dead_letter(self) -> Result<(), ChannelLost> {
        let options = BasicRejectOptions { requeue: false };
        self.settled(self.acker.reject(options)).await
    }

    /// Acknowledges this one and all `before` it. They are covered before the frame leaves: one that
    /// were returned after it would be unknown to the broker, which closes the channel for that.
    async fn ack_up_to(self, mut before: Vec<Self>) -> Result<(), ChannelLost> {
        for pending in &mut before {
            pending.covered = true;
        }
        let origin = Arc::clone(&self.origin);
        self.ack(BasicAckOptions {
            multiple: !before.is_empty(),
        })
        .await?;
        origin.settled(before.iter().map(|pending| pending.tag));
        Ok(())
    }

    async fn settled(
        &self,
        written: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), ChannelLost> {
        match timeout(SETTLE_MAX, written).await {
            Ok(Ok(true)) => {
                self.origin.settled([self.tag]);
                Ok(())
            }
            // `false`: lapin knows that the channel is gone.
            Ok(Ok(false) | Err(_)) | Err(_) => Err(ChannelLost),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.covered || !self.acker.usable() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (origin, tag, acker) = (Arc::clone(&self.origin), self.tag, self.acker.clone());
        runtime.spawn(async move {
            // Usable until here, hence settled by nobody else.
            let options = BasicNackOptions {
                requeue: true,
                multiple: false,
            };
            if matches!(timeout(SETTLE_MAX, acker.nack(options)).await, Ok(Ok(true))) {
                origin.settled([tag]);
            }
        });
    }
}

/// RabbitMQ counts returns on its own since 4.3 (`x-acquired-count`); for the question whether a
/// message kills workers, each time that it was handed out counts.
pub(crate) fn delivery_count(headers: &FieldTable) -> u32 {
    let count = |name| number(headers, name).unwrap_or(0);
    let counted = count("x-delivery-count").max(count("x-acquired-count"));
    u32::try_from(counted).unwrap_or(u32::MAX)
}

/// With a limit of n RabbitMQ hands a message out n + 1 times: the first time does not count.
fn is_beyond_limit(delivered_before: u32) -> bool {
    i64::from(delivered_before) > i64::from(DELIVERY_LIMIT)
}

pub(crate) fn death(headers: &FieldTable) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else {
        return None;
    };
    // The newest comes first.
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else {
        return None;
    };
    Some(Death {
        reason: text(last, "reason")?,
        queue: text(last, "queue")?,
        exchange: text(last, "exchange").unwrap_or_default(),
        first_reason: text(headers, "x-first-death-reason"),
        first_queue: text(headers, "x-first-death-queue"),
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these are texts")]
pub(crate) fn text(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these are whole numbers"
)]
fn number(table: &FieldTable, name: &str) -> Option<i64> {
    match *table.inner().get(name)? {
        AMQPValue::ShortShortInt(number) => Some(number.into()),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => Some(number.into()),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::LongInt(number) => Some(number.into()),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::LongLongInt(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in fields {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn word(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn the_newest_death_counts_and_the_first_is_kept() {
        let died = |queue: &str, reason: &str| {
            AMQPValue::FieldTable(table(&[
                ("queue", word(queue)),
                ("reason", word(reason)),
                ("exchange", word("push")),
            ]))
        };
        let deaths = vec![
            died("push.jobs", "rejected"),
            died("push.retry.10s", "expired"),
        ];
        let headers = table(&[
            ("x-death", AMQPValue::FieldArray(deaths.into())),
            ("x-first-death-reason", word("expired")),
            ("x-first-death-queue", word("push.retry.10s")),
        ]);
        let death = death(&headers).unwrap();
        assert_eq!(
            (death.reason.as_str(), death.queue.as_str()),
            ("rejected", "push.jobs")
        );
        assert_eq!(death.first_queue.as_deref(), Some("push.retry.10s"));
    }

    #[test]
    fn foreign_headers_are_survived() {
        let headers = table(&[
            ("x-death", word("what?")),
            ("x-delivery-count", word("many")),
            (
                TRACE_PARENT,
                AMQPValue::LongString(vec![0xff_u8, 0xfe].into()),
            ),
        ]);
        assert_eq!(death(&headers), None);
        assert_eq!(delivery_count(&headers), 0);
        assert!(text(&headers, TRACE_PARENT).is_some());
        let empty = table(&[("x-death", AMQPValue::FieldArray(Vec::new().into()))]);
        assert_eq!(death(&empty), None);
    }

    #[test]
    fn a_message_that_the_broker_returns_without_end_is_beyond_the_limit() {
        let beyond = |acquired: u32| {
            let headers = table(&[
                ("x-delivery-count", AMQPValue::LongLongInt(0)),
                ("x-acquired-count", AMQPValue::LongUInt(acquired)),
            ]);
            is_beyond_limit(delivery_count(&headers))
        };
        assert!(!beyond(0) && !beyond(20), "so often the broker allows it");
        assert!(beyond(21) && beyond(u32::MAX));
    }

    #[test]
    fn the_higher_of_the_brokers_counts_is_taken() {
        let headers = table(&[
            ("x-delivery-count", AMQPValue::LongLongInt(2)),
            ("x-acquired-count", AMQPValue::LongUInt(5)),
        ]);
        assert_eq!(delivery_count(&headers), 5);
    }
}
