//! Everything that lies on the broker, as data. The names exist nowhere else.
//!
//! Declaring is idempotent: both programs do it at each connection, so that what was deleted by hand
//! or lost with a disk comes back by itself.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};
use push_core::ladder::RetryDelay;

use crate::error::ConnectError;
use crate::link::reason_of;

/// Exchange (direct) for everything that is to be worked on; each queue is bound by its own name.
pub const EXCHANGE_PUSH: &str = "push";
/// Exchange (direct) for what was given up.
pub const EXCHANGE_DEAD: &str = "push.dlx";
/// Exchange (fanout): a token or preference changed, every worker's cache forgets that customer.
pub const EXCHANGE_INVALIDATE: &str = "push.invalidate";
/// Queue of the jobs to deliver.
pub const QUEUE_JOBS: &str = "push.jobs";
/// Queue of the dead-lettered jobs, which a worker moves into the database.
pub const QUEUE_DEAD: &str = "push.dead";
/// Queue of the Expo receipts to fetch.
pub const QUEUE_RECEIPTS: &str = "push.receipts";
/// Queues in which a job waits for its next attempt are named so, and by their delay.
const RETRY_PREFIX: &str = "push.retry.";
/// Queues in which a receipt waits until it may be fetched are named so, and by their delay.
const RECEIPTS_PREFIX: &str = "push.receipts.";
/// Queues on which one worker hears of changes are named so, and by a number. Not left to the broker to name: then a
/// permission for `push.*` is enough.
const CHANGES_PREFIX: &str = "push.invalidate.";
/// Changes that wait for a worker that does not read (it was stopped for a while); the oldest go first.
const CHANGES_MAX: i32 = 10_000;

/// Deliveries of one message before the broker gives it up as poison. A lost connection counts as a
/// delivery for everything that was not acknowledged, so it must be well above the number of
/// restarts that a job may live through; attempts are counted by ourselves.
pub const DELIVERY_LIMIT: i32 = 20;
/// For the queue of dead letters, from which nothing may ever fall: without an own limit RabbitMQ 4
/// takes 20 ("Quorum Queues", "Poison Message Handling"), and 3.10 does not know `-1`.
const NO_DELIVERY_LIMIT: i32 = i32::MAX;

/// The settings that add queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// One queue `push.retry.<delay>` each (`RETRY_DELAYS`).
    pub retry_delays: Vec<RetryDelay>,
    /// One queue `push.receipts.<delay>` each (`RECEIPT_DELAY`, and four times that).
    pub receipt_delays: Vec<RetryDelay>,
}

/// Where a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To be worked on now.
    Jobs,
    /// To be worked on after this delay.
    Retry(RetryDelay),
    /// Given up.
    Dead,
    /// Receipts to be fetched now.
    Receipts,
    /// Receipts to be fetched after this delay.
    ReceiptsAfter(RetryDelay),
    /// Something changed: to every worker that listens.
    Changed,
}

impl Route {
    /// The exchange and the routing key.
    #[must_use]
    pub fn address(self) -> (&'static str, String) {
        match self {
            Self::Jobs => (EXCHANGE_PUSH, Queue::Jobs.name()),
            Self::Retry(delay) => (EXCHANGE_PUSH, Queue::Retry(delay).name()),
            Self::Dead => (EXCHANGE_DEAD, Queue::Dead.name()),
            Self::Receipts => (EXCHANGE_PUSH, Queue::Receipts.name()),
            Self::ReceiptsAfter(delay) => (EXCHANGE_PUSH, Queue::ReceiptsAfter(delay).name()),
            Self::Changed => (EXCHANGE_INVALIDATE, String::new()),
        }
    }

    /// Whether it must end in a queue. Where no worker runs nobody has to hear of changes.
    #[must_use]
    pub(crate) const fn is_mandatory(self) -> bool {
        match self {
            Self::Jobs | Self::Retry(_) | Self::Dead | Self::Receipts | Self::ReceiptsAfter(_) => {
                true
            }
            Self::Changed => false,
        }
    }
}

/// A queue that is consumed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumeFrom {
    /// The jobs to deliver.
    Jobs,
    /// The dead letters.
    Dead,
    /// The receipts to fetch.
    Receipts,
}

impl ConsumeFrom {
    /// The queue's name on the broker.
    #[must_use]
    pub fn name(self) -> String {
        Queue::from(self).name()
    }
}

impl From<ConsumeFrom> for Queue {
    fn from(from: ConsumeFrom) -> Self {
        match from {
            ConsumeFrom::Jobs => Self::Jobs,
            ConsumeFrom::Dead => Self::Dead,
            ConsumeFrom::Receipts => Self::Receipts,
        }
    }
}

