//! `POST /api/Push/admin/deadLetters/{id}/discard`

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use push_store::{Discard, Store};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{letter, reason};
use crate::answer::Done;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, BodyErrors, CallErrors, DeadLetterErrors, DiscardErrors};
use crate::request::{Field, JsonBody, Problems};
use crate::state::{AppState, now};

/// Why nothing is to follow.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = DiscardRequest)]
pub struct Request {
    /// For those who look at it later.
    #[serde(default)]
    #[schema(value_type = String, required, min_length = 1, max_length = 255,
             example = "the app of that customer is gone")]
    reason: Field<String>,
}

/// Puts one dead letter aside.
///
/// It is kept, with who did so, when and why, and can no longer be replayed.
#[utoipa::path(
    post,
    path = "/api/Push/admin/deadLetters/{id}/discard",
    operation_id = "discardDeadLetter",
    tag = "admin",
    params(("id" = u64, Path, description = "The dead letter", example = 17)),
    request_body = Request,
    responses(
        (status = 200, description = "Put aside", body = Done,
         example = json!({"success": true, "message": "Dead letter discarded"})),
        BodyErrors, CallErrors, DeadLetterErrors, DiscardErrors,
    ),
)]
pub async fn discard(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    id: Result<Path<u64>, PathRejection>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Done>, ApiError> {
    let id = letter(id)?;
    let mut problems = Problems::default();
    let why = problems.required("reason", request.reason, reason);
    let how = problems.finish(why.map(|reason| Discard {
        by: caller.name().to_owned(),
        reason,
    }))?;
    let discard = |store: Store| async move { store.discard_dead_letter(id, &how, now()).await };
    state.ask(discard).await?.map_err(ApiError::DeadLetter)?;
    Ok(Json(Done::new("Dead letter discarded")))
}
