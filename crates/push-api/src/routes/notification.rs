//! `GET /api/Push/notifications/{notificationId}`

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use push_core::id::NotificationId;
use push_core::provider::{Platform, Provider};
use push_core::settle::DeliveryOutcome;
use push_store::{DeliveryView, NotificationView, TimelineView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::Item;
use crate::answer::Time;
use crate::caller::{Caller, Read};
use crate::error::{ApiError, CallErrors, NotificationErrors};
use crate::observe::Seen;
use crate::schemas;
use crate::state::AppState;

/// Everything that is known of a notification.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Notification)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    #[serde(flatten)]
    notification: Item,
    /// The last word on each device at each provider.
    deliveries: Vec<Delivery>,
    /// Every decision in plain words, oldest first.
    timeline: Vec<Decision>,
}

/// The last word on one device at one provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    /// The app's own name for the device.
    device_id: Option<String>,
    /// What it runs.
    #[schema(schema_with = schemas::platform_or_null)]
    platform: Option<Platform>,
    /// Who was asked.
    #[schema(schema_with = schemas::provider)]
    provider: Provider,
    /// The token's tail.
    #[schema(example = "ExponentPushToken[…wxyz]")]
    token: Option<String>,
    /// What came of it.
    #[schema(schema_with = schemas::delivery_outcome)]
    outcome: DeliveryOutcome,
    /// The provider's id of the message, when it accepted.
    provider_id: Option<String>,
    /// Tries spent.
    attempts: u32,
    /// Whether some try ended without a clear answer.
    maybe_delivered: bool,
    /// Why it was not accepted.
    error: Option<Failure>,
    /// What Expo's receipt said: `ok`, or Expo's error code; `no_receipt` where none came within 23 hours.
    #[schema(example = "ok")]
    receipt: Option<String>,
    /// When.
    #[schema(value_type = DateTime<Utc>)]
    at: Time,
}

/// Why a device was not reached.
#[derive(Debug, Serialize, ToSchema)]
struct Failure {
    /// The provider's code where it gave one, else ours.
    #[schema(example = "UNREGISTERED")]
    code: String,
    /// What it means, and what to do.
    text: String,
}

/// A decision about the notification.
#[derive(Debug, Serialize, ToSchema)]
struct Decision {
    /// When it was made.
    #[schema(value_type = DateTime<Utc>)]
    at: Time,
    /// What kind it is. While programs are being replaced, also a kind that only the newer ones know.
    #[schema(schema_with = schemas::step)]
    step: String,
    /// What was decided, and why.
    text: String,
}

impl From<NotificationView> for Answer {
    fn from(mut view: NotificationView) -> Self {
        let deliveries = std::mem::take(&mut view.deliveries);
        let timeline = std::mem::take(&mut view.timeline);
        Self {
            success: true,
            message: "Notification found",
            notification: view.into(),
            deliveries: deliveries.into_iter().map(Delivery::from).collect(),
            timeline: timeline.into_iter().map(Decision::from).collect(),
        }
    }
}

impl From<DeliveryView> for Delivery {
    fn from(view: DeliveryView) -> Self {
        Self {
            device_id: view.device_id.map(Into::into),
            platform: view.platform,
            provider: view.provider,
            token: view.token.map(|token| token.as_str().to_owned()),
            outcome: view.outcome,
            provider_id: view.provider_id,
            attempts: view.attempts,
            maybe_delivered: view.maybe_delivered,
            error: view.error.map(|cause| Failure {
                code: cause.code,
                text: cause.text,
            }),
            receipt: view.receipt,
            at: Time(view.at),
        }
    }
}

impl From<TimelineView> for Decision {
    fn from(entry: TimelineView) -> Self {
        Self {
            at: Time(entry.at),
            step: entry.step,
            text: entry.text,
        }
    }
}

