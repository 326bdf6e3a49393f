//! Keeps a link up, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::broker::BrokerState;
use crate::error::ConnectError;
use crate::link::{Link, reason_of};
use crate::outage::{Outage, Say};
use crate::settings::{Address, BrokerSettings};

/// lapin tells of most ends by an event, but not of all.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The current link; `None` while there is none. Closed when there will be none any more.
pub(crate) type Links = watch::Receiver<Option<Arc<Link>>>;

pub(crate) struct Supervisor {
    pub(crate) address: Address,
    pub(crate) settings: BrokerSettings,
    pub(crate) links: watch::Sender<Option<Arc<Link>>>,
    pub(crate) state: watch::Sender<BrokerState>,
    /// No new link is made any more; the one that is there stays.
    pub(crate) stop: CancellationToken,
    /// The link is closed, and that is the end.
    pub(crate) close: CancellationToken,
}

impl Supervisor {
    pub(crate) async fn run(self) {
        let (mut outage, mut alarms) = (Outage::default(), Alarms::default());
        loop {
            let established = tokio::select! {
                biased;
                () = self.close.cancelled() => break,
                () = self.stop.cancelled() => break,
                established = self.establish() => established,
            };
            let trouble = match established {
                Ok(link) => {
                    self.tell_connected(outage.connected(Instant::now()));
                    match self.serve(&Arc::new(link), &mut alarms).await {
                        Some(reason) => Trouble::Lost(reason),
                        None => break,
                    }
                }
                Err(error) => Trouble::NotMade(error),
            };
            self.lost(&mut outage, &trouble);
            let wait = outage.wait(&mut rand::rng());
            tokio::select! {
                () = self.close.cancelled() => break,
                () = self.stop.cancelled() => break,
                () = sleep(wait) => {}
            }
        }
        let reason = "closed".to_owned();
        self.state
            .send_replace(BrokerState::Disconnected { reason });
    }

    async fn establish(&self) -> Result<Link, ConnectError> {
        let BrokerSettings {
            topology,
            connection_name,
            ..
        } = &self.settings;
        Link::establish(&self.address, topology, connection_name).await
    }

    /// Lends the link out until it ends. The reason, or `None` when it was closed on purpose.
    async fn serve(&self, link: &Arc<Link>, alarms: &mut Alarms) -> Option<String> {
        self.state.send_replace(BrokerState::Connected);
        self.links.send_replace(Some(Arc::clone(link)));
        let reason = tokio::select! {
            () = self.close.cancelled() => None,
            reason = self.end_of(link, alarms) => Some(reason),
        };
        self.links.send_replace(None);
        if reason.is_none() {
            link.last_settled.linger().await;
        }
        link.fail(reason.clone().unwrap_or_else(|| "closed".to_owned()));
        link.close().await;
        reason
    }

    async fn end_of(&self, link: &Link, alarms: &mut Alarms) -> String {
        let mut publishing = Events::of(&link.publishing);
        let mut consuming = Events::of(&link.consuming);
        let mut look = interval(LOOK_EVERY);
        loop {
            let event = tokio::select! {
                reason = link.failure() => return reason,
                event = publishing.next() => event,
                event = consuming.next() => event,
                _ = look.tick() => None,
            };
            let mut reason = "the broker closed the connection".to_owned();
            match event {
                // Also sent for a channel that somebody used for a single question.
                Some(Event::Error(error)) => reason = reason_of(&error),
                Some(event) => self.follow(event, alarms),
                None => {}
            }
            if !link.is_alive() {
                return reason;
            }
        }
    }

    /// Follows alarms. Only a connection that publishes is ever blocked.
    #[expect(clippy::wildcard_enum_match_arm, reason = "lapin may add events")]
    fn follow(&self, event: Event, alarms: &mut Alarms) {
        match event {
            Event::ConnectionBlocked(reason) => {
                alarms.begins(&reason);
                self.state.send_replace(BrokerState::Blocked { reason });
            }
            Event::ConnectionUnblocked => {
                alarms.ends();
                self.state.send_replace(BrokerState::Connected);
            }
            _ => {}
        }
    }

    fn lost(&self, outage: &mut Outage, trouble: &Trouble) {
        let reason = trouble.reason();
        let for_operator = trouble.needs_operator().then_some(reason.as_str());
        let say = outage.failed(for_operator, Instant::now());
        self.tell_trouble(say, trouble, &reason);
        self.state
            .send_replace(BrokerState::Disconnected { reason });
    }

    fn tell_connected(&self, say: Say) {
        let broker = &self.address;
        match say {
            Say::Nothing | Say::Away | Say::StillAway { .. } => {}
            Say::Connected => tracing::info!(%broker, "connected to the broker"),
            Say::Back { after } => tracing::info!(
                %broker, broker.away_seconds = after.as_secs(),
                "connected to the broker again"
            ),
        }
    }

    fn tell_trouble(&self, say: Say, trouble: &Trouble, reason: &str) {
        let broker = &self.address;
        match say {
            Say::Nothing | Say::Connected | Say::Back { .. } => {}
            Say::Away if trouble.needs_operator() => tracing::error!(
                %broker, broker.reason = reason,
                "no connection to the broker until someone acts; trying on"
            ),
            Say::Away => match trouble {
                Trouble::Lost(_) => tracing::warn!(
                    %broker, broker.reason = reason,
                    "the connection to the broker is lost; making a new one"
                ),
                Trouble::NotMade(_) => tracing::warn!(
                    %broker, broker.reason = reason,
                    "the broker is away; trying to connect"
                ),
            },
            Say::StillAway { since } => tracing::warn!(
                %broker, broker.reason = reason, broker.away_seconds = since.as_secs(),
                "still no connection to the broker; trying on"
            ),
        }
    }
}

/// Why there is no connection now.
enum Trouble {
    /// There was one.
    Lost(String),
    /// None could be made.
    NotMade(ConnectError),
}

impl Trouble {
    const fn needs_operator(&self) -> bool {
        match self {
            Self::Lost(_) => false,
            Self::NotMade(error) => error.needs_operator(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Lost(reason) => reason.clone(),
            Self::NotMade(error) => error.to_string(),
        }
    }
}

/// Tells of alarms. A broker near its limit raises and ends one every few seconds: that is told once.
#[derive(Default)]
struct Alarms(Outage);

impl Alarms {
    fn begins(&mut self, reason: &str) {
        match self.0.failed(None, Instant::now()) {
            Say::Nothing | Say::Connected | Say::Back { .. } => {}
            Say::Away | Say::StillAway { .. } => tracing::warn!(
                broker.reason = reason,
                "the broker has an alarm and takes no messages: publishing waits until it has memory or disk again \
                 (`rabbitmq-diagnostics alarms`)"
            ),
        }
    }

    fn ends(&mut self) {
        match self.0.connected(Instant::now()) {
            Say::Nothing | Say::Away | Say::StillAway { .. } => {}
            Say::Connected | Say::Back { .. } => {
                tracing::info!("the broker's alarm is over; publishing goes on");
            }
        }
    }
}

/// The events of a connection; waits for ever when there are no more.
struct Events(std::pin::Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Events {
    fn of(connection: &Connection) -> Self {
        Self(Box::pin(connection.events_listener()))
    }

    async fn next(&mut self) -> Option<Event> {
        match self.0.next().await {
            Some(event) => Some(event),
            None => std::future::pending().await,
        }
    }
}
