//! `GET /api/Push/admin/deadLetters`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use push_core::provider::Platform;
use push_store::{LetterView, Store};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::filter::{cursor, place};
use super::{LIMIT_DEFAULT, limit};
use crate::answer::Time;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, QueryErrors};
use crate::query::Given;
use crate::request::Problems;
use crate::schemas;
use crate::state::AppState;

/// What the query may hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "documentation: all problems of a query are told at once, so it is read by hand"
)]
pub struct Parameters {
    /// Why they were given up.
    #[param(value_type = Option<String>, schema_with = schemas::give_up_reason)]
    reason: Option<String>,
    /// The provider that was asked last.
    #[param(value_type = Option<String>, schema_with = schemas::provider)]
    provider: Option<String>,
    /// Recorded at this time or later.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    from: Option<String>,
    /// Recorded before this time.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    to: Option<String>,
    /// Whom they were for.
    #[param(minimum = 1)]
    customer_id: Option<i64>,
    /// Which notification they belong to.
    notification_id: Option<Uuid>,
    /// `true`: those that were replayed. `false`: those that wait for somebody, neither replayed nor discarded.
    replayed: Option<bool>,
    /// What was done with them.
    #[param(value_type = Option<String>, schema_with = schemas::letter_state)]
    state: Option<String>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `nextCursor` of the page before, with the same filters.
    cursor: Option<String>,
}

/// A page, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetters)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// The dead letters.
    items: Vec<DeadLetter>,
    /// Where the next page begins; `null` at the end.
    #[schema(example = "1a0c4e8b2a0-11")]
    next_cursor: Option<String>,
}

/// What was given up for one device; or a job as a whole, or what was no job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its id.
    #[schema(example = 17)]
    id: u64,
    /// The notification; `null` for bytes that were no job.
    notification_id: Option<Uuid>,
    /// Whom it was for.
    customer_id: Option<i64>,
    /// Who was asked last; `null` for a job as a whole.
    #[schema(schema_with = schemas::provider_or_null)]
    provider: Option<&'static str>,
    /// What the device runs.
    #[schema(schema_with = schemas::platform_or_null)]
    platform: Option<Platform>,
    /// The token's tail.
    token: Option<String>,
    /// Why it was given up.
    #[schema(schema_with = schemas::give_up_reason)]
    reason: &'static str,
    /// The last failure.
    error: Failure,
    /// Tries spent.
    attempts: u32,
    /// When it was recorded.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    created_at: Time,
    /// What was done with it.
    #[schema(schema_with = schemas::letter_state)]
    state: &'static str,
    /// When it was replayed.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    replayed_at: Option<Time>,
    /// By whom: the name of an API key.
    replayed_by: Option<String>,
    /// When it was discarded.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    discarded_at: Option<Time>,
    /// By whom.
    discarded_by: Option<String>,
    /// Why.
    discard_reason: Option<String>,
}

/// A failure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterError)]
pub struct Failure {
    /// The provider's code where it gave one, else ours.
    #[schema(example = "SENDER_ID_MISMATCH")]
    pub(super) code: String,
    /// What it means, and what to do.
    pub(super) text: String,
}

impl From<push_core::outcome::Cause> for Failure {
    fn from(cause: push_core::outcome::Cause) -> Self {
        Self {
            code: cause.code,
            text: cause.text,
        }
    }
}

impl From<LetterView> for DeadLetter {
    fn from(view: LetterView) -> Self {
        Self {
            id: view.id.0,
            notification_id: view.notification.map(|id| id.as_uuid()),
            customer_id: view.customer.map(|id| id.get()),
            provider: view.provider.map(|provider| provider.as_str()),
            platform: view.platform,
            token: view.token.map(|token| token.as_str().to_owned()),
            reason: view.reason.as_str(),
            error: view.error.into(),
            attempts: view.attempts,
            created_at: Time(view.created_at),
            state: view.state.as_str(),
            replayed_at: view.replayed_at.map(Time),
            replayed_by: view.replayed_by,
            discarded_at: view.discarded_at.map(Time),
            discarded_by: view.discarded_by,
            discard_reason: view.discard_reason,
        }
    }
}

/// Dead letters by filter, the newest first.
///
/// Without `replayed` and `state` all are listed, whatever was done with them. A page does not move while new ones come.
#[utoipa::path(
    get,
    path = "/api/Push/admin/deadLetters",
    operation_id = "listDeadLetters",
    tag = "admin",
    params(Parameters),
    responses(
        (status = 200, description = "A page", body = Answer,
         example = json!({"success": true, "message": "Dead letters found",
                          "items": [{"id": 17, "notificationId": "01a22506-a3a7-738b-81dd-f25ad87ff4a2", "customerId": 123, "provider": "fcm", "platform": "android",
                          "token": "…aaaa", "reason": "operator_must_act",
                          "error": {"code": "SENDER_ID_MISMATCH", "text": "The token belongs to another Firebase project, or the service account does."},
                          "attempts": 1, "createdAt": "2030-01-01T00:00:00.000Z", "state": "open", "replayedAt": null, "replayedBy": null,
                          "discardedAt": null, "discardedBy": null, "discardReason": null}],
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
    let filter = given.filter(&mut problems);
    let limit = limit(&given, &mut problems).unwrap_or(LIMIT_DEFAULT);
    let after = given.read(&mut problems, "cursor", "must be a nextCursor", place);
    let filter = problems.finish(Some(filter))?;
    // One more tells whether there is another page.
    let ask = |store: Store| async move { store.dead_letters(&filter, after, limit + 1).await };
    let mut found = state.ask_of_many(ask).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    Ok(Json(Answer {
        success: true,
        message: "Dead letters found",
        next_cursor: last.map(|last| cursor(last.place())),
        items: found.into_iter().map(DeadLetter::from).collect(),
    }))
}
