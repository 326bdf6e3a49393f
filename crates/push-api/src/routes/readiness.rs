//! `GET /readyz`

use axum::extract::State;
use axum::response::IntoResponse;

use crate::state::AppState;

/// Can the process do its work?
///
/// 200 while the database is there. A broker that is away only delays notifications: `degraded`,
/// still 200. The body says what is missing.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "Ready, perhaps degraded", body = serde_json::Value,
         example = json!({"success": true, "message": "Ready", "status": "ready",
                          "checks": {"database": {"state": "ok"}, "broker": {"state": "ok"}}})),
        (status = 503, description = "The database is away", body = serde_json::Value,
         example = json!({"success": false, "message": "Not ready: database: the database is not available: no answer in time",
                          "status": "not_ready",
                          "checks": {"database": {"state": "down", "detail": "the database is not available: no answer in time"},
                                     "broker": {"state": "ok"}}})),
    )
)]
pub async fn readyz(State(state): State<AppState>) -> impl IntoResponse {
    state.health().readiness().await
}
