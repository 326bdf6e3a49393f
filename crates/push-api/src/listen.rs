//! Connections: how many, how slow, and how they end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::limits::address::Peer;

/// Connections of callers at a time, where the limit of open files allows for them; further ones wait
/// to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a connection may take for its first request, and over HTTP/1.1 for the head of each: so
/// long it may be idle, too. Over HTTP/2 one that answers pings may stay.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// How often a silent HTTP/2 connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(30);
/// After a failed accept: most likely no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failures with less between them are one trouble, and told once.
const ACCEPT_CALM: Duration = Duration::from_secs(60);

/// How many connections of callers this process can hold: a quarter of the files that it may open is
/// for the database, the broker and itself.
#[must_use]
pub fn connections_max() -> usize {
    connections_within(getrlimit(Resource::Nofile).current)
}

fn connections_within(open_files: Option<u64>) -> usize {
    let files = open_files.and_then(|files| usize::try_from(files).ok());
    files.map_or(CONNECTIONS_MAX, |files| {
        (files / 4 * 3).clamp(1, CONNECTIONS_MAX)
    })
}

/// Serves until `stop`, then finishes the requests that are in flight. HTTP/1.1, and HTTP/2 by prior
/// knowledge.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    connections_max: usize,
    stop: &CancellationToken,
) {
    let mut door = Door {
        listener,
        places: Arc::new(Semaphore::new(connections_max)),
        failed: None,
    };
    let in_flight = GracefulShutdown::new();
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY);
    while let Some(Some((stream, peer, place))) = stop.run_until_cancelled(door.accept()).await {
        let stream = Awaited::new(stream);
        let begun = Arc::clone(&stream.begun);
        let app = app.clone().map_request(move |request: Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let service = TowerToHyperService::new(app);
        let connection = protocol
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = in_flight.watch(connection);
        tokio::spawn(async move {
            // How a connection ends is the caller's business.
            let _ended = connection.await;
            drop(place);
        });
    }
    drop(door);
    in_flight.shutdown().await;
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// When one could not be accepted.
    failed: Option<Instant>,
}

impl Door {
    async fn accept(&mut self) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small: they must not wait for more. A failure costs time only.
                    let _slower = stream.set_nodelay(true);
                    return Some((stream, Peer(peer.ip()), place));
                }
                Err(error) => {
                    if is_news(self.failed.replace(Instant::now())) {
                        tracing::warn!(%error, "connections cannot be accepted; trying again until they can");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether a failure is the first of a series.
fn is_news(last: Option<Instant>) -> bool {
    last.is_none_or(|last| last.elapsed() >= ACCEPT_CALM)
}

/// A connection that ends unless its first request has begun in time, whatever else it says until
/// then: the library has no limit before it knows which HTTP it is.
struct Awaited {
    stream: TcpStream,
    begun: Arc<AtomicBool>,
    deadline: Pin<Box<Sleep>>,
}

impl Awaited {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            begun: Arc::default(),
            deadline: Box::pin(tokio::time::sleep(HEAD_MAX)),
        }
    }
}

impl AsyncRead for Awaited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.load(Ordering::Relaxed) && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Awaited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    async fn serving(app: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        let served =
            tokio::spawn(async move { serve(listener, app, CONNECTIONS_MAX, &stopped).await });
        (address, stop, served)
    }

    fn greeting() -> Router {
        Router::new().route("/", routing::get(async || "hello"))
    }

    /// Sends `words`, and then nothing more. What came back until the connection was closed, and when
    /// that was.
    async fn told_and_closed_after(words: &[u8]) -> (String, Duration) {
        let (address, _stop, _served) = serving(greeting()).await;
        let mut caller = TcpStream::connect(address).await.unwrap();
        let started = Instant::now();
        caller.write_all(words).await.unwrap();
        let mut told = Vec::new();
        let read = caller.read_to_end(&mut told);
        let closed = tokio::time::timeout(HEAD_MAX * 3, read).await;
        closed.expect("it is closed at all").ok();
        (
            String::from_utf8_lossy(&told).into_owned(),
            started.elapsed(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_not_kept() {
        for words in [
            "",
            "GET / HT",
            "PRI * HTTP/2.0\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let (told, after) = told_and_closed_after(words.as_bytes()).await;
            assert!(!told.contains("hello"), "{words:?}: {told}");
            assert!(after.as_secs() <= HEAD_MAX.as_secs(), "{words:?} {after:?}");
        }
        // Nor who has asked once.
        let (told, after) = told_and_closed_after(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(told.ends_with("hello"), "{told}");
        assert!(after.as_secs() <= HEAD_MAX.as_secs(), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_may_take_longer_than_a_head() {
        let slow = routing::get(async || {
            tokio::time::sleep(HEAD_MAX * 2).await;
            "finished"
        });
        let (address, _stop, _served) = serving(Router::new().route("/", slow)).await;
        let mut caller = TcpStream::connect(address).await.unwrap();
        let words = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        caller.write_all(words).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("finished"), "{answer}");
    }

    #[test]
    fn open_files_bound_the_connections() {
        assert_eq!(connections_within(Some(1_024)), 768);
        assert_eq!(connections_within(Some(1 << 20)), CONNECTIONS_MAX);
        assert_eq!(connections_within(None), CONNECTIONS_MAX);
        assert_eq!(connections_within(Some(0)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_of_failures_is_told_once() {
        assert!(is_news(None));
        let last = Instant::now();
        tokio::time::advance(ACCEPT_PAUSE).await;
        assert!(!is_news(Some(last)));
        tokio::time::advance(ACCEPT_CALM).await;
        assert!(is_news(Some(last)));
    }

    #[tokio::test]
    async fn a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (entered, released) = (Arc::clone(&begun), Arc::clone(&go_on));
        let handler = routing::get(async move || {
            entered.notify_one();
            released.notified().await;
            "finished"
        });
        let (address, stop, served) = serving(Router::new().route("/", handler)).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        begun.notified().await;
        stop.cancel();
        // An idle connection is closed at once, and nobody listens any more.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(address).await.is_err());
        assert!(!served.is_finished());
        go_on.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("finished"),
            "{answer}"
        );
        served.await.unwrap();
    }
}
