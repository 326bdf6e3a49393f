//! Servers as they are in life: behind TLS, which negotiates HTTP/2. The simulator speaks it without, so the TLS ends
//! here; and what the server's certificate is like, the test decides.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{Age, Authority, Certificate};

/// Who the proxy says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// `localhost`, as the trusted authority certifies.
    Trusted,
    /// `localhost`, as an authority certifies that nobody knows.
    Stranger,
    /// Another host, as the trusted authority certifies.
    OtherHost,
    /// `localhost`, as the trusted authority certified once.
    Expired,
}

/// A TCP proxy on loopback that ends TLS.
#[derive(Debug)]
pub struct Https {
    port: u16,
    authority: Authority,
    seen: Arc<Seen>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    face: Mutex<Face>,
    connections: AtomicUsize,
    refused: AtomicUsize,
}

/// One for each face.
struct Faces {
    trusted: TlsAcceptor,
    stranger: TlsAcceptor,
    other_host: TlsAcceptor,
    expired: TlsAcceptor,
}

impl Faces {
    fn of(authority: &Authority) -> Self {
        Self {
            trusted: acceptor(&authority.certify("localhost", Age::Fresh)),
            stranger: acceptor(&Authority::new().certify("localhost", Age::Fresh)),
            other_host: acceptor(&authority.certify("elsewhere.example", Age::Fresh)),
            expired: acceptor(&authority.certify("localhost", Age::Expired)),
        }
    }

    fn with(&self, face: Face) -> TlsAcceptor {
        match face {
            Face::Trusted => self.trusted.clone(),
            Face::Stranger => self.stranger.clone(),
            Face::OtherHost => self.other_host.clone(),
            Face::Expired => self.expired.clone(),
        }
    }
}

impl Https {
    /// A proxy to `target` that is trusted by who knows its authority.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let authority = Authority::new();
        let faces = Faces::of(&authority);
        let seen = Arc::new(Seen {
            face: Mutex::new(Face::Trusted),
            connections: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&seen));
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let face = *shared.face.lock().unwrap_or_else(PoisonError::into_inner);
                tokio::spawn(serve(
                    client,
                    faces.with(face),
                    target.clone(),
                    Arc::clone(&shared),
                ));
            }
        });
        Self {
            port,
            authority,
            seen,
            acceptor,
        }
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Its port on `localhost`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with the certificate authority, as `SSL_CERT_FILE` wants it.
    #[must_use]
    pub fn authority(&self) -> &Path {
        self.authority.file()
    }

    /// From now on it says that it is this one.
    pub fn present(&self, face: Face) {
        let mut shown = self
            .seen
            .face
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *shown = face;
    }

    /// How many connections there were whose handshake succeeded.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many clients went away in the handshake.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.seen.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn serve(client: TcpStream, tls: TlsAcceptor, target: String, seen: Arc<Seen>) {
    let Ok(mut client) = tls.accept(client).await else {
        seen.refused.fetch_add(1, Ordering::SeqCst);
        return;
    };
    seen.connections.fetch_add(1, Ordering::SeqCst);
    if let Ok(mut server) = TcpStream::connect(target).await {
        // However it ends, both sides see it.
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}

/// The server's side of a certificate.
fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificate.chain(), certificate.key())
        .expect("a TLS configuration");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
