//! A TCP proxy before the broker, to break the network on purpose.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, watch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// Everything passes.
    Open,
    /// Existing connections are closed, new ones too, at once.
    Cut,
    /// Connections stay, nothing passes.
    Stalled,
}

type Writer = Arc<AsyncMutex<OwnedWriteHalf>>;

pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    clients: Arc<Mutex<Vec<Writer>>>,
}

impl Proxy {
    pub async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, state) = watch::channel(Network::Open);
        let clients = Arc::default();
        tokio::spawn(accept(
            listener,
            server.to_owned(),
            state,
            Arc::clone(&clients),
        ));
        Self {
            address,
            network,
            clients,
        }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn cut(&self) {
        self.network.send_replace(Network::Cut);
    }

    pub fn stall(&self) {
        self.network.send_replace(Network::Stalled);
    }

    pub fn restore(&self) {
        self.network.send_replace(Network::Open);
    }

    /// Sends bytes to a client, counted from 0 in order of their coming, as if they came from the
    /// server, which must be silent just then.
    pub async fn inject_into(&self, index: usize, bytes: &[u8]) {
        let client = Arc::clone(&self.clients.lock().unwrap()[index]);
        client.lock().await.write_all(bytes).await.unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    network: watch::Receiver<Network>,
    clients: Arc<Mutex<Vec<Writer>>>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        if *network.borrow() == Network::Cut {
            continue;
        }
        let Ok(server) = TcpStream::connect(&server).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let to_client = Arc::new(AsyncMutex::new(to_client));
        clients.lock().unwrap().push(Arc::clone(&to_client));
        let to_server = Arc::new(AsyncMutex::new(to_server));
        tokio::spawn(pump(from_client, to_server, network.clone()));
        tokio::spawn(pump(from_server, to_client, network.clone()));
    }
}

/// Passes bytes on until either side ends, or the network is cut.
async fn pump(mut from: OwnedReadHalf, to: Writer, mut network: watch::Receiver<Network>) {
    let mut cut = network.clone();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = tokio::select! {
            _ = cut.wait_for(|network| *network == Network::Cut) => break,
            count = from.read(&mut buffer) => count,
        };
        let Ok(count @ 1..) = count else { break };
        let passes = network
            .wait_for(|network| *network != Network::Stalled)
            .await;
        if !passes.is_ok_and(|network| *network == Network::Open) {
            break;
        }
        if to.lock().await.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.lock().await.shutdown().await;
}
