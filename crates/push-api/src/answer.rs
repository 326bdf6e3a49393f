//! What callers get when a request was carried out.

use std::fmt;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use push_core::id::NotificationId;
use push_core::notification::Notification;
use push_core::status::{ProviderResult, Reason, Status};
use push_store::{KeptAnswer, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::idempotency::REPLAYED;
use crate::outcomes::Waited;
use crate::prefer::Wait;
use crate::schemas;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Done, and nothing else to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
}

impl Done {
    /// Done so.
    #[must_use]
    pub const fn new(message: &'static str) -> Self {
        Self {
            success: true,
            message,
        }
    }
}

/// A notification was accepted, and perhaps settled already. `success` says that the request was
/// carried out; `status` says what became of the notification.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendAnswer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: String,
    /// The notification's id, for `GET /api/Push/notifications/{notificationId}`.
    #[schema(value_type = uuid::Uuid)]
    notification_id: NotificationId,
    /// Where it stands.
    #[schema(schema_with = schemas::status)]
    status: Status,
    /// When it is sent, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DateTime<Utc>, required = false)]
    send_at: Option<Time>,
    /// Why it failed or was suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::reason, required = false)]
    reason: Option<Reason>,
    /// Over all devices at FCM.
    #[schema(schema_with = schemas::provider_result)]
    fcm_result: ProviderResult,
    /// Over all devices at Expo.
    #[schema(schema_with = schemas::provider_result)]
    expo_result: ProviderResult,
}

/// A time as all answers spell it: RFC 3339, UTC, milliseconds.
#[derive(Debug)]
pub struct Time(pub DateTime<Utc>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The words of an endpoint for a notification.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// What it is called.
    pub what: &'static str,
    /// It is pending.
    pub queued: &'static str,
    /// It was sent.
    pub sent: &'static str,
}

impl SendAnswer {
    /// The answer after a wait, or without one.
    #[must_use]
    pub fn new(about: About, ended: Option<State>, wording: Wording) -> Self {
        let state = ended.unwrap_or(State {
            status: Status::Pending,
            fcm: ProviderResult::Queued,
            expo: ProviderResult::Queued,
            reason: None,
            attempts: 0,
        });
        let Wording { what, queued, sent } = wording;
        let why = state.reason.map_or("for an unknown reason", in_words);
        let message = match state.status {
            Status::Pending if about.send_at.is_some() => format!("{what} scheduled"),
            Status::Pending => queued.to_owned(),
            Status::Sent => sent.to_owned(),
            Status::Failed => format!("{what} failed: {why}"),
            Status::Suppressed => format!("{what} not sent: {why}"),
        };
        Self {
            success: true,
            message,
            notification_id: about.notification_id,
            status: state.status,
            send_at: about.send_at.map(Time),
            reason: state.reason,
            fcm_result: state.fcm,
            expo_result: state.expo,
        }
    }
}

/// Of notifications that are taken back, whatever endpoint they came from.
const CANCELLED: Wording = Wording {
    what: "Notification",
    queued: "Notification queued",
    sent: "Notification cancelled for the devices that had not got it; others had accepted it before",
};

impl SendAnswer {
    /// The answer to whoever took it back.
    #[must_use]
    pub fn cancelled(id: NotificationId, ended: State) -> Self {
        let about = About {
            notification_id: id,
            send_at: None,
        };
        let mut answer = Self::new(about, Some(ended), CANCELLED);
        if ended.reason == Some(Reason::Cancelled) {
            "Notification cancelled".clone_into(&mut answer.message);
        }
        answer
    }
}