/// Every queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The jobs to deliver.
    Jobs,
    /// Jobs that wait for their next attempt.
    Retry(RetryDelay),
    /// The dead letters.
    Dead,
    /// The receipts to fetch.
    Receipts,
    /// Receipts that wait until they may be fetched.
    ReceiptsAfter(RetryDelay),
}

impl Queue {
    /// Its name on the broker.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Jobs => QUEUE_JOBS.to_owned(),
            Self::Retry(delay) => format!("{RETRY_PREFIX}{delay}"),
            Self::Dead => QUEUE_DEAD.to_owned(),
            Self::Receipts => QUEUE_RECEIPTS.to_owned(),
            Self::ReceiptsAfter(delay) => format!("{RECEIPTS_PREFIX}{delay}"),
        }
    }

    /// The exchange that it is bound to, by its own name.
    #[must_use]
    pub const fn exchange(self) -> &'static str {
        match self {
            Self::Jobs | Self::Retry(_) | Self::Receipts | Self::ReceiptsAfter(_) => EXCHANGE_PUSH,
            Self::Dead => EXCHANGE_DEAD,
        }
    }

    /// Its arguments (RabbitMQ docs, "Quorum Queues" and "Dead Letter Exchanges").
    #[must_use]
    pub fn arguments(self) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![("x-queue-type", Argument::Text("quorum"))];
        match self {
            Self::Jobs | Self::Receipts => {
                arguments.push(("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)));
                arguments.extend(dead_letters_to(EXCHANGE_DEAD, QUEUE_DEAD));
            }
            Self::Dead => {
                arguments.push(("x-delivery-limit", Argument::Number(NO_DELIVERY_LIMIT)));
            }
            Self::Retry(delay) => {
                arguments.push(("x-message-ttl", time_to_live(delay)));
                arguments.extend(dead_letters_to(EXCHANGE_PUSH, QUEUE_JOBS));
            }
            Self::ReceiptsAfter(delay) => {
                arguments.push(("x-message-ttl", time_to_live(delay)));
                arguments.extend(dead_letters_to(EXCHANGE_PUSH, QUEUE_RECEIPTS));
            }
        }
        arguments
    }
}

/// The value of a queue's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A name.
    Text(&'static str),
    /// A count, or milliseconds.
    Number(i32),
}

/// At least once: the message leaves its queue only after the target has confirmed it, which RabbitMQ
/// allows together with `reject-publish` only ("Quorum Queues", "Activating at-least-once
/// dead-lettering").
fn dead_letters_to(
    exchange: &'static str,
    routing_key: &'static str,
) -> [(&'static str, Argument); 4] {
    [
        ("x-dead-letter-exchange", Argument::Text(exchange)),
        ("x-dead-letter-routing-key", Argument::Text(routing_key)),
        ("x-dead-letter-strategy", Argument::Text("at-least-once")),
        ("x-overflow", Argument::Text("reject-publish")),
    ]
}

/// One queue a delay: a message's own expiry would only be looked at when it reaches the head.
fn time_to_live(delay: RetryDelay) -> Argument {
    // A delay is at most 24 h, which fits.
    Argument::Number(i32::try_from(delay.as_duration().as_millis()).unwrap_or(i32::MAX))
}

impl Topology {
    /// The exchanges and their types.
    #[must_use]
    pub fn exchanges(&self) -> [(&'static str, ExchangeType); 3] {
        [
            (EXCHANGE_PUSH, ExchangeType::Direct),
            (EXCHANGE_DEAD, ExchangeType::Direct),
            (EXCHANGE_INVALIDATE, ExchangeType::Fanout),
        ]
    }

    /// The queues, each after the one that it dead-letters into. While a target is not bound, what
    /// is dead-lettered into it is invisible, and is tried again after three minutes only.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        let mut queues = vec![Queue::Dead, Queue::Jobs, Queue::Receipts];
        queues.extend(self.retry_delays.iter().copied().map(Queue::Retry));
        queues.extend(
            self.receipt_delays
                .iter()
                .copied()
                .map(Queue::ReceiptsAfter),
        );
        queues
    }

    /// Declares everything that is missing. The channel does not survive an error.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<(), ConnectError> {
        for (name, kind) in self.exchanges() {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..Default::default()
            };
            channel
                .exchange_declare(name.into(), kind.into(), options, FieldTable::default())
                .await
                .map_err(|error| cannot_declare("exchange", name, &error))?;
        }
        for queue in self.queues() {
            declare_queue(channel, queue)
                .await
                .map_err(|error| cannot_declare("queue", &queue.name(), &error))?;
        }
        Ok(())
    }
}

