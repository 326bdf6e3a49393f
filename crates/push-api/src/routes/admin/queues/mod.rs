//! `GET /api/Push/admin/queues`: how full the queues are, and how the providers' lanes stand.

mod lane;
mod queue;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use push_queue::BrokerState;
use push_store::{Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors};
use crate::routes::closed::closed;
use crate::state::{AppState, now};
use lane::ProviderLane;
use queue::QueueView;

/// The endpoint.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(closed!(queues))
}

/// What waits where, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queues)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// How this process is connected to the broker.
    broker: Connection,
    /// The queues: the fixed ones, then those that the running workers let things wait in.
    queues: Vec<QueueView>,
    /// The lanes of the providers.
    providers: Vec<ProviderLane>,
}

/// How the broker can be reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BrokerConnection)]
struct Connection {
    /// How the connection stands.
    state: ConnectionState,
    /// What is wrong with it.
    reason: Option<String>,
    /// How long the oldest notification has been waiting that the broker has not taken: it was away, or blocked. Workers
    /// publish it when they can. `null`: there is none.
    unpublished_age_seconds: Option<u64>,
}

/// How a connection stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BrokerConnectionState)]
enum ConnectionState {
    /// It works.
    Connected,
    /// The broker has an alarm: it delivers, and takes nothing.
    Blocked,
    /// There is none. Notifications are accepted all the same.
    Disconnected,
}

impl Connection {
    fn new(state: BrokerState, unpublished_age_seconds: Option<u64>) -> Self {
        let (state, reason) = match state {
            BrokerState::Connected => (ConnectionState::Connected, None),
            BrokerState::Blocked { reason } => (ConnectionState::Blocked, Some(reason)),
            BrokerState::Disconnected { reason } => (ConnectionState::Disconnected, Some(reason)),
        };
        Self {
            state,
            reason,
            unpublished_age_seconds,
        }
    }
}

/// What waits where, and why: the queues and the providers' lanes at one glance.
///
/// Without the broker it answers as well: then `depth` and `consumers` are `null`, and ages are what the database knows.
/// Workers tell of themselves every three seconds, and at once when a lane's state changes.
#[utoipa::path(
    get,
    path = "/api/Push/admin/queues",
    operation_id = "getQueues",
    tag = "admin",
    responses(
        (status = 200, description = "Queues and lanes", body = Answer,
         example = json!({"success": true, "message": "Queues and lanes found",
            "broker": {"state": "connected", "reason": null, "unpublishedAgeSeconds": null},
            "queues": [
                {"name": "push.dead", "depth": 0, "consumers": 2, "ageSeconds": null, "problem": null},
                {"name": "push.jobs", "depth": 120, "consumers": 2, "ageSeconds": 4, "problem": null},
                {"name": "push.receipts", "depth": 0, "consumers": 2, "ageSeconds": null, "problem": null},
                {"name": "push.retry.10s", "depth": 37, "consumers": 0, "ageSeconds": null, "problem": null},
                {"name": "push.receipts.15m", "depth": 5, "consumers": 0, "ageSeconds": null, "problem": null}],
            "providers": [
                {"provider": "fcm", "state": "broken", "paused": false, "pausedBy": null, "pausedAt": null, "workers": [
                    {"worker": "0b0e7a3c-5a0e-4c63-9d7b-2a1f6e8c9d10", "state": "broken", "inFlight": 1, "limit": 3,
                     "reportAgeSeconds": 1},
                    {"worker": "f2c4d6e8-1b3d-4f5a-8c7e-9a0b1c2d3e4f", "state": "open", "inFlight": 42, "limit": 100,
                     "reportAgeSeconds": 2}]},
                {"provider": "expo", "state": "paused", "paused": true, "pausedBy": "desk",
                 "pausedAt": "2026-01-02T03:04:05.678Z", "workers": []}]})),
        CallErrors,
    ),
)]
pub async fn queues(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
) -> Result<Json<Answer>, ApiError> {
    let (now, grace) = (now(), state.reconcile_after);
    let ask = |store: Store| async move {
        let waiting = store.waiting(now, grace).await?;
        let workers = store.workers().await?;
        Ok((waiting, workers, store.switches().await?))
    };
    let (waiting, workers, switches) = state.ask_of_many(ask).await?;
    let queues = queue::look(&state.broker, &workers, &waiting, now).await;
    let unpublished = waiting.unpublished.map(|since| seconds_since(since, now));
    Ok(Json(Answer {
        success: true,
        message: "Queues and lanes found",
        broker: Connection::new(state.broker.state(), unpublished),
        queues,
        providers: lane::all(switches, &workers),
    }))
}

/// Has the gauges tell what the queues hold.
///
/// # Errors
/// What the database says. The gauges of a broker that does not tell are not numbers then.
pub async fn measure(state: &AppState) -> Result<(), StoreError> {
    let now = now();
    let waiting = state.database.waiting(now, state.reconcile_after).await?;
    let workers = state.database.workers().await?;
    for queue in queue::look(&state.broker, &workers, &waiting, now).await {
        queue.measure();
    }
    Ok(())
}

/// Clocks differ: not before now.
fn seconds_since(since: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    u64::try_from((now - since).num_seconds()).unwrap_or_default()
}
