//! Liveness, readiness and metrics over HTTP, and the small client that container health checks use.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware, routing};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::guarded::guarded;
use crate::shared_answer::SharedAnswer;
use crate::telemetry::Metrics;

/// How long to stay away from a process that is not ready: about as long as a restart of what it needs.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How one thing stands that the process needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "detail")]
pub enum Check {
    /// There.
    Ok,
    /// Away, and the process can do without for a while.
    Degraded(String),
    /// Away, and the process cannot do its work.
    Down(String),
}

/// Whether the process can do its work, and what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Each thing it needs, by name.
    pub checks: Vec<(&'static str, Check)>,
}

#[derive(Serialize)]
struct ReadinessBody {
    success: bool,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    status: &'static str,
    checks: std::collections::BTreeMap<&'static str, Check>,
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let missing = |wanted: fn(&Check) -> Option<&String>| {
            let found = self
                .checks
                .iter()
                .filter_map(|(name, check)| Some(format!("{name}: {}", wanted(check)?)));
            found.collect::<Vec<_>>()
        };
        let down = missing(|check| {
            if let Check::Down(why) = check {
                Some(why)
            } else {
                None
            }
        });
        let degraded = missing(|check| {
            if let Check::Degraded(why) = check {
                Some(why)
            } else {
                None
            }
        });
        let (http, status, message) = match (down.is_empty(), degraded.is_empty()) {
            (false, _) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                format!("Not ready: {}", down.join("; ")),
            ),
            (true, false) => (
                StatusCode::OK,
                "degraded",
                format!("Ready, but degraded: {}", degraded.join("; ")),
            ),
            (true, true) => (StatusCode::OK, "ready", "Ready".to_owned()),
        };
        let ready = http.is_success();
        let body = ReadinessBody {
            success: ready,
            message,
            code: (!ready).then_some("not_ready"),
            status,
            checks: self.checks.into_iter().collect(),
        };
        let mut response = (http, Json(body)).into_response();
        if !ready {
            let after = HeaderValue::from(RETRY_AFTER.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}

/// The answer of `/healthz`: the process is alive. Deliberately looks at nothing else, so that an
/// outage of the database does not make an orchestrator kill healthy processes.
pub async fn healthz() -> impl IntoResponse {
    Json(serde_json::json!({"success": true, "message": "Alive"}))
}

/// The answer of `/metrics`, in Prometheus' text format.
pub async fn metrics_response(metrics: &Metrics) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render().await,
    )
        .into_response()
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `stop`; one look at the readiness serves all who ask within a
/// second. Returns the address really bound.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve<F, Fut>(
    address: SocketAddr,
    metrics: Metrics,
    readiness: F,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Readiness> + Send,
{
    let (readiness, answered) = (Arc::new(readiness), SharedAnswer::default());
    let ready = move || {
        let (readiness, answered) = (Arc::clone(&readiness), answered.clone());
        async move { answered.or_ask(|| readiness()).await }
    };
    let router = Router::new()
        .route("/healthz", routing::get(healthz))
        .route("/readyz", routing::get(ready))
        .route(
            "/metrics",
            routing::get(async move || metrics_response(&metrics).await),
        )
        .layer(middleware::map_response(guarded));
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the health and metrics server ended");
        }
    });
    Ok(bound)
}

/// Asks a process of ours on this machine for its `/healthz`: the health check of a container
/// without a shell. An unspecified address (`0.0.0.0`) is asked on loopback.
///
/// # Errors
/// Why the process does not answer with 200 within two seconds.
pub async fn ask_health(address: SocketAddr) -> Result<(), String> {
    ask_health_through(address, async |stream| Ok(stream)).await
}

/// The same of a process that is spoken to through something else than bare TCP.
///
/// # Errors
/// As [`ask_health`].
pub async fn ask_health_through<S>(
    address: SocketAddr,
    wrap: impl AsyncFnOnce(TcpStream) -> std::io::Result<S>,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let host: std::net::IpAddr = if !address.ip().is_unspecified() {
        address.ip()
    } else if address.is_ipv4() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    let asked = async {
        let mut stream = wrap(TcpStream::connect((host, address.port())).await?).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    match tokio::time::timeout(Duration::from_secs(2), asked).await {
        Ok(Ok(head)) if head.ends_with(b" 200") => Ok(()),
        Ok(Ok(head)) => Err(format!(
            "{host}:{} answers {:?}",
            address.port(),
            String::from_utf8_lossy(&head)
        )),
        Ok(Err(error)) => Err(format!("{host}:{}: {error}", address.port())),
        Err(_) => Err(format!(
            "{host}:{} does not answer within 2 s",
            address.port()
        )),
    }
}
