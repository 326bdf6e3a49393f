//! A stop that no caller notices: first the readiness says so, while requests are still served; whoever follows it
//! (a load balancer) has gone elsewhere when the doors close.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// After the soft stop: says that it is stopping, goes on for `lasting`, and then has the doors closed.
pub async fn drain(
    soft: CancellationToken,
    health: Health,
    lasting: Duration,
    close: CancellationToken,
) {
    soft.cancelled().await;
    health.stopping();
    tokio::time::sleep(lasting).await;
    close.cancel();
}

/// Meanwhile each answer ends its HTTP/1.1 connection, so that the next request takes another one. (HTTP/2 tells it by
/// itself, when the doors close.)
pub async fn part_with_callers(
    State(health): State<Health>,
    request: Request,
    next: Next,
) -> Response {
    let can_be_told = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if can_be_told && health.is_stopping() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}
