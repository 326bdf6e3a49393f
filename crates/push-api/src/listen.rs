//! Connections: how many, how slow, and how they end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::frames::Framed;
use crate::limits::address::{Peer, Proxies};
use crate::limits::seats::{Seat, Seats};
use crate::talk::{IDLE_MAX, Patient, Talk};
use crate::tls::{Tls, tell_browsers};

/// Connections of callers at a time, where the limit of open files allows for them; further ones wait
/// to be accepted.
const CONNECTIONS_MAX: usize = 10_000;
/// The bytes of a request's head, and how many lines it has. What is longer is answered 431; over HTTP/1.1 hyper counts
/// between two reads, so that one of up to twice the bytes may come through.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Requests of an HTTP/2 connection that were taken back before we looked at them, and those that we had to refuse: who
/// does so more often does nothing else.
const RESETS_MAX: usize = 20;
/// How often a silent HTTP/2 connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PONG_MAX: Duration = Duration::from_secs(20);
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

/// Serves until `stop`, then finishes the requests that are in flight. HTTP/1.1 and HTTP/2: over TLS as agreed there,
/// without it by prior knowledge.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    connections_max: usize,
    proxies: Proxies,
    tls: Option<Tls>,
    stop: &CancellationToken,
) {
    let mut door = Door {
        listener,
        places: Arc::new(Semaphore::new(connections_max)),
        seats: Seats::new(connections_max, proxies),
        failed: None,
    };
    let in_flight = GracefulShutdown::new();
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .header_read_timeout(IDLE_MAX);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_MAX);
    while let Some(Some((stream, peer, place))) = stop.run_until_cancelled(door.accept()).await {
        let talk = Talk::default();
        let stream = Patient::new(stream, talk.clone());
        let answering = talk.clone();
        let asking = talk.clone();
        let app = app.clone().map_request(move |request: Request<Incoming>| {
            asking.asked(request.version());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let over_tls = tls.is_some();
        let app = app.map_response(move |mut response: Response| {
            if over_tls {
                tell_browsers(response.headers_mut());
            }
            response.map(|body| answering.answer(body))
        });
        let service = TowerToHyperService::new(app);
        let (protocol, watcher) = (protocol.clone(), in_flight.watcher());
        let (tls, stop) = (tls.clone(), stop.clone());
        tokio::spawn(async move {
            // How a connection ends is the caller's business.
            let _ended = if let Some(tls) = tls {
                let agreed = stop.run_until_cancelled(tls.accept(stream)).await;
                let Some(Ok(stream)) = agreed else {
                    return;
                };
                talk.agreed();
                let stream = TokioIo::new(Framed::new(stream));
                let connection = protocol.serve_connection(stream, service);
                watcher.watch(connection.into_owned()).await
            } else {
                let stream = TokioIo::new(Framed::new(stream));
                let connection = protocol.serve_connection(stream, service);
                watcher.watch(connection.into_owned()).await
            };
            drop(place);
        });
    }
    drop(door);
    in_flight.shutdown().await;
}

/// A connection's place among all, and among those of its address.
type Place = (OwnedSemaphorePermit, Seat);

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    seats: Seats,
    /// When one could not be accepted.
    failed: Option<Instant>,
}

