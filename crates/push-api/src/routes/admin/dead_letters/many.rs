//! `POST /api/Push/admin/deadLetters/replay` and `/discard`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use push_core::replay::LetterState;
use push_store::{Filter, NewOperation, Store, Work};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{extension, reason};
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, BodyErrors, CallErrors};
use crate::query::Given;
use crate::request::{Field, JsonBody, Problems};
use crate::schemas;
use crate::state::{AppState, now};

/// Letters a second: without a wish, and at most. Well below what providers and the database take.
const PER_SECOND_DEFAULT: u32 = 100;
const PER_SECOND_MAX: u32 = 1_000;

/// Which of the open dead letters: those for which all that is given holds. Empty: all of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetterFilter)]
pub struct FilterSchema {
    /// Why they were given up.
    #[schema(value_type = Option<String>, schema_with = schemas::give_up_reason_or_null, required = false)]
    reason: Option<&'static str>,
    /// The provider that was asked last.
    #[schema(value_type = Option<String>, schema_with = schemas::provider_or_null, required = false)]
    provider: Option<&'static str>,
    /// Recorded at this time or later.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    from: Option<crate::answer::Time>,
    /// Recorded before this time.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    to: Option<crate::answer::Time>,
    /// Whom they were for.
    #[schema(minimum = 1)]
    customer_id: Option<i64>,
    /// Which notification they belong to.
    notification_id: Option<Uuid>,
}

impl From<Filter> for FilterSchema {
    fn from(filter: Filter) -> Self {
        Self {
            reason: filter.reason.map(|reason| reason.as_str()),
            provider: filter.provider.map(|provider| provider.as_str()),
            from: filter.from.map(crate::answer::Time),
            to: filter.to.map(crate::answer::Time),
            customer_id: filter.customer.map(|id| id.get()),
            notification_id: filter.notification.map(|id| id.as_uuid()),
        }
    }
}

/// Which dead letters to replay, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayManyRequest,
         example = json!({"filter": {"reason": "operator_must_act", "provider": "fcm"}, "perSecond": 100}))]
pub struct ReplayRequest {
    /// Which of the open ones; `{}` means all.
    #[serde(default)]
    #[schema(value_type = FilterSchema, required)]
    filter: Field<Map<String, Value>>,
    /// Only count them.
    #[serde(default)]
    #[schema(value_type = Option<bool>, default = false)]
    dry_run: Field<bool>,
    /// Dead letters a second at most.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    per_second: Field<i64>,
    /// Notifications may be sent for at least so long from their replay on.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 2_419_200, example = 3600)]
    extend_ttl_seconds: Field<i64>,
}

/// Which dead letters to discard, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DiscardManyRequest,
         example = json!({"filter": {"reason": "poison"}, "reason": "from the load test of last night"}))]
pub struct DiscardRequest {
    /// Which of the open ones; `{}` means all.
    #[serde(default)]
    #[schema(value_type = FilterSchema, required)]
    filter: Field<Map<String, Value>>,
    /// Only count them.
    #[serde(default)]
    #[schema(value_type = Option<bool>, default = false)]
    dry_run: Field<bool>,
    /// Dead letters a second at most.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    per_second: Field<i64>,
    /// For those who look at them later; only a dry run needs none.
    #[serde(default)]
    #[schema(value_type = String, required, min_length = 1, max_length = 255)]
    reason: Field<String>,
}

/// What a dry run counts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub struct Counted {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// Open dead letters that the filter means now.
    #[schema(example = 1234)]
    count: u64,
}

/// An operation was started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OperationStarted)]
pub struct Started {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// For `GET /api/Push/admin/operations/{operationId}`.
    operation_id: Uuid,
}

/// What both have in common.
struct Many {
    filter: Filter,
    dry_run: bool,
    per_second: u32,
}

impl Many {
    fn parse(
        problems: &mut Problems,
        filter: Field<Map<String, Value>>,
        dry_run: Field<bool>,
        per_second: Field<i64>,
    ) -> Option<Self> {
        let given = problems.required("filter", filter, Ok::<_, String>);
        let filter = given.map(|given| Given::from_json(given).filter(problems));
        if let Some(state) = filter.as_ref().and_then(|filter| filter.state)
            && state != LetterState::Open
        {
            problems.note(
                "filter",
                "can only mean open dead letters: the others have been handled",
            );
        }
        let dry_run = problems.optional("dryRun", dry_run, Ok::<_, String>);
        let per_second = problems.optional("perSecond", per_second, |given| {
            let given = u32::try_from(given).ok();
            given
                .filter(|given| (1..=PER_SECOND_MAX).contains(given))
                .ok_or_else(|| format!("must be 1 to {PER_SECOND_MAX}"))
        });
        Some(Self {
            filter: filter?,
            dry_run: dry_run.unwrap_or(false),
            per_second: per_second.unwrap_or(PER_SECOND_DEFAULT),
        })
    }

