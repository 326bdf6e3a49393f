//! `GET /readyz`

use axum::extract::State;
use axum::response::IntoResponse;

use crate::health::Probes;

/// Can the process do its work?
///
/// 200 while the database is there. A broker that is away only delays notifications: `degraded`,
/// still 200. The body says what is missing.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "operations",
    responses(
        (status = 200, description = "Ready, perhaps degraded", body = serde_json::Value,
         example = json!({"success": true, "message": "Ready", "status": "ready",
                          "checks": {"database": {"state": "ok"}, "broker": {"state": "ok"}}})),
        (status = 503, description = "`not_ready`: the database is away, or has no schema yet", body = serde_json::Value,
         example = json!({"success": false, "message": "Not ready: database: the database is not available: no answer in time",
                          "code": "not_ready", "status": "not_ready",
                          "checks": {"database": {"state": "down", "detail": "the database is not available: no answer in time"},
                                     "broker": {"state": "ok"}}})),
    )
)]
pub async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    probes.health.readiness().await
}
