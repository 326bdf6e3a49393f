//! A wire that a test can cut, stall, half-close, slow down and mend.

use std::time::Duration;

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
    half_closings: u64,
}

/// How the wire is.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    age: Age,
    is_cut: bool,
    is_stalled: bool,
    delay: Duration,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
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

    /// The server is told that all clients have said their last word; the clients are told nothing, and what they say
    /// from then on is heard by nobody. Who connects from now on is served.
    pub fn half_close(&self) {
        self.state.send_modify(|state| state.age.half_closings += 1);
    }

    /// Every piece takes so much longer, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// All is well again.
    pub fn restore(&self) {
        self.state.send_modify(|state| {
            state.is_cut = false;
            state.is_stalled = false;
            state.delay = Duration::ZERO;
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
    let up = Pump {
        way: Way::ToServer,
        state: state.clone(),
        age,
    };
    let down = Pump {
        way: Way::ToClient,
        state,
        age,
    };
    let (up, down) = tokio::join!(
        up.carry(from_client, to_server),
        down.carry(from_server, to_client)
    );
    // The server has its end; the client's stays open, and silent, until the client closes it.
    let (from_client, to_client) = (up.map(|(from, _)| from), down.map(|(_, to)| to));
    if let Some(mut from_client) = from_client {
        discard(&mut from_client).await;
    }
    drop(to_client);
}

/// Nobody hears what comes from there.
async fn discard(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 16 * 1024];
    while matches!(from.read(&mut buffer).await, Ok(1..)) {}
}

/// One direction of a connection.
struct Pump {
    way: Way,
    state: watch::Receiver<State>,
    /// Of the connection.
    age: Age,
}

impl Pump {
    /// Carries bytes until an end closes or the wire is cut. When the host vanished, the ends are not closed but
    /// returned.
    async fn carry(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
        let mut buffer = vec![0; 16 * 1024];
        let (age, way) = (self.age, self.way);
        let mut watched = self.state.clone();
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                _ = watched.wait_for(|state| is_over(way, age, state.age)) => break,
            };
            let Ok(length @ 1..) = read else {
                return None;
            };
            let delay = self.state.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let state = self
                .state
                .wait_for(|state| !state.is_stalled || is_over(way, age, state.age))
                .await
                .map(|state| state.age);
            if is_over(way, age, state.ok()?) {
                break;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return None;
            }
        }
        let now = self.state.borrow().age;
        if now.vanishings != age.vanishings {
            return Some((from, to));
        }
        if now.cuts == age.cuts {
            // Half closed: the farewell goes on, what follows does not.
            drop(to.shutdown().await);
            tokio::select! {
                () = discard(&mut from) => {}
                _ = watched.wait_for(|state| state.age.cuts != age.cuts) => {}
            }
        }
        None
    }
}

/// Whether a connection of `age` carries nothing any more in this direction.
fn is_over(way: Way, age: Age, now: Age) -> bool {
    let lost = now.cuts != age.cuts || now.vanishings != age.vanishings;
    lost || way == Way::ToServer && now.half_closings != age.half_closings
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
