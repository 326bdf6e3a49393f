//! A wire that a test can cut, stall and mend.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the wire is.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How often it was cut: a connection belongs to the time in which it was made.
    cuts: u64,
    is_cut: bool,
    is_stalled: bool,
}

/// A TCP proxy on loopback.
#[derive(Debug)]
pub struct Link {
    address: String,
    state: watch::Sender<State>,
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
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !watched.borrow().is_cut {
                    tokio::spawn(connect(client, target.clone(), watched.clone()));
                }
            }
        });
        Self {
            address,
            state,
            acceptor,
        }
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, and each new one at once.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.cuts += 1;
            state.is_cut = true;
        });
    }

    /// Lets no byte through, and says nothing.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.is_stalled = true);
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
    let cuts = state.borrow().cuts;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::spawn(pump(from_client, to_server, state.clone(), cuts));
    pump(from_server, to_client, state, cuts).await;
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    cuts: u64,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut watched = state.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = watched.wait_for(|state| state.cuts != cuts) => return,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        match state
            .wait_for(|state| !state.is_stalled || state.cuts != cuts)
            .await
        {
            Ok(state) if state.cuts == cuts => {}
            Ok(_) | Err(_) => return,
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
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
