//! The handle that everything else holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use push_core::changed::Changed;
use push_seal::Keyring;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::changes::{self, Changes};
use crate::consumer::{self, Deliveries};
use crate::error::{BrokerUrlError, ConnectError, DepthError, PublishError};
use crate::link::{self, Link, reason_of};
use crate::message::Message;
use crate::publisher;
use crate::settings::{BrokerSettings, address_of};
use crate::supervisor::{Links, Supervisor};
use crate::topology::{ConsumeFrom, Queue, Route};

/// For a passive declare.
const DEPTH_MAX: Duration = Duration::from_secs(2);
/// For the supervisor to take leave of the broker.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The connection to RabbitMQ, kept up by a task of its own. Clones share it; with the last one it
/// is closed.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    links: Links,
    state: watch::Receiver<BrokerState>,
    close: CancellationToken,
    keys: Keyring,
    _close_with_the_last: DropGuard,
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerState {
    /// It works.
    Connected,
    /// The broker has an alarm (memory, disk): it delivers, but takes no messages.
    Blocked {
        /// What the broker says.
        reason: String,
    },
    /// There is none; it is being tried.
    Disconnected {
        /// Why, without the password.
        reason: String,
    },
}

impl fmt::Display for BrokerState {
    /// For readiness.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected to the broker"),
            Self::Blocked { reason } => write!(
                f,
                "blocked by an alarm of the broker, which delivers and takes no messages: {reason}"
            ),
            Self::Disconnected { reason } => write!(f, "no connection to the broker: {reason}"),
        }
    }
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait to be delivered; those that were delivered and are not acknowledged do not
    /// count.
    pub ready: u32,
    /// Those who consume from it, in all processes. A cancelled one counts as long as it has not
    /// settled what it was delivered.
    pub consumers: u32,
}

impl Broker {
    /// Starts to connect, and returns at once, whether the broker is there or not. Warns when others may read along.
    /// Once `stop` is
    /// cancelled no new connection is made; the one that is there stays until [`Broker::close`], for
    /// what is in flight.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BrokerUrlError`] when the URL cannot be used.
    pub fn start(
        settings: BrokerSettings,
        stop: CancellationToken,
    ) -> Result<Self, BrokerUrlError> {
        let address = address_of(&settings.url)?;
        if address.is_exposed() {
            tracing::warn!(
                broker = %address,
                "AMQP_URL is without TLS: who is between us and the broker may read and change everything; \
                 write amqps://"
            );
        }
        let (links_in, links) = watch::channel(None);
        let reason = "not connected yet".to_owned();
        let (state_in, state) = watch::channel(BrokerState::Disconnected { reason });
        let close = CancellationToken::new();
        let keys = settings.keys.clone();
        let supervisor = Supervisor {
            address,
            settings,
            links: links_in,
            state: state_in,
            stop,
            close: close.clone(),
        };
        tokio::spawn(supervisor.run());
        let _close_with_the_last = close.clone().drop_guard();
        Ok(Self(Arc::new(Shared {
            links,
            state,
            close,
            keys,
            _close_with_the_last,
        })))
    }

