//! RabbitMQ, all of it: what lies on the broker, how it is reached, and what happens when it is away.
//!
//! - [`topology`]: every exchange, queue and binding, as data.
//! - [`Broker`]: the connection. It is kept up by a task of its own for as long as it takes; whoever
//!   publishes or consumes never reconnects anything.
//! - [`Broker::publish`] returns after the broker's confirm, and its error says what is known.
//! - [`Broker::changes`] hears what [`Broker::tell`] tells to all.
//! - [`Broker::consume`] gives [`Deliveries`], which outlive any connection.
//!
//! What must never happen here: a publish that is taken for done without a confirm, a message that
//! is acknowledged for somebody else (`multiple`), a wait without a limit, a password in a text.

mod broker;
mod changes;
mod consumer;
mod delivery;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod link;
mod message;
mod outage;
mod publisher;
mod sealed;
mod settings;
mod socket;
mod supervisor;
pub mod topology;

pub use broker::{Broker, BrokerState, Depth};
pub use changes::{Changes, Heard};
pub use consumer::Deliveries;
pub use delivery::{Death, Delivery, ack_all};
pub use error::{BrokerUrlError, ChannelLost, ConnectError, DepthError, PublishError};
pub use message::Message;
pub use sealed::Unreadable;
pub use settings::{BrokerSettings, parse_url};
pub use topology::{ConsumeFrom, Queue, Route, Topology};

/// Directives that every log filter of a program must end with, whatever an operator configures.
///
/// lapin logs a returned message with its body, and several lines for each lost connection. Titles
/// and texts must not appear in logs (P7), and this crate tells of an outage itself, once.
pub const LOG_DIRECTIVES: &str = "lapin=off,amq_protocol=off,async_rs=off";
