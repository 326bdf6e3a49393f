//! At most a hundred requests at a time on one connection, more connections beyond.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use reqwest::Client;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::SetupError;
use crate::fcm::first::{First, Turn};
use crate::transport::Failure;

/// Google names no limit; its SDK caps itself at this "to respect backend limit" (firebase-admin,
/// `api-request.js`). A server that allows fewer says so in its SETTINGS, which hyper heeds.
const STREAMS_MAX: usize = 100;

/// The clients, each of which holds one HTTP/2 connection, and a slot for every request that may be
/// under way. Slots are handed out in turn, so that the connections are loaded evenly.
#[derive(Debug)]
pub(crate) struct Connections {
    lines: Vec<Line>,
    /// Names a client each. As many as permits: whoever has a permit finds a slot.
    free: Mutex<VecDeque<usize>>,
    permits: Semaphore,
}

/// A client, and who opens its connection.
#[derive(Debug)]
struct Line {
    client: Client,
    first: First,
}

impl Connections {
    /// `client` makes one.
    pub(crate) fn new(
        max_in_flight: usize,
        client: impl Fn() -> Result<Client, SetupError>,
    ) -> Result<Self, SetupError> {
        if max_in_flight == 0 {
            return Err(SetupError::NothingInFlight);
        }
        let clients = (0..max_in_flight.div_ceil(STREAMS_MAX)).map(|_| client());
        Ok(Self::with(
            clients.collect::<Result<_, _>>()?,
            max_in_flight,
        ))
    }

    pub(crate) fn with(clients: Vec<Client>, max_in_flight: usize) -> Self {
        let free = (0..max_in_flight)
            .map(|slot| slot % clients.len())
            .collect();
        let lines = clients.into_iter().map(|client| Line {
            client,
            first: First::default(),
        });
        let permits = Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS));
        Self {
            lines: lines.collect(),
            free: Mutex::new(free),
            permits,
        }
    }

    /// Waits for a slot.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        // The semaphore is never closed; if it were, a request too many would do no harm.
        let permit = self.permits.acquire().await.ok();
        let line = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        Slot {
            connections: self,
            line: line.unwrap_or_default(),
            _permit: permit,
        }
    }
}

/// The right to have one request under way on one client.
pub(crate) struct Slot<'a> {
    connections: &'a Connections,
    line: usize,
    /// Fields are dropped after [`Drop::drop`]: the slot is back before the permit is.
    _permit: Option<SemaphorePermit<'a>>,
}

impl Slot<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.connections.lines[self.line].client
    }

    /// Waits until a request may go: where there is no connection yet, one opens it for all.
    ///
    /// # Errors
    /// How that one failed: there is no connection for this request either.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        self.connections.lines[self.line].first.turn().await
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.connections
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(self.line);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::http;

    #[tokio::test]
    async fn no_connection_gets_more_than_its_share() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connections = Connections::new(250, || http::client(Duration::from_secs(1))).unwrap();
        assert_eq!(connections.lines.len(), 3);
        let mut held = Vec::new();
        for _ in 0..250 {
            held.push(connections.slot().await);
        }
        let one_more = || tokio::task::unconstrained(connections.slot()).now_or_never();
        assert!(one_more().is_none(), "all that may be, and no more");
        let mut load: BTreeMap<usize, usize> = BTreeMap::new();
        held.iter()
            .for_each(|slot| *load.entry(slot.line).or_default() += 1);
        assert_eq!(load.into_values().collect::<Vec<_>>(), [84, 83, 83]);
        drop(held.pop());
        assert!(
            one_more().is_some(),
            "a slot that is given back can be had again"
        );
    }

    #[test]
    fn none_in_flight_is_refused() {
        assert_eq!(
            Connections::new(0, || http::client(Duration::from_secs(1))).unwrap_err(),
            SetupError::NothingInFlight
        );
    }
}
