//! `POST /api/Push/admin/providers/{provider}/pause` and `/resume`: the operator's lever.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use push_core::provider::Provider;
use push_store::{Store, Switch};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::answer::Time;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, ProviderErrors};
use crate::routes::closed::closed;
use crate::schemas;
use crate::state::AppState;

/// Both directions.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(pause))
        .routes(closed!(resume))
}

/// How the lever stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProviderSwitch)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "Provider paused")]
    message: &'static str,
    /// Whose lane it is.
    #[schema(schema_with = schemas::provider)]
    provider: &'static str,
    /// Whether its jobs wait.
    paused: bool,
    /// The API key of whoever changed it last; `null`: nobody ever did.
    #[schema(example = "desk")]
    changed_by: Option<String>,
    /// When.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    changed_at: Option<Time>,
}

impl Answer {
    fn new(message: &'static str, provider: Provider, switch: Switch) -> Self {
        Self {
            success: true,
            message,
            provider: provider.as_str(),
            paused: switch.paused,
            changed_by: switch.changed_by,
            changed_at: switch.changed_at.map(Time),
        }
    }
}

/// Stops all sending through a provider, on every worker and until it is resumed.
///
/// Workers see it within about a second. What is under way is finished; the rest waits without spending attempts, and
/// goes to no other provider. To pause what is paused changes nothing: who did it first stays named.
#[utoipa::path(
    post,
    path = "/api/Push/admin/providers/{provider}/pause",
    operation_id = "pauseProvider",
    tag = "admin",
    params(("provider" = String, Path, description = "`fcm` or `expo`", example = "fcm")),
    responses(
        (status = 200, description = "It is paused", body = Answer,
         example = json!({"success": true, "message": "Provider paused", "provider": "fcm", "paused": true, "changedBy": "desk",
                          "changedAt": "2030-01-01T00:00:00.000Z"})),
        CallErrors, ProviderErrors,
    ),
)]
pub async fn pause(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    provider: Result<Path<String>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let provider = named(provider)?;
    let switch = switch(&state, provider, true, caller.name()).await?;
    Ok(Json(Answer::new("Provider paused", provider, switch)))
}

/// Has a provider go on.
///
/// What waited flows again within two minutes, the longest wait of a paused job (or the first of `RETRY_DELAYS`, where
/// that is longer).
#[utoipa::path(
    post,
    path = "/api/Push/admin/providers/{provider}/resume",
    operation_id = "resumeProvider",
    tag = "admin",
    params(("provider" = String, Path, description = "`fcm` or `expo`", example = "fcm")),
    responses(
        (status = 200, description = "It goes on", body = Answer,
         example = json!({"success": true, "message": "Provider resumed", "provider": "fcm", "paused": false, "changedBy": "desk",
                          "changedAt": "2030-01-01T00:00:00.000Z"})),
        CallErrors, ProviderErrors,
    ),
)]
pub async fn resume(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    provider: Result<Path<String>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let provider = named(provider)?;
    let switch = switch(&state, provider, false, caller.name()).await?;
    Ok(Json(Answer::new("Provider resumed", provider, switch)))
}

fn named(provider: Result<Path<String>, PathRejection>) -> Result<Provider, ApiError> {
    let Path(name) = provider.map_err(|_| ApiError::UnknownProvider)?;
    Provider::from_spelling(&name.to_ascii_lowercase()).ok_or(ApiError::UnknownProvider)
}

async fn switch(
    state: &AppState,
    provider: Provider,
    paused: bool,
    by: &str,
) -> Result<Switch, ApiError> {
    let by = by.to_owned();
    let switch = |store: Store| async move {
        store.switch(provider, paused, &by).await?;
        store.switches().await
    };
    let mut switches = state.ask(switch).await?;
    Ok(std::mem::take(switches.get_mut(provider)))
}
