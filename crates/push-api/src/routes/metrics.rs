//! `GET /metrics`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use push_runtime::probes::metrics_response;

use crate::error::ApiError;
use crate::health::Probes;

/// What Prometheus scrapes.
///
/// With `METRICS_ADDR` it is there and not here.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "operations",
    responses((status = 200, description = "Metrics in Prometheus' text format", body = String, content_type = "text/plain",
               example = "push_notifications_accepted_total 1000\n"))
)]
pub async fn metrics(State(probes): State<Probes>) -> Response {
    match &probes.metrics {
        Some(metrics) => metrics_response(metrics).await,
        None => ApiError::NotFound.into_response(),
    }
}