    /// Connects once, and declares nothing: for a program that checks its settings. Says how the bytes travel.
    ///
    /// # Errors
    /// [`ConnectError`] with the reason; a bad URL counts as refused.
    pub async fn check(settings: &BrokerSettings) -> Result<&'static str, ConnectError> {
        let address =
            address_of(&settings.url).map_err(|error| ConnectError::Refused(error.to_string()))?;
        link::probe(&address, &settings.connection_name).await?;
        Ok(address.transport())
    }

    /// How the connection stands.
    #[must_use]
    pub fn state(&self) -> BrokerState {
        self.0.state.borrow().clone()
    }

    /// Follows the state. Closed when the connection has ended for good.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<BrokerState> {
        self.0.state.clone()
    }

    /// Waits until there is a connection: for ever, once it was closed or stopped.
    pub async fn connected(&self) {
        let mut links = self.0.links.clone();
        if links.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// Publishes, and waits for the confirm, 2 s at most. Once called, the
    /// message is published even if the caller does not wait for the answer.
    ///
    /// # Errors
    /// [`PublishError`] says whether the message may be on the broker all the same.
    pub async fn publish(&self, route: Route, message: Message) -> Result<(), PublishError> {
        let message = message.sealed(&self.0.keys)?;
        publisher::publish(self.link_to_publish()?, route, message).await
    }

    /// Publishes all, then waits for all confirms: far faster than one by one. They stand in a queue in the order
    /// of the messages, and so do the results.
    pub async fn publish_all(
        &self,
        messages: Vec<(Route, Message)>,
    ) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(messages.len());
        let mut messages = messages.into_iter().peekable();
        // In portions, so that the last of many does not spend its 2 s waiting for the first.
        while messages.peek().is_some() {
            let portion: Vec<_> = messages.by_ref().take(publisher::PIPELINE_MAX).collect();
            let count = portion.len();
            let sealed: Result<Vec<_>, PublishError> = portion
                .into_iter()
                .map(|(route, message)| Ok((route, message.sealed(&self.0.keys)?)))
                .collect();
            match self.link_to_publish().and_then(|link| Ok((link, sealed?))) {
                Ok((link, sealed)) => {
                    results.extend(publisher::publish_in_order(link, sealed).await);
                }
                Err(error) => results.extend(std::iter::repeat_n(Err(error), count)),
            }
        }
        results
    }

    fn link_to_publish(&self) -> Result<Arc<Link>, PublishError> {
        let link = self.link().ok_or(PublishError::NotConnected)?;
        if link.publishing.status().blocked() {
            let reason = match self.state() {
                BrokerState::Blocked { reason } => reason,
                BrokerState::Connected | BrokerState::Disconnected { .. } => "alarm".to_owned(),
            };
            return Err(PublishError::Blocked(reason));
        }
        Ok(link)
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.0
            .links
            .borrow()
            .clone()
            .filter(|link| !link.has_failed())
    }

    /// Consumes, over all reconnects, until `stop` is cancelled. At most `prefetch` messages are
    /// delivered and not yet settled ("Consumer Prefetch"); it is at least 1.
    #[must_use]
    pub fn consume(&self, from: ConsumeFrom, prefetch: u16, stop: CancellationToken) -> Deliveries {
        let (links, keys) = (self.0.links.clone(), self.0.keys.clone());
        consumer::start(links, keys, from.into(), prefetch.max(1), stop)
    }

    /// Hears of changes, over all reconnects, until `stop` is cancelled.
    #[must_use]
    pub fn changes(&self, stop: CancellationToken) -> Changes {
        changes::start(self.0.links.clone(), stop)
    }

    /// Tells all workers of changes, if the broker is there: nothing depends on it, so it is not tried again.
    pub async fn tell(&self, changes: &[Changed]) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self
            .publish(Route::Changed, Message::changed(changes))
            .await
        {
            tracing::debug!(%error, "changes were not told; workers find them in the database");
        }
    }

    /// How full a queue is, by a passive declare.
    ///
    /// # Errors
    /// [`DepthError`] when the broker is away or does not tell.
    pub async fn depth(&self, queue: Queue) -> Result<Depth, DepthError> {
        let link = self.link().ok_or(DepthError::NotConnected)?;
        let ask = async {
            // A channel of its own: the broker closes it when there is no such queue.
            let channel = link.consuming.create_channel().await?;
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            channel
                .queue_declare(queue.name().into(), options, FieldTable::default())
                .await
        };
        match timeout(DEPTH_MAX, ask).await {
            Ok(Ok(found)) => Ok(Depth {
                ready: found.message_count(),
                consumers: found.consumer_count(),
            }),
            Ok(Err(error)) if error.is_amqp_soft_error() => {
                Err(DepthError::Refused(reason_of(&error)))
            }
            Ok(Err(_)) => Err(DepthError::NotConnected),
            Err(_) => Err(DepthError::TimedOut),
        }
    }

    /// Closes the connection, for all clones. What was delivered and not acknowledged goes back to
    /// its queue. Waits, 5 s at most, for the broker to take in what was acknowledged just before.
    pub async fn close(self) {
        self.0.close.cancel();
        let mut links = self.0.links.clone();
        let ended = async { while links.changed().await.is_ok() {} };
        let _ = timeout(CLOSE_MAX, ended).await;
    }
}
