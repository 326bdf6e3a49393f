//! One life of the connection: from the handshake to its end. A link is never repaired; when anything
//! about it is wrong it is ended, and the supervisor makes another.
//!
//! A link is two connections, because a memory or disk alarm blocks a connection that publishes as a
//! whole: acknowledgements would wait with it ("Alarms", "Effects on Clients and Publishers"; lapin,
//! too, writes nothing on a blocked connection).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::delivery::LastSettled;
use crate::error::ConnectError;
use crate::publisher::Publishers;
use crate::settings::Address;
use crate::socket::{self, Cutter};
use crate::topology::Topology;

/// A broker that does not finish the handshake within this is away.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Creating a dozen quorum queues for the first time takes a busy cluster seconds.
const DECLARE_MAX: Duration = Duration::from_secs(30);
/// For the handshake at the end; then the socket is cut.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Declaring again because something is missing happens at most this often.
const DECLARE_AGAIN_EVERY: Duration = Duration::from_secs(1);
/// Publishes that wait for their confirm, late ones included. Bounds what lapin keeps in memory.
pub(crate) const UNCONFIRMED_MAX: usize = 10_000;
/// Reply code "success" of AMQP 0-9-1.
const REPLY_SUCCESS: u16 = 200;

/// The connections, while they live.
pub(crate) struct Link {
    /// Only publishes.
    pub(crate) publishing: Connection,
    /// Everything else.
    pub(crate) consuming: Connection,
    /// Its channels.
    pub(crate) publishers: Publishers,
    /// A permit for each publish whose confirm is outstanding.
    pub(crate) unconfirmed: Arc<Semaphore>,
    /// When something was last acknowledged.
    pub(crate) last_settled: LastSettled,
    topology: Topology,
    cutters: Cutters,
    declared: Mutex<Instant>,
    failed: CancellationToken,
    reason: OnceLock<String>,
}

/// Cuts both connections when it is dropped, so that no attempt is left half done.
#[derive(Default)]
struct Cutters {
    publishing: Cutter,
    consuming: Cutter,
}

impl Cutters {
    fn cut(&self) {
        self.publishing.cut();
        self.consuming.cut();
    }
}

impl Drop for Cutters {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Link {
    /// Connects, and declares what is missing.
    pub(crate) async fn establish(
        address: &Address,
        topology: &Topology,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let cutters = Cutters::default();
        let consuming = connect(address, format!("{name} (consuming)"), &cutters.consuming).await?;
        declare(&consuming, topology).await?;
        let publishing = connect(
            &address.to_publish(),
            format!("{name} (publishing)"),
            &cutters.publishing,
        )
        .await?;
        Ok(Self {
            publishing,
            consuming,
            publishers: Publishers::default(),
            unconfirmed: Arc::new(Semaphore::new(UNCONFIRMED_MAX)),
            last_settled: LastSettled::default(),
            topology: topology.clone(),
            cutters,
            declared: Mutex::new(Instant::now()),
            failed: CancellationToken::new(),
            reason: OnceLock::new(),
        })
    }

    /// Declares again what someone deleted, such as `missing`. Ends the link if that is not possible.
    pub(crate) async fn declare_again(&self, missing: &str) {
        let mut declared = self.declared.lock().await;
        if self.has_failed() || declared.elapsed() < DECLARE_AGAIN_EVERY {
            return;
        }
        match declare(&self.consuming, &self.topology).await {
            Ok(()) => {
                *declared = Instant::now();
                tracing::warn!(
                    queue = missing,
                    "somebody deleted this on the broker, with what was in it: declared again; what is lost is found in the database"
                );
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// Says that the link is of no use any more. The first reason counts.
    pub(crate) fn fail(&self, reason: String) {
        let _ = self.reason.set(reason);
        self.failed.cancel();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits for [`Link::fail`], and tells the reason.
    pub(crate) async fn failure(&self) -> String {
        self.failed.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }

    /// Whether lapin still believes in both connections.
    pub(crate) fn is_alive(&self) -> bool {
        self.publishing.status().connected() && self.consuming.status().connected()
    }

    /// Ends both connections, politely if the broker answers.
    pub(crate) async fn close(&self) {
        let polite = async {
            tokio::join!(
                self.publishing.close(REPLY_SUCCESS, "closed".into()),
                self.consuming.close(REPLY_SUCCESS, "closed".into()),
            )
        };
        // Errors at the end do not matter: the broker returns what was not acknowledged either way.
        let _ = timeout(CLOSE_MAX, polite).await;
        self.cutters.cut();
    }
}

/// Connects and takes leave, to find out whether it would work.
pub(crate) async fn probe(address: &Address, name: &str) -> Result<(), ConnectError> {
    let cutters = Cutters::default();
    let connection = connect(address, format!("{name} (check)"), &cutters.consuming).await?;
    let _ = timeout(CLOSE_MAX, connection.close(REPLY_SUCCESS, "checked".into())).await;
    Ok(())
}

async fn connect(
    address: &Address,
    name: String,
    cutter: &Cutter,
) -> Result<Connection, ConnectError> {
    // Never `enable_auto_recover`: confirms would hang for the whole outage.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    within(
        CONNECT_MAX,
        socket::connect(address, properties, cutter.clone()),
    )
    .await
}

async fn declare(connection: &Connection, topology: &Topology) -> Result<(), ConnectError> {
    let work = async {
        // A channel of its own: the broker closes it with the first error.
        let channel = connection
            .create_channel()
            .await
            .map_err(|error| classify(&error))?;
        topology.declare(&channel).await
    };
    timeout(DECLARE_MAX, work)
        .await
        .unwrap_or_else(|_| Err(silent_for(DECLARE_MAX)))
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, ConnectError> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error| classify(&error)),
        Err(_) => Err(silent_for(limit)),
    }
}

fn silent_for(limit: Duration) -> ConnectError {
    ConnectError::Away(format!("no answer within {} s", limit.as_secs()))
}

fn classify(error: &lapin::Error) -> ConnectError {
    if let Some(fault) = tls_fault(error) {
        return ConnectError::Tls(fault);
    }
    let reason = reason_of(error);
    let refused = matches!(error.kind(), ErrorKind::ProtocolError(error) if matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
    ));
    if refused {
        ConnectError::Refused(reason)
    } else {
        ConnectError::Away(reason)
    }
}

/// What was wrong with TLS, if that was it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the libraries' enums may grow"
)]
fn tls_fault(error: &lapin::Error) -> Option<&'static str> {
    use rustls::CertificateError as Certificate;
    let ErrorKind::IOError(io) = error.kind() else {
        return None;
    };
    Some(match io.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => {
                "the broker's certificate is of no authority that we trust"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the broker's certificate is not for the host name in the URL"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "the broker's certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet; is this machine's clock right?"
            }
            _ => "the broker's certificate cannot be used",
        },
        rustls::Error::InvalidMessage(_) => "what answers does not speak TLS",
        _ => "no handshake",
    })
}

/// What went wrong, for people. lapin's errors hold no credentials.
#[expect(clippy::wildcard_enum_match_arm, reason = "lapin may add kinds")]
pub(crate) fn reason_of(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "no heartbeat from the broker".to_owned(),
        _ => error.to_string(),
    }
}
