//! What is published: a body with its envelope.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use push_core::changed::Changed;
use push_core::job::{GiveUpReason, Job};
use push_core::receipt_batch::ReceiptBatch;
use push_core::trace::{TRACE_PARENT, TraceContext};
use push_seal::Keyring;

use crate::delivery::Delivery;
use crate::error::PublishError;
use crate::sealed;

/// Why a job as a whole was given up: a message that is rejected cannot say so.
pub(crate) const GIVEN_UP: &str = "x-push-given-up";
/// `delivery_mode`: kept on disk.
const PERSISTENT: u8 = 2;

/// A message to publish. Headers of a received one are never copied: a foreign `x-death` would make
/// the broker count a cycle.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The payload, JSON.
    pub body: Vec<u8>,
    /// Property `message_id`: the notification's id.
    pub message_id: String,
    /// Property `type`: what the body is, such as [`Message::JOB`].
    pub kind: String,
    /// Property `timestamp`, seconds since 1970.
    pub timestamp: u64,
    /// Header `traceparent`: what this was published by.
    pub trace_parent: Option<TraceContext>,
    /// Header `x-push-given-up`: on its way to the dead letters, why it is there as a whole.
    pub given_up: Option<GiveUpReason>,
}

impl Message {
    /// The type of a message that carries a [`Job`].
    pub const JOB: &'static str = "push.job";
    /// The type of a message that carries a [`ReceiptBatch`].
    pub const RECEIPTS: &'static str = "push.receipts";
    /// The type of a message that carries [`Changed`].
    pub const CHANGED: &'static str = "push.changed";

    /// A job. Its timestamp is the notification's acceptance, so that the age of a queue's head is
    /// the age of the notification.
    #[must_use]
    pub fn job(job: &Job, trace_parent: Option<TraceContext>) -> Self {
        Self {
            body: job.encode(),
            message_id: job.notification.id.to_string(),
            kind: Self::JOB.to_owned(),
            timestamp: u64::try_from(job.notification.created_at.timestamp()).unwrap_or(0),
            trace_parent,
            given_up: None,
        }
    }

    /// Bytes that may be a job: what an operator has published again, as it was.
    #[must_use]
    pub fn bytes(body: Vec<u8>, message_id: String, timestamp: u64) -> Self {
        Self {
            body,
            message_id,
            kind: Self::JOB.to_owned(),
            timestamp,
            trace_parent: None,
            given_up: None,
        }
    }

    /// What was delivered, as a new message: the broker counts its deliveries from the start.
    #[must_use]
    pub fn anew(delivery: &Delivery) -> Self {
        Self {
            body: delivery.body.clone(),
            message_id: delivery.message_id.clone().unwrap_or_default(),
            kind: delivery.kind.clone().unwrap_or_default(),
            timestamp: delivery.timestamp.unwrap_or(0),
            trace_parent: delivery.trace_parent,
            given_up: None,
        }
    }

    /// Receipts to be fetched. Named after the first of them, as old as the oldest.
    #[must_use]
    pub fn receipts(batch: &ReceiptBatch) -> Self {
        let first = batch.tickets.first();
        let oldest = batch.tickets.iter().map(|ticket| ticket.accepted_at).min();
        Self {
            body: batch.encode(),
            message_id: first.map_or_else(String::new, |ticket| ticket.notification.to_string()),
            kind: Self::RECEIPTS.to_owned(),
            timestamp: oldest.map_or(0, |at| u64::try_from(at.timestamp()).unwrap_or(0)),
            trace_parent: None,
            given_up: None,
        }
    }

    /// Changes. Several messages about one customer are told apart by what is in them, so they need no id.
    #[must_use]
    pub fn changed(changes: &[Changed]) -> Self {
        Self {
            body: Changed::encode(changes),
            message_id: String::new(),
            kind: Self::CHANGED.to_owned(),
            timestamp: 0,
            trace_parent: None,
            given_up: None,
        }
    }

    /// As it is published: only jobs hold what a customer reads.
    pub(crate) fn sealed(self, keys: &Keyring) -> Result<Self, PublishError> {
        if self.kind != Self::JOB {
            return Ok(self);
        }
        let body = sealed::seal(keys, self.body).map_err(|_| PublishError::Refused)?;
        Ok(Self { body, ..self })
    }

    pub(crate) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        if let Some(trace_parent) = self.trace_parent {
            headers.insert(
                TRACE_PARENT.into(),
                AMQPValue::LongString(trace_parent.to_string().into()),
            );
        }
        if let Some(reason) = self.given_up {
            headers.insert(
                GIVEN_UP.into(),
                AMQPValue::LongString(reason.as_str().into()),
            );
        }
        BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(self.message_id.as_str().into())
            .with_type(self.kind.as_str().into())
            .with_timestamp(self.timestamp)
            .with_headers(headers)
    }
}

impl std::fmt::Debug for Message {
    /// Without the body: it holds what the customer reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("message_id", &self.message_id)
            .field("kind", &self.kind)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