/// What became of a notification, and why.
///
/// The timeline tells every decision in plain words, from its acceptance to the providers' answers:
/// one call answers "why did customer 123 not get it?".
#[utoipa::path(
    get,
    path = "/api/Push/notifications/{notificationId}",
    operation_id = "getNotification",
    tag = "history",
    params(("notificationId" = Uuid, Path, description = "As the send endpoints answered it",
            example = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11")),
    responses(
        (status = 200, description = "The notification", body = Answer,
         example = json!({"success": true, "message": "Notification found",
                          "notificationId": "01a22506-a3a7-738b-81dd-f25ad87ff4a2", "customerId": 123, "type": "technician_assigned",
                          "title": "Technician Assigned! 🚗", "body": "John has been assigned to your booking BID123. They will contact you soon.",
                          "data": {"type": "technician_assigned", "bookingId": "456"}, "imageUrl": null, "status": "sent", "reason": null,
                          "fcmResult": "success", "expoResult": "not_sent", "attempts": 1, "priority": "high", "collapseKey": null,
                          "createdAt": "2030-01-01T00:00:00.000Z", "sendAt": null, "expiresAt": "2030-01-01T01:00:00.000Z",
                          "completedAt": "2030-01-01T00:00:00.017Z", "openedAt": null,
                          "deliveries": [{"deviceId": "pixel-8", "platform": "android", "provider": "fcm", "token": "…aaaa",
                                          "outcome": "accepted", "providerId": "projects/p/messages/0:1", "attempts": 1,
                                          "maybeDelivered": false, "error": null, "receipt": null,
                                          "at": "2030-01-01T00:00:00.016Z"}],
                          "timeline": [{"at": "2030-01-01T00:00:00.000Z", "step": "accepted",
                                        "text": "accepted from shop for customer 123, to be sent before 2030-01-01T01:00:00.000Z"},
                                       {"at": "2030-01-01T00:00:00.016Z", "step": "attempt",
                                        "text": "fcm …aaaa: accepted as projects/p/messages/0:1"},
                                       {"at": "2030-01-01T00:00:00.017Z", "step": "settled", "text": "sent"}]})),
        CallErrors, NotificationErrors,
    ),
)]
pub async fn notification(
    _caller: Caller<Read>,
    State(state): State<AppState>,
    Extension(seen): Extension<Seen>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    // What is no UUID names no notification.
    let Path(id) = id.map_err(|_| ApiError::UnknownNotification)?;
    let id = NotificationId::from(id);
    seen.notification(id);
    let view = state
        .ask(|store| async move { store.notification(id).await })
        .await?;
    Ok(Json(view.ok_or(ApiError::UnknownNotification)?.into()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use push_core::id::{CustomerId, DeviceId, RegistrationId};
    use push_core::notification::{Data, NotificationType, Priority};
    use push_core::outcome::Cause;
    use push_core::status::{ProviderResult, Reason, Status};
    use push_core::token::MaskedToken;
    use push_store::{State as Standing, StoredContent};
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_times_are_the_contracts() {
        let at = DateTime::from_timestamp_millis(1_700_000_000_120).unwrap();
        let view = NotificationView {
            id: NotificationId::from(Uuid::nil()),
            customer: CustomerId::try_from(123).unwrap(),
            kind: NotificationType::parse("reached").unwrap(),
            content: StoredContent {
                title: "t".to_owned(),
                body: "b".to_owned(),
                data: Data::from_iter([("bookingId".to_owned(), "4".to_owned())]),
                image_url: None,
            },
            priority: Priority::High,
            collapse_key: None,
            state: Standing {
                status: Status::Failed,
                fcm: ProviderResult::Failed,
                expo: ProviderResult::NotSent,
                reason: Some(Reason::InvalidTokens),
                attempts: 1,
            },
            created_at: at,
            send_at: Some(at),
            expires_at: Some(at),
            completed_at: Some(at),
            opened_at: None,
            deliveries: vec![DeliveryView {
                registration: RegistrationId(1),
                device_id: Some(DeviceId::parse("d-1").unwrap()),
                platform: Some(Platform::Android),
                provider: Provider::Fcm,
                token: Some(MaskedToken::from_stored("…wxyz".to_owned())),
                outcome: DeliveryOutcome::TokenDead,
                provider_id: None,
                attempts: 1,
                maybe_delivered: false,
                error: Some(Cause::new("UNREGISTERED", "the token is dead")),
                receipt: None,
                at,
            }],
            timeline: vec![TimelineView {
                at,
                step: "accepted".to_owned(),
                text: "accepted".to_owned(),
            }],
        };
        let time = "2023-11-14T22:13:20.120Z";
        assert_eq!(
            serde_json::to_value(Answer::from(view)).unwrap(),
            json!({
                "success": true, "message": "Notification found", "notificationId": Uuid::nil(), "customerId": 123,
                "type": "reached", "title": "t", "body": "b", "data": {"bookingId": "4"}, "imageUrl": null,
                "status": "failed", "reason": "invalid_tokens", "fcmResult": "failed", "expoResult": "not_sent",
                "attempts": 1, "priority": "high", "collapseKey": null, "createdAt": time, "sendAt": time, "expiresAt": time,
                "completedAt": time, "openedAt": null,
                "deliveries": [{
                    "deviceId": "d-1", "platform": "android", "provider": "fcm", "token": "…wxyz",
                    "outcome": "token_dead", "providerId": null, "attempts": 1, "maybeDelivered": false,
                    "error": {"code": "UNREGISTERED", "text": "the token is dead"}, "receipt": null, "at": time,
                }],
                "timeline": [{"at": time, "step": "accepted", "text": "accepted"}],
            })
        );
    }
}