async fn declare_queue(channel: &Channel, queue: Queue) -> lapin::Result<()> {
    let name = queue.name();
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.as_str().into(), options, table(&queue.arguments()))
        .await?;
    channel
        .queue_bind(
            name.as_str().into(),
            queue.exchange().into(),
            name.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// A queue of one worker's own, bound to hear of changes; its name. It ends with the connection. Exclusive, because
/// RabbitMQ 4 frowns upon other queues that do not survive ("Transient Non-exclusive Queues"), and therefore classic.
pub(crate) async fn declare_for_changes(channel: &Channel) -> lapin::Result<String> {
    let name = format!("{CHANGES_PREFIX}{:016x}", rand::random::<u64>());
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..Default::default()
    };
    let arguments = table(&[
        ("x-queue-type", Argument::Text("classic")),
        ("x-max-length", Argument::Number(CHANGES_MAX)),
    ]);
    channel
        .queue_declare(name.as_str().into(), options, arguments)
        .await?;
    channel
        .queue_bind(
            name.as_str().into(),
            EXCHANGE_INVALIDATE.into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(name)
}

fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match *value {
            Argument::Text(text) => AMQPValue::LongString(text.into()),
            Argument::Number(number) => AMQPValue::LongInt(number),
        };
        table.insert((*name).into(), value);
    }
    table
}

fn cannot_declare(kind: &str, name: &str, error: &lapin::Error) -> ConnectError {
    let what = format!("{kind} {name:?}");
    let reason = reason_of(error);
    match soft_error_of(error) {
        Some(AMQPSoftError::PRECONDITIONFAILED) => ConnectError::Topology { what, reason },
        Some(AMQPSoftError::ACCESSREFUSED) => ConnectError::Refused(reason),
        // A queue whose node is down, for one: it comes back.
        Some(_) => ConnectError::Away(format!("{what} cannot be declared: {reason}")),
        None => ConnectError::Away(reason),
    }
}

fn soft_error_of(error: &lapin::Error) -> Option<&AMQPSoftError> {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return None;
    };
    match error.kind() {
        AMQPErrorKind::Soft(error) => Some(error),
        AMQPErrorKind::Hard(_) => None,
    }
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    /// By the exact routing key.
    Direct,
    /// To every bound queue.
    Fanout,
}

impl From<ExchangeType> for ExchangeKind {
    fn from(kind: ExchangeType) -> Self {
        match kind {
            ExchangeType::Direct => Self::Direct,
            ExchangeType::Fanout => Self::Fanout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology {
            retry_delays: vec![
                RetryDelay::parse("10s").unwrap(),
                RetryDelay::parse("90m").unwrap(),
            ],
            receipt_delays: vec![RetryDelay::parse("15m").unwrap()],
        }
    }

    #[test]
    fn every_queue_comes_after_the_one_it_dead_letters_into() {
        let queues = topology().queues();
        for (index, queue) in queues.iter().enumerate() {
            let Some((_, Argument::Text(target))) = queue
                .arguments()
                .into_iter()
                .find(|(name, _)| *name == "x-dead-letter-routing-key")
            else {
                continue;
            };
            assert!(
                queues[..index]
                    .iter()
                    .any(|earlier| earlier.name() == target),
                "{queue:?} dead-letters into {target}, which is declared later"
            );
        }
    }

    #[test]
    fn names_and_times_are_those_of_the_contract() {
        let names: Vec<String> = topology().queues().into_iter().map(Queue::name).collect();
        assert_eq!(
            names,
            [
                "push.dead",
                "push.jobs",
                "push.receipts",
                "push.retry.10s",
                "push.retry.90m",
                "push.receipts.15m"
            ]
        );
        let rung = Queue::Retry(RetryDelay::parse("90m").unwrap());
        assert!(
            rung.arguments()
                .contains(&("x-message-ttl", Argument::Number(5_400_000)))
        );
        let (exchange, key) = Route::Retry(RetryDelay::parse("10s").unwrap()).address();
        assert_eq!((exchange, key.as_str()), ("push", "push.retry.10s"));
        let later = Route::ReceiptsAfter(RetryDelay::parse("1h").unwrap());
        for (route, key) in [
            (Route::Receipts, "push.receipts"),
            (later, "push.receipts.1h"),
        ] {
            assert_eq!(route.address(), ("push", key.to_owned()));
        }
    }
}
