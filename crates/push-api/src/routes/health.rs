//! `GET /healthz`

use axum::response::IntoResponse;
use push_runtime::probes;

/// Is the process alive?
///
/// Deliberately looks at nothing else, so that an outage of the database does not make an
/// orchestrator kill healthy processes.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getHealth",
    tag = "operations",
    responses((status = 200, description = "Alive", body = crate::answer::Done,
               example = json!({"success": true, "message": "Alive"})))
)]
pub async fn healthz() -> impl IntoResponse {
    probes::healthz().await
}
