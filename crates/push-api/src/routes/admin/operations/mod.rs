//! Operations: what is done with many dead letters or with all notifications of a customer, and how far it is.

mod cancel;
mod detail;
mod list;

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use push_store::{OperationId, OperationState, OperationView, Work};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::dead_letters::FilterSchema;
use crate::answer::Time;
use crate::error::ApiError;
use crate::routes::closed::closed;
use crate::schemas;
use crate::state::AppState;

/// The endpoints, a file each.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(list::list))
        .routes(closed!(detail::detail))
        .routes(closed!(cancel::cancel))
}

/// What is no UUID names no operation.
fn operation(id: Result<Path<Uuid>, PathRejection>) -> Result<OperationId, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::UnknownOperation)?;
    Ok(OperationId(id))
}

/// How an operation stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its id.
    operation_id: Uuid,
    /// What is done: `replay_dead_letters`, `discard_dead_letters`, `erase_customer`.
    #[schema(example = "replay_dead_letters")]
    kind: String,
    /// How it stands.
    #[schema(schema_with = schemas::operation_state)]
    state: &'static str,
    /// Dead letters that it is about; with `erase_customer` notifications.
    total: u64,
    /// Those that were handled.
    done: u64,
    /// Those that could not be, and stay open.
    failed: u64,
    /// Why, and how many of them: `already_handled` (by somebody else), `expired`, `content_gone`, `cancelled`, `superseded`, `unknown_notification`,
    /// `incomplete_bytes`, `unreadable`.
    #[schema(example = json!({"expired": 3}))]
    failures: BTreeMap<String, u64>,
    /// Dead letters that wait for another replay of their notification.
    waiting: u64,
    /// Which dead letters; with `erase_customer` which customer.
    filter: FilterSchema,
    /// Dead letters, or notifications, a second at most.
    per_second: u32,
    /// What a replay gives to what has expired.
    extend_ttl_seconds: Option<u64>,
    /// Why something is discarded.
    reason: Option<String>,
    /// Who started it: the name of an API key.
    created_by: Option<String>,
    /// When.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    created_at: Time,
    /// When it ended.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    finished_at: Option<Time>,
}

impl From<OperationView> for Operation {
    fn from(view: OperationView) -> Self {
        let (extend_ttl_seconds, reason) = match view.work {
            Some(Work::Replay { extend_ttl_seconds }) => (extend_ttl_seconds, None),
            Some(Work::Discard { reason }) => (None, Some(reason)),
            Some(Work::Erase { .. }) | None => (None, None),
        };
        Self {
            operation_id: view.id.0,
            kind: view.kind,
            state: OperationState::as_str(view.state),
            total: view.total,
            done: view.done,
            failed: view.failed,
            failures: view.failures,
            waiting: view.waiting,
            filter: view.filter.into(),
            per_second: view.per_second,
            extend_ttl_seconds,
            reason,
            created_by: view.by,
            created_at: Time(view.created_at),
            finished_at: view.finished_at.map(Time),
        }
    }
}

/// One operation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OperationAnswer)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    #[serde(flatten)]
    operation: Operation,
}

impl Answer {
    pub(super) fn new(message: &'static str, view: OperationView) -> Self {
        Self {
            success: true,
            message,
            operation: view.into(),
        }
    }
}