impl Door {
    async fn accept(&mut self) -> Option<(TcpStream, Peer, Place)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small: they must not wait for more. A failure costs time only.
                    let _slower = stream.set_nodelay(true);
                    // Who has too many is closed, and the next one is let in.
                    let Some(seat) = self.seats.take(peer.ip()) else {
                        continue;
                    };
                    return Some((stream, Peer(peer.ip()), (place, seat)));
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
        let served = tokio::spawn(async move {
            serve(
                listener,
                app,
                CONNECTIONS_MAX,
                Proxies::default(),
                None,
                &stopped,
            )
            .await
        });
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
        let closed = tokio::time::timeout(Duration::from_mins(5), read).await;
        closed.expect("it is closed at all").ok();
        (
            String::from_utf8_lossy(&told).into_owned(),
            started.elapsed(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_not_kept() {
        for (words, patience) in [
            ("", 75),
            ("GET / HT", 10),
            ("PRI * HTTP/2.0\r\n", 10),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 10),
        ] {
            let (told, after) = told_and_closed_after(words.as_bytes()).await;
            assert!(!told.contains("hello"), "{words:?}: {told}");
            assert_eq!(after.as_secs(), patience, "{words:?}");
        }
        // Nor who has asked once.
        let (told, after) = told_and_closed_after(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(told.ends_with("hello"), "{told}");
        assert_eq!(after.as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_may_take_longer_than_a_head() {
        let slow = routing::get(async || {
            tokio::time::sleep(IDLE_MAX * 2).await;
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

    #[tokio::test(start_paused = true)]
    async fn a_head_has_to_come_in_time_however_it_drips() {
        for before in ["", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let (address, _stop, _served) = serving(greeting()).await;
            let mut caller = TcpStream::connect(address).await.unwrap();
            caller.write_all(before.as_bytes()).await.unwrap();
            let mut told = vec![0; 1_024];
            if !before.is_empty() {
                assert!(caller.read(&mut told).await.unwrap() > 0);
                // Between two requests there is more time.
                tokio::time::sleep(IDLE_MAX / 2).await;
            }
            let started = Instant::now();
            let head = b"GET / HTTP/1.1\r\nx-slow: 1";
            for byte in head.iter().chain(std::iter::repeat_n(&b'1', 100)) {
                if caller.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let after = started.elapsed();
            assert!(after < Duration::from_secs(20), "{before:?}: {after:?}");
            assert!(matches!(caller.read(&mut told).await, Ok(0) | Err(_)));
        }
    }

    /// More than the buffers between two sockets hold.
    const LARGE: usize = 64 * 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_an_answer_is_not_kept() {
        let large = routing::get(async || vec![b'x'; LARGE]);
        let (address, _stop, _served) = serving(Router::new().route("/", large)).await;
        let mut caller = TcpStream::connect(address).await.unwrap();
        let words = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        caller.write_all(words).await.unwrap();
        tokio::time::sleep(Duration::from_secs(61)).await;
        let mut told = Vec::new();
        let _reset = caller.read_to_end(&mut told).await;
        assert!(told.len() < LARGE, "{}", told.len());
    }

    #[tokio::test]
    async fn a_head_has_a_size_and_a_number_of_lines() {
        let (address, _stop, _served) = serving(greeting()).await;
        let told = async |head: String| {
            let mut caller = TcpStream::connect(address).await.unwrap();
            // Who is refused early may find the connection reset.
            let _reset = caller.write_all(head.as_bytes()).await;
            let mut told = String::new();
            let _reset = caller.read_to_string(&mut told).await;
            told.lines().next().unwrap_or_default().to_owned()
        };
        let head =
            |more: &str| format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        let line = |bytes| format!("x-long: {}\r\n", "x".repeat(bytes));
        assert_eq!(told(head(&line(30_000))).await, "HTTP/1.1 200 OK");
        let too_large = "HTTP/1.1 431 Request Header Fields Too Large";
        assert_eq!(told(head(&line(33_000))).await, too_large);
        assert_eq!(told(head(&"x: y\r\n".repeat(98))).await, "HTTP/1.1 200 OK");
        assert_eq!(told(head(&"x: y\r\n".repeat(99))).await, too_large);
    }

    #[tokio::test]
    async fn one_address_holds_half_of_all_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let app = greeting();
        tokio::spawn(async move { serve(listener, app, 4, Proxies::default(), None, &stop).await });
        let words = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let ask = async || {
            let mut caller = TcpStream::connect(address).await.unwrap();
            let _reset = caller.write_all(words).await;
            let read = caller.read(&mut [0; 64]).await.unwrap_or(0);
            (caller, read > 0)
        };
        let (first, second) = (ask().await, ask().await);
        assert!(first.1 && second.1);
        assert!(!ask().await.1);
        drop(first);
        // Its seat is free as soon as its end is seen.
        for _ in 0..1_000 {
            if ask().await.1 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the seat is not given back");
    }

    #[tokio::test]
    async fn a_connection_above_all_waits_until_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let proxies = Proxies::parse("127.0.0.1").unwrap();
        tokio::spawn(async move { serve(listener, greeting(), 2, proxies, None, &stop).await });
        let ask = async |caller: &mut TcpStream| {
            let words = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            caller.write_all(words).await.unwrap();
        };
        let answered = async |caller: &mut TcpStream| caller.read(&mut [0; 1_024]).await.unwrap();
        let connect = || TcpStream::connect(address);
        let (mut first, mut second) = (connect().await.unwrap(), connect().await.unwrap());
        let mut third = connect().await.unwrap();
        ask(&mut third).await;
        for _ in 0..100 {
            for caller in [&mut first, &mut second] {
                ask(caller).await;
                assert!(answered(caller).await > 0);
            }
        }
        let early = third.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
        drop(second);
        assert!(answered(&mut third).await > 0);
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