/// The whole answer to a request that sends: 200 once the outcome is known, else 202. `first`: it came
/// before, and this is what it was answered at its acceptance.
#[must_use]
pub fn sent(
    about: About,
    wait: Wait,
    waited: Waited,
    wording: Wording,
    first: Option<KeptAnswer>,
) -> Response {
    let replayed = first.is_some();
    let mut response = match (waited, first) {
        (Waited::Ended(state), _) => {
            Json(SendAnswer::new(about, Some(state), wording)).into_response()
        }
        (Waited::StillPending | Waited::NotGranted, Some(first)) => again(first),
        (Waited::StillPending | Waited::NotGranted, None) => (
            StatusCode::ACCEPTED,
            Json(SendAnswer::new(about, None, wording)),
        )
            .into_response(),
    };
    let headers = response.headers_mut();
    if let (Some(applied), true) = (wait.applied(), waited != Waited::NotGranted) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a request that came before: as it was given then.
#[must_use]
pub fn replayed(first: KeptAnswer) -> Response {
    let mut response = again(first);
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// An answer as it was given before.
fn again(KeptAnswer { status, body }: KeptAnswer) -> Response {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let json = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    (status.unwrap_or(StatusCode::ACCEPTED), [json], body).into_response()
}

/// What an answer at acceptance is about.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The notification.
    pub notification_id: NotificationId,
    /// When it is sent, if that was asked for.
    #[serde(default)]
    pub send_at: Option<DateTime<Utc>>,
}

impl From<&Notification> for About {
    fn from(notification: &Notification) -> Self {
        Self {
            notification_id: notification.id,
            send_at: notification.send_at,
        }
    }
}

/// Why a notification failed or was suppressed.
#[must_use]
pub const fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::NoActiveDevice => "the customer has no active device",
        Reason::OptedOut => "the customer does not want it",
        Reason::QuietHours => "it would expire before the customer's quiet hours end",
        Reason::Expired => "its time was over before it could be sent",
        Reason::Superseded => "a newer one overtook it",
        Reason::Cancelled => "it was cancelled",
        Reason::Erased => "the customer was erased",
        Reason::InvalidTokens => "every token of the customer turned out to be dead",
        Reason::Refused => "the provider refuses this message",
        Reason::DeadLettered => "given up, and kept as a dead letter",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const WORDING: Wording = Wording {
        what: "Push notification",
        queued: "Push notification queued",
        sent: "Push notification sent successfully",
    };

    fn answer(ended: Option<State>) -> Value {
        told(None, ended)
    }

    fn told(send_at: Option<DateTime<Utc>>, ended: Option<State>) -> Value {
        let notification_id = NotificationId::from(Uuid::nil());
        let about = About {
            notification_id,
            send_at,
        };
        serde_json::to_value(SendAnswer::new(about, ended, WORDING)).unwrap()
    }

    #[test]
    fn the_answers_are_the_guides() {
        let id = Uuid::nil();
        assert_eq!(
            answer(None),
            json!({
                "success": true, "message": "Push notification queued", "notificationId": id,
                "status": "pending", "fcmResult": "queued", "expoResult": "queued",
            })
        );
        assert_eq!(
            told(Some(DateTime::UNIX_EPOCH), None),
            json!({
                "success": true, "message": "Push notification scheduled", "notificationId": id,
                "status": "pending", "sendAt": "1970-01-01T00:00:00.000Z", "fcmResult": "queued", "expoResult": "queued",
            })
        );
        let state = State {
            status: Status::Sent,
            fcm: ProviderResult::Success,
            expo: ProviderResult::NotSent,
            reason: None,
            attempts: 1,
        };
        assert_eq!(
            answer(Some(state)),
            json!({
                "success": true, "message": "Push notification sent successfully", "notificationId": id,
                "status": "sent", "fcmResult": "success", "expoResult": "not_sent",
            })
        );
        let none = State {
            status: Status::Suppressed,
            fcm: ProviderResult::NotSent,
            reason: Some(Reason::NoActiveDevice),
            attempts: 0,
            ..state
        };
        assert_eq!(
            answer(Some(none)),
            json!({
                "success": true,
                "message": "Push notification not sent: the customer has no active device",
                "notificationId": id, "status": "suppressed", "reason": "no_active_device",
                "fcmResult": "not_sent", "expoResult": "not_sent",
            })
        );
    }
}