    async fn answer(self, state: &AppState, by: &str, work: Work) -> Result<Response, ApiError> {
        if self.dry_run {
            let filter = self.filter;
            let count = |store: Store| async move { store.count_open_dead_letters(&filter).await };
            let counted = Counted {
                success: true,
                message: "Nothing was changed",
                count: state.ask_of_many(count).await?,
            };
            return Ok(Json(counted).into_response());
        }
        let new = NewOperation {
            work,
            filter: self.filter,
            per_second: self.per_second,
            by: by.to_owned(),
        };
        let start = |store: Store| async move { store.start_operation(new, now()).await };
        let started = Started {
            success: true,
            message: "Operation started",
            operation_id: state.ask(start).await?.0,
        };
        Ok((StatusCode::ACCEPTED, Json(started)).into_response())
    }
}

/// Tries many dead letters again, by filter.
///
/// A worker does it, `perSecond` at most, and goes on where it stood whatever is restarted. Meant are the open dead letters
/// that there are now, not those that come later. Those of a notification whose other replay is under way wait for its end.
/// What cannot be replayed stays open, and is counted by reason in the operation.
#[utoipa::path(
    post,
    path = "/api/Push/admin/deadLetters/replay",
    operation_id = "replayDeadLetters",
    tag = "admin",
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "With `dryRun`", body = Counted,
         example = json!({"success": true, "message": "Nothing was changed", "count": 1234})),
        (status = 202, description = "Started", body = Started,
         example = json!({"success": true, "message": "Operation started", "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"})),
        BodyErrors, CallErrors,
    ),
)]
pub async fn replay_many(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    JsonBody(request): JsonBody<ReplayRequest>,
) -> Result<Response, ApiError> {
    let mut problems = Problems::default();
    let many = Many::parse(
        &mut problems,
        request.filter,
        request.dry_run,
        request.per_second,
    );
    let extend = problems.optional("extendTtlSeconds", request.extend_ttl_seconds, extension);
    let many = problems.finish(many)?;
    let work = Work::Replay {
        extend_ttl_seconds: extend.map(|extend| extend.as_secs()),
    };
    many.answer(&state, caller.name(), work).await
}

/// Puts many dead letters aside, by filter.
///
/// As replaying many: by a worker, `perSecond` at most, those that there are now.
#[utoipa::path(
    post,
    path = "/api/Push/admin/deadLetters/discard",
    operation_id = "discardDeadLetters",
    tag = "admin",
    request_body = DiscardRequest,
    responses(
        (status = 200, description = "With `dryRun`", body = Counted,
         example = json!({"success": true, "message": "Nothing was changed", "count": 1234})),
        (status = 202, description = "Started", body = Started,
         example = json!({"success": true, "message": "Operation started", "operationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"})),
        BodyErrors, CallErrors,
    ),
)]
pub async fn discard_many(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    JsonBody(request): JsonBody<DiscardRequest>,
) -> Result<Response, ApiError> {
    let mut problems = Problems::default();
    let many = Many::parse(
        &mut problems,
        request.filter,
        request.dry_run,
        request.per_second,
    );
    let counts_only = many.as_ref().is_some_and(|many| many.dry_run);
    let why = if counts_only {
        problems.optional("reason", request.reason, reason)
    } else {
        problems.required("reason", request.reason, reason)
    };
    let many = problems.finish(many)?;
    let work = Work::Discard {
        reason: why.unwrap_or_default(),
    };
    many.answer(&state, caller.name(), work).await
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn what_an_operation_tells_of_its_filter_is_as_documented() {
        let told = FilterSchema {
            reason: None,
            provider: None,
            from: None,
            to: None,
            customer_id: None,
            notification_id: None,
        };
        let told = serde_json::to_value(told).unwrap();
        let schema = serde_json::to_value(FilterSchema::schema()).unwrap();
        for (name, value) in told.as_object().unwrap() {
            let kinds = schema["properties"][name]["type"].as_array();
            let or_null = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
            assert!(!value.is_null() || or_null, "{name}");
        }
    }
}
