//! `POST /api/Push/test`

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::{
    Body, Content, Data, Invalid, Notification, NotificationType, Priority, Title, Ttl,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::send_to_customer::{Asked, send};
use crate::answer::{SendAnswer, Wording};
use crate::caller::{Caller, Send};
use crate::error::{ApiError, BodyErrors, CallErrors, CustomerErrors, KeyErrors};
use crate::idempotency::Nameable;
use crate::observe::Seen;
use crate::prefer::Wait;
use crate::request::{Field, Problems, at_once};
use crate::state::{AppState, now};
use push_core::trace::TraceContext;

/// The guide says so of a test that is on its way, too.
const WORDING: Wording = Wording {
    what: "Test notification",
    queued: "Test notification sent",
    sent: "Test notification sent",
};

/// Whom to send the test to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TestRequest)]
pub struct Request {
    /// The customer.
    #[serde(default)]
    #[schema(value_type = i64, required, minimum = 1, example = 123)]
    customer_id: Field<i64>,
    #[serde(default)]
    #[schema(ignore)]
    send_at: Field<String>,
}

impl Request {
    fn parse(self, now: DateTime<Utc>) -> Result<Notification, ApiError> {
        let mut problems = Problems::default();
        let customer = problems.required("customerId", self.customer_id, CustomerId::try_from);
        at_once(&mut problems, self.send_at);
        let customer = problems.finish(customer)?;
        test_notification(customer, now)
            .map_err(|Invalid(what)| ApiError::Internal(format!("the test notification {what}")))
    }
}

/// The guide's test notification.
fn test_notification(customer: CustomerId, now: DateTime<Utc>) -> Result<Notification, Invalid> {
    let timestamp = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    let data = [
        ("type", "test"),
        ("timestamp", &timestamp),
        ("test", "true"),
    ];
    let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(Notification {
        id: NotificationId::generate(),
        customer,
        kind: NotificationType::parse("test")?,
        content: Content {
            title: Title::parse("Test Push Notification")?,
            body: Body::parse("This is a test notification to verify the system is working.")?,
            data: Data::from_iter(data),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at: now,
        send_at: None,
        expires_at: now + Ttl::DEFAULT.as_duration(),
    })
}

/// Sends a test notification to all devices of a customer.
///
/// `Prefer: wait=N` and `Idempotency-Key` work as with `sendToCustomer`.
#[utoipa::path(
    post,
    path = "/api/Push/test",
    operation_id = "sendTest",
    tag = "sending",
    request_body = Request,
    params(("Prefer" = Option<String>, Header, example = "wait=10",
            description = "`wait=N`: wait up to N seconds (30 at most) for the outcome"),
           ("Idempotency-Key" = Option<String>, Header, example = "8e03978e-40d5-43dd-bc93-6894a57f9324",
            description = "Your own name for this request, 1 to 255 printable ASCII characters: within 24 hours it is carried \
                           out once, however often it comes")),
    responses(
        (status = 200, description = "The outcome, asked for with `Prefer: wait=N`", body = SendAnswer,
         headers(("Preference-Applied" = String, description = "`wait=N` as it was granted"),
                 ("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         example = json!({"success": true, "message": "Test notification sent",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "sent", "fcmResult": "success", "expoResult": "success"})),
        (status = 202, description = "Accepted: committed, and on its way", body = SendAnswer,
         headers(("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         example = json!({"success": true, "message": "Test notification sent",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "pending", "fcmResult": "queued", "expoResult": "queued"})),
        BodyErrors, CallErrors, CustomerErrors, KeyErrors,
    ),
)]
pub async fn test(
    caller: Caller<Send>,
    State(state): State<AppState>,
    Extension(trace): Extension<TraceContext>,
    Extension(seen): Extension<Seen>,
    wait: Wait,
    Nameable { body, name }: Nameable<Request>,
) -> Result<Response, ApiError> {
    let notification = body.parse(now())?;
    let key = name.map(|name| name.of(caller.name()));
    let asked = Asked {
        notification,
        key,
        origin: format!("from {} as a test", caller.name()),
    };
    send(&state, asked, wait, trace, &seen, WORDING).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_test_is_the_guides() {
        let body = json!({"customerId": 123});
        let request: Request = serde_json::from_value(body).unwrap();
        let notification = request.parse(DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            notification.content.title.as_str(),
            "Test Push Notification"
        );
        assert_eq!(
            notification.content.body.as_str(),
            "This is a test notification to verify the system is working."
        );
        let data: Vec<_> = notification.content.data.iter().collect();
        let expected = [
            ("test", "true"),
            ("timestamp", "1970-01-01T00:00:00.000Z"),
            ("type", "test"),
        ];
        assert_eq!(data, expected);
        assert_eq!(notification.kind.as_str(), "test");
        let wrong: Request = serde_json::from_value(json!({"customerId": "123"})).unwrap();
        assert!(matches!(
            wrong.parse(DateTime::UNIX_EPOCH),
            Err(ApiError::InvalidInput(_))
        ));
    }
}
