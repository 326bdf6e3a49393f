//! `GET /api/Push/admin/deadLetters/{id}`

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use push_core::job::TrailEntry;
use push_core::provider::Provider;
use push_core::settle::DeliveryOutcome;
use push_core::status::{ProviderResult, Reason, Status};
use push_store::{KeptBytes, LetterDetails, Refusal, State as Standing, Store, TargetNow};
use serde::Serialize;
use utoipa::ToSchema;

use super::letter;
use super::list::{DeadLetter, Failure};
use crate::answer::Time;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, DeadLetterErrors};
use crate::schemas;
use crate::state::AppState;

/// A dead letter with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetterDetails)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    #[serde(flatten)]
    letter: DeadLetter,
    /// Every failure that led to it, oldest first.
    trail: Vec<Entry>,
    /// What was no job, as far as it is kept; `error` says what is wrong with it.
    bytes: Option<Bytes>,
    /// Where the notification stands now; `null` when there is none.
    notification: Option<Now>,
    /// The last word on the device that the dead letter is about.
    target: Option<Target>,
    /// The dead letter that it became when it was replayed and given up again.
    newer_dead_letter_id: Option<u64>,
}

/// A failure on the way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrailEntry)]
struct Entry {
    /// When the answer came, or did not.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    at: Time,
    /// Who was asked.
    #[schema(schema_with = schemas::provider)]
    provider: Provider,
    /// The provider's code where it gave one, else ours.
    code: String,
    /// What it means, and what to do.
    text: String,
}

/// Bytes that were no job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterBytes)]
struct Bytes {
    /// The first of them.
    base64: String,
    /// How many there were.
    length: u32,
    /// Whether all of them are kept, so that they can be replayed.
    complete: bool,
}

/// Where a notification stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NotificationNow)]
struct Now {
    /// Where it stands.
    #[schema(schema_with = schemas::status)]
    status: Status,
    /// Why it failed or was suppressed.
    #[schema(schema_with = schemas::reason)]
    reason: Option<Reason>,
    /// Over all devices at FCM.
    #[schema(schema_with = schemas::provider_result)]
    fcm_result: ProviderResult,
    /// Over all devices at Expo.
    #[schema(schema_with = schemas::provider_result)]
    expo_result: ProviderResult,
}

/// What became of a device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TargetNow)]
struct Target {
    /// What came of it.
    #[schema(schema_with = schemas::delivery_outcome)]
    outcome: DeliveryOutcome,
    /// The provider's id of the message, when it accepted.
    provider_id: Option<String>,
    /// Most tries spent.
    attempts: u32,
    /// Whether some try ended without a clear answer.
    maybe_delivered: bool,
    /// Why it was not accepted.
    error: Option<Failure>,
    /// When.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    at: Time,
}

impl From<LetterDetails> for Answer {
    fn from(details: LetterDetails) -> Self {
        Self {
            success: true,
            message: "Dead letter found",
            letter: details.letter.into(),
            trail: details.trail.into_iter().map(Entry::from).collect(),
            bytes: details.bytes.map(Bytes::from),
            notification: details.notification.map(Now::from),
            target: details.target.map(Target::from),
            newer_dead_letter_id: details.newer.map(|newer| newer.0),
        }
    }
}

impl From<TrailEntry> for Entry {
    fn from(entry: TrailEntry) -> Self {
        Self {
            at: Time(entry.at),
            provider: entry.provider,
            code: entry.cause.code,
            text: entry.cause.text,
        }
    }
}

impl From<KeptBytes> for Bytes {
    fn from(kept: KeptBytes) -> Self {
        Self {
            complete: kept.complete(),
            length: kept.length,
            base64: kept.base64,
        }
    }
}

impl From<Standing> for Now {
    fn from(state: Standing) -> Self {
        Self {
            status: state.status,
            reason: state.reason,
            fcm_result: state.fcm,
            expo_result: state.expo,
        }
    }
}

impl From<TargetNow> for Target {
    fn from(now: TargetNow) -> Self {
        Self {
            outcome: now.outcome,
            provider_id: now.provider_id,
            attempts: now.attempts,
            maybe_delivered: now.maybe_delivered,
            error: now.error.map(Failure::from),
            at: Time(now.at),
        }
    }
}

/// One dead letter: every failure that led to it, who did what with it, and what came of it.
///
/// The token is masked. What was no job has no notification, and its bytes instead, as far as they are kept.
#[utoipa::path(
    get,
    path = "/api/Push/admin/deadLetters/{id}",
    operation_id = "getDeadLetter",
    tag = "admin",
    params(("id" = u64, Path, description = "The dead letter", example = 17)),
    responses(
        (status = 200, description = "The dead letter", body = Answer,
         example = json!({"success": true, "message": "Dead letter found",
                          "id": 17, "notificationId": "01a22506-a3a7-738b-81dd-f25ad87ff4a2", "customerId": 123, "provider": "fcm", "platform": "android",
                          "token": "…aaaa", "reason": "operator_must_act",
                          "error": {"code": "SENDER_ID_MISMATCH", "text": "The token belongs to another Firebase project, or the service account does."},
                          "attempts": 1, "createdAt": "2030-01-01T00:00:00.000Z", "state": "open", "replayedAt": null, "replayedBy": null,
                          "discardedAt": null, "discardedBy": null, "discardReason": null,
                          "trail": [{"at": "2030-01-01T00:00:00.000Z", "provider": "fcm", "code": "SENDER_ID_MISMATCH",
                                     "text": "The token belongs to another Firebase project, or the service account does."}],
                          "bytes": null, "notification": {"status": "failed", "reason": "dead_lettered", "fcmResult": "failed",
                                                          "expoResult": "not_sent"}, "target": null, "newerDeadLetterId": null})),
        CallErrors, DeadLetterErrors,
    ),
)]
pub async fn detail(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let id = letter(id)?;
    let details = state
        .ask(|store: Store| async move { store.dead_letter(id).await })
        .await?;
    let details = details.ok_or(ApiError::DeadLetter(Refusal::Unknown))?;
    Ok(Json(details.into()))
}
