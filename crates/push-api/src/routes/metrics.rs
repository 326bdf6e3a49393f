//! `GET /metrics`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use push_runtime::probes;

use crate::error::ApiError;
use crate::state::AppState;

/// What Prometheus scrapes.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "Metrics in Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(state): State<AppState>) -> Response {
    match &state.metrics {
        Some(metrics) => probes::metrics_response(metrics),
        None => ApiError::NotFound.into_response(),
    }
}
