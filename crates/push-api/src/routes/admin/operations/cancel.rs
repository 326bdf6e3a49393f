//! `POST /api/Push/admin/operations/{operationId}/cancel`

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use push_store::{OperationState, Store};
use uuid::Uuid;

use super::{Answer, operation};
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, CancelErrors, OperationErrors};
use crate::state::{AppState, now};

/// Stops an operation.
///
/// What it has done stays done; what it has not is left as it was. The answer says how far it came. One that erases a
/// customer is not stopped.
#[utoipa::path(
    post,
    path = "/api/Push/admin/operations/{operationId}/cancel",
    operation_id = "cancelOperation",
    tag = "admin",
    params(("operationId" = Uuid, Path, description = "As it was answered when it was started")),
    responses(
        (status = 200, description = "It is cancelled", body = Answer,
         example = json!({"success": true, "message": "Operation cancelled",
                          "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "kind": "replay_dead_letters", "state": "cancelled",
                          "total": 1234, "done": 400, "failed": 3, "failures": {"expired": 3}, "waiting": 0,
                          "filter": {"reason": "operator_must_act"}, "perSecond": 100, "extendTtlSeconds": 3600, "reason": null,
                          "createdBy": "ops", "createdAt": "2030-01-01T00:00:00.000Z", "finishedAt": "2030-01-01T00:00:05.000Z"})),
        CallErrors, OperationErrors, CancelErrors,
    ),
)]
pub async fn cancel(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let id = operation(id)?;
    let cancel = |store: Store| async move {
        let cancelled = store.cancel_operation(id, now()).await?;
        Ok((cancelled, store.operation(id).await?))
    };
    match state.ask(cancel).await? {
        (_, None) => Err(ApiError::UnknownOperation),
        (false, Some(found)) => Err(match found.state {
            OperationState::Running => ApiError::NotCancellable,
            OperationState::Done | OperationState::Cancelled | OperationState::Failed => {
                ApiError::OperationEnded
            }
        }),
        (true, Some(found)) => Ok(Json(Answer::new("Operation cancelled", found))),
    }
}
