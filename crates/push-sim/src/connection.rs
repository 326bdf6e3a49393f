//! One TCP connection: counted by HTTP version, and ready to be reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::Version;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::sim::Sim;

/// Counters over all connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    http1: AtomicU64,
    http2: AtomicU64,
    open: AtomicU64,
    streams_max: AtomicU64,
}

impl Connections {
    pub(crate) fn json(&self) -> Value {
        json!({
            "http1": self.http1.load(Ordering::Relaxed),
            "http2": self.http2.load(Ordering::Relaxed),
            "open": self.open.load(Ordering::Relaxed),
            "maxConcurrentPerConnection": self.streams_max.load(Ordering::Relaxed),
        })
    }

    /// Counters to zero, except what is open.
    pub(crate) fn reset(&self) {
        for counter in [&self.http1, &self.http2, &self.streams_max] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// What the requests of one connection share.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    counted: AtomicBool,
    streams: AtomicU64,
    reset: AtomicBool,
    ended: Notify,
}

impl Connection {
    /// Counts a request in, and at the first one the connection under its HTTP version.
    pub(crate) fn enter(self: &Arc<Self>, all: &Connections, version: Version) -> Stream {
        if !self.counted.swap(true, Ordering::Relaxed) {
            let counter = if version == Version::HTTP_2 {
                &all.http2
            } else {
                &all.http1
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let now = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        if now > all.streams_max.load(Ordering::Relaxed) {
            all.streams_max.fetch_max(now, Ordering::Relaxed);
        }
        Stream(Arc::clone(self))
    }

    /// Ends the connection with a TCP reset. The caller's own future ends with it.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.ended.notify_one();
    }

    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

/// A request in flight on its connection.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Connection>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The socket of a connection. Dropped after `Connection::reset` it sends RST instead of FIN.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    sim: Arc<Sim>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, connection: Arc<Connection>, sim: Arc<Sim>) -> Socket {
        sim.connections.open.fetch_add(1, Ordering::Relaxed);
        Socket {
            stream,
            connection,
            sim,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sim.connections.open.fetch_sub(1, Ordering::Relaxed);
        if self.connection.reset.load(Ordering::Acquire) {
            // A socket that is gone already needs no reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
