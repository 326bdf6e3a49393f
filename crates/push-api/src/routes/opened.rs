//! `POST /api/Push/opened`

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::Invalid;
use push_core::time;
use push_store::{Opened, Owner};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::Time;
use crate::caller::{Caller, Register};
use crate::error::{ApiError, BodyErrors, CallErrors, NotificationErrors};
use crate::observe::Seen;
use crate::request::{Field, JsonBody, Problems};
use crate::state::{AppState, now};

/// How far a phone's clock may be ahead of ours.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);

/// Which notification was opened, and when.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenedRequest)]
pub struct Request {
    /// `data.notificationId` of the message.
    #[serde(default)]
    #[schema(value_type = Uuid, required, example = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11")]
    notification_id: Field<String>,
    /// When, by the phone's clock; default: now.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>, example = "2026-01-02T03:04:05.678Z")]
    opened_at: Field<String>,
    /// Who is signed in: a notification of somebody else's is unknown then. With a customer's token it is so in any case.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, example = 123)]
    customer_id: Field<i64>,
}

/// It is noted, now or before.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenedAnswer)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// The notification.
    notification_id: Uuid,
    /// When it was opened first.
    #[schema(value_type = DateTime<Utc>)]
    opened_at: Time,
    /// Whether this was the first time: only that counts.
    first: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    id: NotificationId,
    of: Option<CustomerId>,
    at: DateTime<Utc>,
}

impl Request {
    fn parse(self, now: DateTime<Utc>) -> Result<Told, ApiError> {
        let mut problems = Problems::default();
        let id = problems.required("notificationId", self.notification_id, |text| {
            text.parse::<Uuid>().map_err(|_| "must be a UUID")
        });
        let at = problems.optional("openedAt", self.opened_at, |text| {
            let at = time::parse(&text)?;
            if at <= now + AHEAD_MAX {
                Ok(at)
            } else {
                Err(Invalid("must not lie in the future".to_owned()))
            }
        });
        let of = problems.optional("customerId", self.customer_id, CustomerId::try_from);
        problems.finish(id.map(|id| Told {
            id: id.into(),
            of,
            at: at.unwrap_or(now),
        }))
    }
}

/// A customer opened a notification.
///
/// The first time counts; to tell it again changes nothing and is answered alike. It counts whatever the notification's
/// status is: who opened it has it.
#[utoipa::path(
    post,
    path = "/api/Push/opened",
    operation_id = "reportOpened",
    tag = "devices",
    request_body = Request,
    responses(
        (status = 200, description = "Noted", body = Answer,
         example = json!({"success": true, "message": "Notification opened", "first": true,
            "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "openedAt": "2026-01-02T03:04:05.678Z"})),
        BodyErrors, CallErrors, NotificationErrors,
    ),
)]
pub async fn opened(
    caller: Caller<Register>,
    State(state): State<AppState>,
    Extension(seen): Extension<Seen>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Answer>, ApiError> {
    let now = now();
    let told = request.parse(now)?;
    let owner = match told.of {
        Some(customer) => Owner::Only(caller.own(customer)?),
        None => caller.owner(),
    };
    seen.notification(told.id);
    let opened = state
        .ask(|store| async move { store.opened(told.id, owner, told.at, now).await })
        .await?;
    let (message, opened_at, first) = match opened {
        Opened::First(at) => ("Notification opened", at, true),
        Opened::Before(at) => ("Notification was opened before", at, false),
        Opened::Unknown => return Err(ApiError::UnknownNotification),
    };
    Ok(Json(Answer {
        success: true,
        message,
        notification_id: told.id.as_uuid(),
        opened_at: Time(opened_at),
        first,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn parse(body: Value) -> Result<Told, ApiError> {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        serde_json::from_value::<Request>(body).unwrap().parse(now)
    }

    #[test]
    fn a_time_is_now_or_was() {
        let id = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";
        let told = parse(json!({"notificationId": id})).unwrap();
        assert_eq!(
            (told.at.to_rfc3339(), told.of),
            ("2026-01-02T03:04:05+00:00".to_owned(), None)
        );
        let at =
            |text: &str| parse(json!({"notificationId": id, "openedAt": text, "customerId": 7}));
        assert_eq!(
            at("2026-01-02T05:05:05+02:00").unwrap().of.unwrap().get(),
            7
        );
        assert_eq!(problems_of(at("2026-01-02T03:05:05.001Z")).len(), 1);
        let told = problems_of(parse(json!({"openedAt": 5, "customerId": 0})));
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
