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
#[utoipa::path(
    get,
    path = "/api/Push/admin/operations/{operationId}",
    operation_id = "getOperation",
    tag = "admin",
    params(("operationId" = Uuid, Path, description = "As it was answered when it was started")),
    responses(
        (status = 200, description = "The operation", body = Answer),
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
