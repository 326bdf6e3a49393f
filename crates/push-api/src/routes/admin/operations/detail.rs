//! `GET /api/Push/admin/operations/{operationId}`

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use push_store::Store;
use uuid::Uuid;

use super::{Answer, operation};
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, OperationErrors};
use crate::state::AppState;

/// How far an operation is.
///
/// Ask again until `state` is no longer `running`; a second between two questions is enough.
#[utoipa::path(
    get,
    path = "/api/Push/admin/operations/{operationId}",
    operation_id = "getOperation",
    tag = "admin",
    params(("operationId" = Uuid, Path, description = "As it was answered when it was started")),
    responses(
        (status = 200, description = "The operation", body = Answer,
         example = json!({"success": true, "message": "Operation found",
                          "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "kind": "replay_dead_letters", "state": "running",
                          "total": 1234, "done": 400, "failed": 3, "failures": {"expired": 3}, "waiting": 0,
                          "filter": {"reason": "operator_must_act"}, "perSecond": 100, "extendTtlSeconds": 3600, "reason": null,
                          "createdBy": "ops", "createdAt": "2030-01-01T00:00:00.000Z", "finishedAt": null})),
        CallErrors, OperationErrors,
    ),
)]
pub async fn detail(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let id = operation(id)?;
    let found = state
        .ask(|store: Store| async move { store.operation(id).await })
        .await?;
    let found = found.ok_or(ApiError::UnknownOperation)?;
    Ok(Json(Answer::new("Operation found", found)))
}
