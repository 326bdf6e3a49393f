//! A provider that answers as no provider should.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// With a body without an end.
    Endless,
    /// With a body that unpacks to a thousand times as much, without an end.
    Bomb,
    /// With the end of the connection, without a farewell.
    Reset,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Endless, Self::Bomb, Self::Reset];

    const fn head(self) -> &'static [u8] {
        match self {
            Self::Endless => b"HTTP/1.1 200 OK\r\n\r\n",
            Self::Bomb => b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
            Self::Reset => b"",
        }
    }
}

/// A server on loopback that gives each request the next of its lies.
#[derive(Debug)]
pub struct Liar {
    address: String,
    told: Arc<Told>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Told {
    lies: AtomicUsize,
    bytes: AtomicU64,
}

impl Liar {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let told = Arc::new(Told::default());
        let (shared, bomb) = (Arc::clone(&told), Arc::new(bomb()));
        let acceptor = tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, Arc::clone(&shared), Arc::clone(&bomb)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            told,
            acceptor,
        }
    }

    /// `http://` and the address where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn lies(&self) -> usize {
        self.told.lies.load(Ordering::Relaxed)
    }

    /// How many bytes of answers were taken, by the client or on the way to it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.told.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Eight megabytes of blanks, packed.
fn bomb() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let written = packed.write_all(&vec![b' '; 8 * 1024 * 1024]);
    written.expect("memory takes it");
    packed.finish().expect("memory takes it")
}

/// Until the client has enough. A first word is enough to answer.
async fn serve(mut client: TcpStream, told: Arc<Told>, bomb: Arc<Vec<u8>>) -> Option<()> {
    client.read_u8().await.ok()?;
    let turn = told.lies.fetch_add(1, Ordering::Relaxed);
    let lie = Lie::ALL[turn % Lie::ALL.len()];
    client.write_all(lie.head()).await.ok()?;
    let much = vec![b' '; 256 * 1024];
    loop {
        let more = match lie {
            Lie::Endless => &much,
            Lie::Bomb => bomb.as_slice(),
            Lie::Reset => {
                drop(client.set_zero_linger());
                return None;
            }
        };
        client.write_all(more).await.ok()?;
        let bytes = u64::try_from(more.len()).ok()?;
        told.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
