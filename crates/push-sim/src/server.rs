//! The port: accepts connections, speaks HTTP/1.1 and h2c, and hands requests to the providers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt as _;

use crate::connection::{Connection, Socket};
use crate::lane::Provider;
use crate::reply::{self, Reply};
use crate::sim::{Sim, Verdict};
use crate::{control, expo, fcm, oauth};

/// Larger requests are refused: no provider takes a message of more than a few kilobytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Above the 100 a client should keep to, so that one which does not is seen in
/// `maxConcurrentPerConnection` instead of being held back.
const STREAMS_MAX: u32 = 1_000;
/// Pause after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to start a simulator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub addr: SocketAddr,
    /// If set, Expo asks for it.
    pub expo_access_token: Option<String>,
    /// How long every provider takes to answer.
    pub latency: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            expo_access_token: None,
            latency: Duration::ZERO,
        }
    }
}

/// A running simulator. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    sim: Arc<Sim>,
    task: JoinHandle<()>,
}

/// Binds the port and serves in the background.
pub async fn serve(config: Config) -> io::Result<Server> {
    let listener = TcpListener::bind(config.addr).await?;
    let addr = listener.local_addr()?;
    let sim = Arc::new(Sim::new(config.expo_access_token, config.latency));
    let task = tokio::spawn(accept(listener, Arc::clone(&sim)));
    Ok(Server { addr, sim, task })
}

impl Server {
    /// The address that is listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://<address>`, the base URL of every provider.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A valid access token without the OAuth exchange.
    pub fn issue_token(&self) -> String {
        self.sim.oauth.issue(self.sim.clock.now_ms()).0
    }

    /// Closes the port and every connection, and waits until the port is free again.
    pub async fn stop(mut self) {
        self.task.abort();
        // An aborted task ends with an error, which is what was asked for.
        let _ = (&mut self.task).await;
    }

    /// Runs until the task ends, which it does only by `stop` or drop.
    pub async fn wait(&mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, sim: Arc<Sim>) {
    let control = control::router(Arc::clone(&sim));
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&sim), control.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, sim: Arc<Sim>, control: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "peer left at once");
    }
    let connection = Arc::new(Connection::default());
    let socket = Socket::new(stream, Arc::clone(&connection), Arc::clone(&sim));
    let shared = Arc::clone(&connection);
    let service = service_fn(move |request| {
        handle(
            Arc::clone(&sim),
            Arc::clone(&shared),
            control.clone(),
            request,
        )
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_MAX);
    tokio::select! {
        served = builder.serve_connection(TokioIo::new(socket), service) => {
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = connection.ended() => {}
    }
}

/// Ends one HTTP/2 stream with `REFUSED_STREAM`: hyper takes the reason from the error's source.
#[derive(Debug, thiserror::Error)]
#[error("stream refused")]
struct Refused(#[source] h2::Error);

async fn handle(
    sim: Arc<Sim>,
    connection: Arc<Connection>,
    control: Router,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let _stream = connection.enter(&sim.connections, request.version());
    let Some(provider) = provider_of(&request) else {
        return Ok(other(control, request).await);
    };
    // A request that hangs is in flight until its client leaves.
    let _in_flight = sim.lane(provider).enter();
    match play(&sim, provider, request).await {
        Reply::Answer(response) => Ok(response),
        Reply::RefuseStream => Err(Refused(h2::Reason::REFUSED_STREAM.into())),
        Reply::Hang => std::future::pending().await,
        Reply::Reset => {
            connection.reset();
            std::future::pending().await
        }
    }
}

fn provider_of(request: &Request<Incoming>) -> Option<Provider> {
    if request.method() != Method::POST {
        return None;
    }
    match request.uri().path() {
        expo::SEND => Some(Provider::Expo),
        expo::GET_RECEIPTS => Some(Provider::Receipts),
        "/token" => Some(Provider::Oauth),
        path => fcm::project_of(path).map(|_| Provider::Fcm),
    }
}

async fn play(sim: &Sim, provider: Provider, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let verdict = match provider {
        Provider::Fcm => {
            let project = fcm::project_of(head.uri.path()).unwrap_or_default();
            fcm::send(sim, project, &head, &body)
        }
        Provider::Expo => expo::send(sim, &head, &body),
        Provider::Oauth => oauth::token(sim, &head, &body),
        Provider::Receipts => expo::get_receipts(sim, &head, &body),
    };
    let Verdict { reply, delay, .. } = verdict;
    // What was accepted shows on the phone at once; only the answer is late, as with a slow network.
    let late = delay + sim.lane(provider).latency();
    if !late.is_zero() {
        tokio::time::sleep(late).await;
    }
    reply
}

/// The whole body; without copying where it came in one piece.
async fn read(mut body: Incoming) -> Result<Bytes, Reply> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // The client went away: nobody is left to be answered.
        let Ok(frame) = frame else {
            return Err(Reply::Hang);
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + first.len() + data.len() > BODY_BYTES_MAX {
            let text = "Your client issued a request that was too large.";
            return Err(Reply::Answer(reply::html(
                StatusCode::PAYLOAD_TOO_LARGE,
                text,
            )));
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

async fn other(control: Router, request: Request<Incoming>) -> Response<Body> {
    let response = control.oneshot(request.map(Body::new)).await;
    match response {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
