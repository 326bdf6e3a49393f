//! `GET /api/Push/admin/operations`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use push_store::{OperationId, Store};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Operation;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, QueryErrors};
use crate::query::Given;
use crate::request::Problems;
use crate::routes::admin::dead_letters::{LIMIT_DEFAULT, limit};
use crate::state::AppState;

/// What the query may hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "documentation: all problems of a query are told at once, so it is read by hand"
)]
pub struct Parameters {
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A page, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Operations)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// The operations.
    items: Vec<Operation>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// Operations, the newest first.
///
/// What is done with many dead letters, and the erasure of customers.
#[utoipa::path(
    get,
    path = "/api/Push/admin/operations",
    operation_id = "listOperations",
    tag = "admin",
    params(Parameters),
    responses(
        (status = 200, description = "A page", body = Answer,
         example = json!({"success": true, "message": "Operations found",
                          "items": [{"operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "kind": "replay_dead_letters", "state": "running",
                          "total": 1234, "done": 400, "failed": 3, "failures": {"expired": 3}, "waiting": 0,
                          "filter": {"reason": "operator_must_act"}, "perSecond": 100, "extendTtlSeconds": 3600, "reason": null,
                          "createdBy": "ops", "createdAt": "2030-01-01T00:00:00.000Z", "finishedAt": null}],
                          "nextCursor": null})),
        QueryErrors, CallErrors,
    ),
)]
pub async fn list(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Answer>, ApiError> {
    let given = Given::new(query.map(|Query(pairs)| pairs).unwrap_or_default());
    let mut problems = Problems::default();
    let limit = limit(&given, &mut problems).unwrap_or(LIMIT_DEFAULT);
    let before = given.read(&mut problems, "cursor", "must be a nextCursor", |text| {
        Uuid::try_parse(text).ok().map(OperationId)
    });
    problems.finish(Some(()))?;
    // One more tells whether there is another page.
    let ask = |store: Store| async move { store.operations(before, limit + 1).await };
    let mut found = state.ask_of_many(ask).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    Ok(Json(Answer {
        success: true,
        message: "Operations found",
        next_cursor: last.map(|last| last.id.0.simple().to_string()),
        items: found.into_iter().map(Operation::from).collect(),
    }))
}
