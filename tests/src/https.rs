//! FCM as it is in life: HTTP/2, which TLS negotiates. The simulator speaks HTTP/2 without TLS, so the TLS ends here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::device::unique;

/// A TCP proxy on loopback that ends TLS, and offers HTTP/2 and nothing else.
#[derive(Debug)]
pub struct Https {
    port: u16,
    authority: PathBuf,
    seen: Arc<Seen>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    presents_stranger: AtomicBool,
    connections: AtomicUsize,
    refused: AtomicUsize,
}

impl Https {
    /// A proxy to `target`, with a certificate for `localhost` of a certificate authority of its own.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (authority, trusted) = certificate();
        let (_, stranger) = certificate();
        let path = std::env::temp_dir().join(format!("{}.pem", unique("push-tests-authority")));
        fs::write(&path, authority).expect("a file for the certificate authority");
        let seen = Arc::new(Seen::default());
        let (target, shared) = (target.to_owned(), Arc::clone(&seen));
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let tls = if shared.presents_stranger.load(Ordering::SeqCst) {
                    &stranger
                } else {
                    &trusted
                };
                tokio::spawn(serve(
                    client,
                    tls.clone(),
                    target.clone(),
                    Arc::clone(&shared),
                ));
            }
        });
        Self {
            port,
            authority: path,
            seen,
            acceptor,
        }
    }

    /// Where to connect to instead of the target.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The file with the certificate authority, as `SSL_CERT_FILE` wants it.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }

    /// From now on the certificate is of an authority that nobody knows; or of the known one again.
    pub fn present_stranger(&self, stranger: bool) {
        self.seen
            .presents_stranger
            .store(stranger, Ordering::SeqCst);
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
        drop(fs::remove_file(&self.authority));
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

/// A new certificate authority in PEM, and the server's side of a certificate of its own.
fn certificate() -> (String, TlsAcceptor) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&authority_key).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let issuer = Issuer::new(authority, authority_key);
    let server = CertificateParams::new(["localhost".to_owned()])
        .and_then(|server| server.signed_by(&key, &issuer))
        .expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .expect("a TLS configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (root.pem(), TlsAcceptor::from(Arc::new(config)))
}
