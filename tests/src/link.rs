//! A wire that a test can cut, stall and mend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often all connections were lost: a connection belongs to the time in which it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Age {
    cuts: u64,
    vanishings: u64,
}

/// How the wire is.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    age: Age,
    is_cut: bool,
    is_stalled: bool,
}

/// A TCP proxy on loopback.
#[derive(Debug)]
pub struct Link {
    address: String,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
    acceptor: JoinHandle<()>,
}

impl Link {
    /// A wire to `target`.
    ///
    /// # Panics
    /// When there is no port left.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (state, watched) = watch::channel(State::default());
        let target = target.to_owned();
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                if !watched.borrow().is_cut {
                    tokio::spawn(connect(client, target.clone(), watched.clone()));
                }
            }
        });
        Self {
            address,
            state,
            connections,
            acceptor,
        }
    }

    /// How often somebody tried to connect.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, and each new one at once.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.age.cuts += 1;
            state.is_cut = true;
        });
    }

    /// Lets no byte through, and says nothing.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.is_stalled = true);
    }

    /// The host at the other end is gone without a farewell, and another has its address: what was connected hears
    /// nothing any more, for ever; who connects from now on is served.
    pub fn vanish(&self) {
        self.state.send_modify(|state| state.age.vanishings += 1);
    }

    /// All is well again.
    pub fn restore(&self) {
        self.state.send_modify(|state| {
            state.is_cut = false;
            state.is_stalled = false;
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn connect(client: TcpStream, target: String, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let age = state.borrow().age;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, down) = tokio::join!(
        pump(from_client, to_server, state.clone(), age),
        pump(from_server, to_client, state, age)
    );
    // The server has its end; the client's stays open, and silent.
    let client = (up.map(|(from, _)| from), down.map(|(_, to)| to));
    if matches!(client, (None, None)) {
        return;
    }
    std::future::pending::<()>().await;
    drop(client);
}

/// Carries bytes until an end closes or the wire is cut. When the host vanished, the ends are not closed but returned.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    age: Age,
) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut buffer = vec![0; 16 * 1024];
    let mut watched = state.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = watched.wait_for(|state| state.age != age) => break,
        };
        let Ok(length @ 1..) = read else {
            return None;
        };
        let age_now = state
            .wait_for(|state| !state.is_stalled || state.age != age)
            .await
            .map(|state| state.age);
        if age_now.ok()? != age {
            break;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return None;
        }
    }
    let has_vanished = state.borrow().age.vanishings != age.vanishings;
    has_vanished.then_some((from, to))
}

/// The wires of a stack: a program can lose a server while the other still has it.
#[derive(Debug)]
pub struct Links {
    /// From the API to the database.
    pub api_database: Link,
    /// From the API to the broker.
    pub api_broker: Link,
    /// From the workers to the database.
    pub worker_database: Link,
    /// From the workers to the broker.
    pub worker_broker: Link,
}

impl Links {
    pub(crate) async fn to(database: &str, broker: &str) -> Self {
        Self {
            api_database: Link::to(database).await,
            api_broker: Link::to(broker).await,
            worker_database: Link::to(database).await,
            worker_broker: Link::to(broker).await,
        }
    }

    /// Nobody reaches the broker.
    pub fn cut_broker(&self) {
        self.api_broker.cut();
        self.worker_broker.cut();
    }

    /// Nobody reaches the database.
    pub fn cut_database(&self) {
        self.api_database.cut();
        self.worker_database.cut();
    }

    /// All is well again.
    pub fn restore(&self) {
        for link in [
            &self.api_database,
            &self.api_broker,
            &self.worker_database,
            &self.worker_broker,
        ] {
            link.restore();
        }
    }
}
