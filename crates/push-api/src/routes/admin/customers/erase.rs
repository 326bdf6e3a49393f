//! `DELETE /api/Push/customers/{customerId}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use push_store::{OperationId, OperationState, OperationView, Store};
use tokio::time::Instant;

use super::super::operations::Answer;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, CustomerErrors};
use crate::routes::{CustomerPath, customer_of};
use crate::state::{AppState, now};

/// How long to wait until all content is gone: that of most customers is by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Erases a customer: devices with their tokens, preferences, what waits to be sent, and the content of all notifications.
///
/// From the answer on, 200 or 202, nothing that was accepted before is sent any more, wherever it waits: for its time, in a
/// queue, for its next attempt, for a provider. It ends as `suppressed` with the reason `erased`, or as `sent` where a device
/// had got it. What a provider is being asked at this very moment cannot be taken back.
///
/// The content (title, body, data, picture, collapse key, tokens, provider's ids, timeline; also that of dead letters) is
/// emptied by a worker: mostly before the answer, which is 200 with `state` `done` then. After 5 seconds it is 202, and
/// `GET /api/Push/admin/operations/{operationId}` tells how far it is; restarts do not stop it. What became of each
/// notification stays for the figures.
///
/// A row in `customers` is not touched. A customer who registers again begins anew: what is accepted from then on is
/// delivered. To erase once more changes nothing else.
#[utoipa::path(
    delete,
    path = "/api/Push/customers/{customerId}",
    operation_id = "eraseCustomer",
    tag = "admin",
    params(("customerId" = i64, Path, description = "The customer", minimum = 1, example = 123)),
    responses(
        (status = 200, description = "Erased", body = Answer,
         example = json!({"success": true, "message": "Customer erased",
                          "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "kind": "erase_customer", "state": "done",
                          "total": 42, "done": 42, "failed": 0, "failures": {}, "waiting": 0,
                          "filter": {"customerId": 123}, "perSecond": 2000, "extendTtlSeconds": null, "reason": null,
                          "createdBy": "ops", "createdAt": "2030-01-01T00:00:00.000Z",
                          "finishedAt": "2030-01-01T00:00:00.420Z"})),
        (status = 202, description = "Nothing is sent any more; content is still being emptied", body = Answer,
         example = json!({"success": true, "message": "Customer erased; content is being emptied",
                          "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "kind": "erase_customer", "state": "running",
                          "total": 90000, "done": 10000, "failed": 0, "failures": {}, "waiting": 0,
                          "filter": {"customerId": 123}, "perSecond": 2000, "extendTtlSeconds": null, "reason": null,
                          "createdBy": "ops", "createdAt": "2030-01-01T00:00:00.000Z", "finishedAt": null})),
        CallErrors, CustomerErrors,
    )
)]
pub async fn erase(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    customer: CustomerPath,
) -> Result<Response, ApiError> {
    let customer = customer_of(customer)?;
    let knows = |store: Store| async move { store.knows(customer).await };
    if !state.ask(knows).await? {
        return Err(ApiError::UnknownCustomer);
    }
    let (id, by) = (OperationId::generate(), caller.name().to_owned());
    state
        .change(move |store| async move { store.erase_customer(id, customer, &by, now()).await })
        .await?;
    let operation = wait(&state, id).await?;
    Ok(match operation.state {
        OperationState::Done => Json(Answer::new("Customer erased", operation)).into_response(),
        OperationState::Running | OperationState::Cancelled | OperationState::Failed => {
            let answer = Answer::new("Customer erased; content is being emptied", operation);
            (StatusCode::ACCEPTED, Json(answer)).into_response()
        }
    })
}

/// The operation, once it is over, or patience is.
async fn wait(state: &AppState, id: OperationId) -> Result<OperationView, ApiError> {
    let patience_ends = Instant::now() + PATIENCE;
    loop {
        let look = |store: Store| async move { store.operation(id).await };
        let operation = state.ask(look).await?.ok_or(ApiError::UnknownOperation)?;
        if operation.state != OperationState::Running || Instant::now() > patience_ends {
            return Ok(operation);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
