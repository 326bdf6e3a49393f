//! A wire that keeps what a client says.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A TCP proxy on loopback that listens.
#[derive(Debug)]
pub struct Ear {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    acceptor: JoinHandle<()>,
}

impl Ear {
    /// In front of `target`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (target, keeps) = (target.to_owned(), Arc::clone(&heard));
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&target).await {
                    tokio::spawn(listen(client, server, Arc::clone(&keeps)));
                }
            }
        });
        Self {
            port,
            heard,
            acceptor,
        }
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What clients have said so far.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.clone()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn listen(client: TcpStream, server: TcpStream, keeps: Arc<Mutex<Vec<u8>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async move {
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            let said = &bytes[..count];
            keeps
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(said);
            if to_server.write_all(said).await.is_err() {
                break;
            }
        }
    };
    // However it ends, both sides see it.
    tokio::join!(asks, async move {
        drop(copy(&mut from_server, &mut to_client).await);
    });
}
