//! The TCP connection below a link, with a handle to cut it.
//!
//! lapin runs each connection in a thread of its own and has no limit for the handshake: an attempt
//! against a broker that accepts and then is silent would keep its thread and socket for ever, one
//! more each few seconds of an outage. Hence we open the socket and keep a handle that shuts it down,
//! which ends the thread whatever state it is in.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compat::{Compat, CompatExt};
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::{Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::settings::Address;

/// For TCP's handshake; the caller's own limit is not above it.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// What lapin gets.
type Stream = AsyncTcpStream<Compat<TcpStream>>;

/// Shuts the socket down when it is dropped.
#[derive(Clone, Default)]
pub(crate) struct Cutter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    socket: Option<StdTcpStream>,
    cut: bool,
}

impl Cutter {
    /// Ends the connection now. Bytes in flight are lost.
    pub(crate) fn cut(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut = true;
        if let Some(socket) = state.socket.take() {
            // It may be closed already, which is what we want.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn watch(&self, socket: &TcpStream) -> std::io::Result<()> {
        let socket = StdTcpStream::from(socket.as_fd().try_clone_to_owned()?);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cut {
            return socket.shutdown(Shutdown::Both);
        }
        state.socket = Some(socket);
        Ok(())
    }
}

/// Opens a connection that `cutter` can end. Has no limit of its own.
///
/// lapin comes in once the socket is there: what it makes for a connection that is never opened it does not free, and
/// an outage has an attempt every few seconds.
pub(crate) async fn connect(
    address: &Address,
    properties: ConnectionProperties,
    cutter: Cutter,
) -> lapin::Result<Connection> {
    let opened = Mutex::new(Some(open(address, &cutter).await?));
    let hand_over = async move |_, _| {
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again it would be for another connection, and that is the supervisor's business.
        opened
            .take()
            .ok_or_else(|| std::io::Error::from(ErrorKind::NotConnected).into())
    };
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(address.0.clone(), runtime, hand_over, properties).await
}

/// Opens the socket, and the TLS session on it.
async fn open(address: &Address, cutter: &Cutter) -> lapin::Result<Stream> {
    let authority = &address.0.authority;
    let host = authority.host.as_str();
    // From here on the cutter ends it; a connect has no socket yet.
    let socket = timeout(OPEN_MAX, TcpStream::connect((host, authority.port)))
        .await
        .map_err(|_| std::io::Error::from(ErrorKind::TimedOut))??;
    socket.set_nodelay(true)?;
    cutter.watch(&socket)?;
    let stream = AsyncTcpStream::Plain(socket.compat());
    if address.is_tls() {
        Ok(stream
            .into_tls(host, OwnedTLSConfig::default().as_ref())
            .await?)
    } else {
        Ok(stream)
    }
}
