//! `POST /api/Push/admin/deadLetters/{id}/replay`

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use push_store::Replay;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{extension, letter};
use crate::answer::Done;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, BodyErrors, CallErrors, DeadLetterErrors, ReplayErrors};
use crate::request::{Field, OptionalJsonBody, Problems};
use crate::state::AppState;
use push_core::trace::TraceContext;

/// How to replay. The body may be missing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayRequest)]
pub struct Request {
    /// The notification may be sent for at least so long from now on.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 2_419_200, example = 3600)]
    extend_ttl_seconds: Field<i64>,
}

/// Tries one dead letter again.
///
/// The notification keeps its id and is pending again. Only the device that the dead letter is about is tried, as if for
/// the first time, with the token that it has by then; a dead letter of a whole job tries what was open. Should it be given
/// up once more, that is a new dead letter. The bytes of what was no job are published again as they are, within seconds.
///
/// Calling it twice, or at two replicas at the same time, sends once.
#[utoipa::path(
    post,
    path = "/api/Push/admin/deadLetters/{id}/replay",
    operation_id = "replayDeadLetter",
    tag = "admin",
    params(("id" = u64, Path, description = "The dead letter", example = 17)),
    request_body = Option<Request>,
    responses(
        (status = 202, description = "On its way", body = Done,
         example = json!({"success": true, "message": "Dead letter replayed"})),
        BodyErrors, CallErrors, DeadLetterErrors, ReplayErrors,
    ),
)]
pub async fn replay(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    Extension(trace): Extension<TraceContext>,
    id: Result<Path<u64>, PathRejection>,
    OptionalJsonBody(request): OptionalJsonBody<Request>,
) -> Result<(StatusCode, Json<Done>), ApiError> {
    let id = letter(id)?;
    let mut problems = Problems::default();
    let extend_ttl = problems.optional("extendTtlSeconds", request.extend_ttl_seconds, extension);
    let how = problems.finish(Some(Replay {
        by: caller.name().to_owned(),
        extend_ttl,
        due_after: state.reconcile_after,
    }))?;
    state.replay(id, how, trace).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(Done::new("Dead letter replayed")),
    ))
}
