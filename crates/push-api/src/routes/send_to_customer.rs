//! `POST /api/Push/sendToCustomer`

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_store::{IdempotencyKey, Item, KeptAnswer, Keyed};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::accept::{Accepted, Submission};
use crate::answer::{About, SendAnswer, Wording, sent};
use crate::caller::{Caller, Send};
use crate::catalogue::Catalogue;
use crate::error::{ApiError, BodyErrors, CallErrors, CustomerErrors, KeyErrors};
use crate::idempotency::Nameable;
use crate::observe::Seen;
use crate::outcomes::Waited;
use crate::prefer::Wait;
use crate::privacy::Guard;
use crate::ready_made::ReadyMade;
use crate::request::{Field, Problems};
use crate::state::{AppState, now};
use push_core::trace::TraceContext;

/// The words of both endpoints that send what somebody asks for.
pub(crate) const WORDING: Wording = Wording {
    what: "Push notification",
    queued: "Push notification queued",
    sent: "Push notification sent successfully",
};

/// A ready-made notification for one customer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendToCustomerRequest)]
pub struct Request {
    /// The customer.
    #[serde(default)]
    #[schema(value_type = i64, required, minimum = 1, example = 123)]
    id: Field<i64>,
    /// What to send.
    #[serde(flatten)]
    content: ReadyMade,
}

impl Request {
    /// The notification that is asked for.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] with every problem.
    pub(crate) fn parse(
        self,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Result<Notification, ApiError> {
        let mut problems = Problems::default();
        let notification = self.read(&mut problems, now, catalogue, guard);
        problems.finish(notification)
    }

    /// The same; `None` means that a problem was noted. All of them are.
    pub(super) fn read(
        self,
        problems: &mut Problems,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Option<Notification> {
        let customer = problems.required("id", self.id, CustomerId::try_from);
        let draft = self.content.read(problems, now, catalogue, guard);
        Some(draft?.to(customer?, now))
    }
}

/// Sends a notification to all devices of a customer.
///
/// 202 means that it is committed: it will end as `sent`, `failed` or `suppressed`, whatever happens.
/// With `Prefer: wait=N` the answer waits for the outcome, up to N seconds, and is then 200.
///
/// With `sendAt` it waits until then, and `DELETE /api/Push/notifications/{notificationId}` takes it back. Who would have
/// to wait for the outcome for longer than N seconds is answered 202 at once.
///
/// With an `Idempotency-Key` a repeated call gets the first answer again, with the same `notificationId`; where the
/// first or the repeated one waits for the outcome, it gets that: of the same notification, and as it is now, whatever
/// has changed it since (an Expo receipt, the replay of a dead letter). Errors are not kept: after them the same key may be
/// used again.
#[utoipa::path(
    post,
    path = "/api/Push/sendToCustomer",
    operation_id = "sendToCustomer",
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
         example = json!({"success": true, "message": "Push notification sent successfully",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "sent", "fcmResult": "success", "expoResult": "not_sent"})),
        (status = 202, description = "Accepted: committed, and on its way", body = SendAnswer,
         headers(("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         examples(
            ("queued" = (value = json!({"success": true, "message": "Push notification queued",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "pending", "fcmResult": "queued", "expoResult": "queued"}))),
            ("scheduled" = (value = json!({"success": true, "message": "Push notification scheduled",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "sendAt": "2030-01-31T08:00:00.000Z",
                          "status": "pending", "fcmResult": "queued", "expoResult": "queued"})))
         )),
        BodyErrors, CallErrors, CustomerErrors, KeyErrors,
    ),
)]
pub async fn send_to_customer(
    caller: Caller<Send>,
    State(state): State<AppState>,
    Extension(trace): Extension<TraceContext>,
    Extension(seen): Extension<Seen>,
    wait: Wait,
    Nameable { body, name }: Nameable<Request>,
) -> Result<Response, ApiError> {
    let key = name.map(|name| name.of(caller.name()));
    let guard = state.guard.towards(caller.name());
    match body.parse(now(), &state.catalogue, guard) {
        Ok(notification) => {
            let asked = Asked {
                notification,
                key,
                origin: format!("from {}", caller.name()),
            };
            send(&state, asked, wait, trace, &seen, WORDING).await
        }
        Err(wrong) => {
            let first = state.answered_before(key, wrong).await?;
            let about = named(&first)?;
            Ok(tell_outcome(&state, about, wait, &seen, WORDING, Some(first)).await)
        }
    }
}

/// A notification that somebody asks for.
pub(super) struct Asked {
    pub(super) notification: Notification,
    pub(super) key: Option<IdempotencyKey>,
    /// Who asks for it, and how.
    pub(super) origin: String,
}

/// Accepts a notification, waits for its outcome if that is wished, and answers; or answers as before.
pub(super) async fn send(
    state: &AppState,
    asked: Asked,
    wait: Wait,
    trace: TraceContext,
    seen: &Seen,
    wording: Wording,
) -> Result<Response, ApiError> {
    let Asked {
        notification,
        key,
        origin,
    } = asked;
    let about = About::from(&notification);
    let keyed = key.map(|key| Keyed {
        key,
        answer: Arc::new(move |items| {
            is_accepted(items).then(|| at_acceptance(about, wait, wording))
        }),
    });
    let submission = Submission {
        notifications: Arc::new([notification]),
        event: None,
        keyed,
        origin,
        trace,
    };
    let (about, first) = match state.accept(submission).await? {
        Accepted::Now(items) if is_accepted(&items) => (about, None),
        Accepted::Now(items) => return Err(state.refused(items.first())),
        Accepted::Before(first) => (named(&first)?, Some(first)),
    };
    Ok(tell_outcome(state, about, wait, seen, wording, first).await)
}

/// Waits for the outcome of what was accepted now or before, if that is wished, and tells where it stands.
pub(super) async fn tell_outcome(
    state: &AppState,
    about: About,
    wait: Wait,
    seen: &Seen,
    wording: Wording,
    first: Option<KeptAnswer>,
) -> Response {
    // From here on it exists: only now may the log name it.
    seen.notification(about.notification_id);
    if first.is_some() {
        state.tell_of_repetition(vec![about.notification_id]);
    }
    // Who was to get the outcome, and asks again without patience, gets it if it is known.
    let outcome_is_due = first.as_ref().is_some_and(|first| first.status.is_none());
    let patience = wait.patience().or(outcome_is_due.then_some(Duration::ZERO));
    let waited = outcome(state, about, patience).await;
    sent(about, wait, waited, wording, first)
}

/// Waits for the outcome, unless it cannot come in time.
async fn outcome(state: &AppState, about: About, patience: Option<Duration>) -> Waited {
    let Some(patience) = patience else {
        return Waited::StillPending;
    };
    let until_sent = about
        .send_at
        .and_then(|send_at| (send_at - now()).to_std().ok());
    if until_sent.is_some_and(|until_sent| until_sent > patience) {
        return Waited::NotGranted;
    }
    state.outcomes.wait(about.notification_id, patience).await
}

fn is_accepted(items: &[Item]) -> bool {
    items.contains(&Item::Accepted)
}

/// What is kept with the key: committed with the notification, so it cannot tell the outcome. Who waits for that
/// gets it from the notification, at the first time and at each further one.
pub(super) fn at_acceptance(about: About, wait: Wait, wording: Wording) -> KeptAnswer {
    let waits = wait.patience().is_some();
    KeptAnswer {
        status: (!waits).then_some(StatusCode::ACCEPTED.as_u16()),
        // Texts, an id and a time always serialize.
        body: serde_json::to_string(&SendAnswer::new(about, None, wording)).unwrap_or_default(),
    }
}

/// The notification that an answer is about, if it made one.
pub(super) fn about(first: &KeptAnswer) -> Option<About> {
    serde_json::from_str(&first.body).ok()
}

fn named(first: &KeptAnswer) -> Result<About, ApiError> {
    let nameless = "a kept answer names no notification";
    about(first).ok_or_else(|| ApiError::Internal(nameless.to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use push_core::notification::Priority;
    use serde_json::{Map, Value, json};

    use super::*;

    /// The problems that a request was answered with.
    pub fn problems_of<T: std::fmt::Debug>(told: Result<T, ApiError>) -> Vec<(String, String)> {
        let ApiError::InvalidInput(problems) = told.unwrap_err() else {
            panic!("not told as invalid input");
        };
        problems
            .into_iter()
            .map(|problem| (problem.field, problem.message))
            .collect()
    }

    fn parse(body: Value) -> Result<Notification, ApiError> {
        serde_json::from_value::<Request>(body).unwrap().parse(
            DateTime::UNIX_EPOCH,
            &Catalogue::load(None).unwrap(),
            Guard::Reject(None),
        )
    }

    fn with(extra: Value) -> Value {
        let mut body = json!({"id": 123, "title": "t", "body": "b"});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    }

    fn fields(told: Result<Notification, ApiError>) -> Vec<String> {
        problems_of(told)
            .into_iter()
            .map(|(field, _)| field)
            .collect()
    }

    #[test]
    fn the_guides_example_is_taken() {
        let notification = parse(json!({
            "id": 123, "title": "Technician Assigned! 🚗",
            "body": "Ravi has been assigned to your booking TRK1. They will contact you soon.",
            "data": {"type": "technician_assigned", "bookingId": 456, "urgent": true, "none": null, "priority": "high"},
        }))
        .unwrap();
        assert_eq!(notification.kind.as_str(), "technician_assigned");
        assert_eq!(
            notification.content.title.as_str(),
            "Technician Assigned! 🚗"
        );
        assert_eq!(notification.content.data.get("bookingId"), Some("456"));
        assert_eq!(notification.content.data.get("urgent"), Some("true"));
        assert_eq!(notification.content.data.get("none"), None);
        assert_eq!(notification.priority, Priority::High);
        assert_eq!(notification.expires_at.timestamp(), 3_600);
    }

    #[test]
    fn defaults_are_the_contracts() {
        for (extra, kind, priority, ttl) in [
            (json!({}), "service_update", Priority::High, 86_400),
            (json!({"type": "offer"}), "offer", Priority::High, 86_400),
            (json!({"type": "reached"}), "reached", Priority::High, 3_600),
            (
                json!({"type": "reached", "ttlSeconds": 0}),
                "reached",
                Priority::High,
                0,
            ),
            (
                json!({"data": {"type": "cancelled", "priority": "normal"}}),
                "cancelled",
                Priority::Normal,
                3_600,
            ),
            (
                json!({"type": "offer", "data": {"type": "Cancelled"}}),
                "offer",
                Priority::High,
                86_400,
            ),
            (
                json!({"priority": "high", "data": {"priority": "normal"}}),
                "service_update",
                Priority::High,
                86_400,
            ),
            (
                json!({"priority": "normal"}),
                "service_update",
                Priority::Normal,
                86_400,
            ),
            (
                json!({"priority": null, "data": null, "type": null, "ttlSeconds": null}),
                "service_update",
                Priority::High,
                86_400,
            ),
            (
                json!({"data": {"priority": "whenever"}}),
                "service_update",
                Priority::High,
                86_400,
            ),
        ] {
            let notification = parse(with(extra.clone())).unwrap();
            assert_eq!(notification.kind.as_str(), kind, "{extra}");
            assert_eq!(notification.priority, priority, "{extra}");
            assert_eq!(notification.expires_at.timestamp(), ttl, "{extra}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let told = parse(json!({
            "id": -1, "title": "x".repeat(201), "body": " ", "data": {"from": 1, "tag": "x", "nested": {}, "type": "Not Good"},
            "priority": "urgent", "ttlSeconds": -1, "collapseKey": "", "imageUrl": "http://x",
        }));
        assert_eq!(
            fields(told),
            [
                "id",
                "title",
                "body",
                "data.from",
                "data.nested",
                "data.tag",
                "data.type",
                "priority",
                "ttlSeconds",
                "collapseKey",
                "imageUrl",
            ]
        );
        let told = parse(json!({
            "id": "1", "title": 1, "body": [], "data": "x", "type": 5, "priority": 1, "ttlSeconds": "1",
            "collapseKey": {}, "imageUrl": false,
        }));
        assert_eq!(problems_of(told).len(), 9);
        assert_eq!(fields(parse(json!({}))), ["id", "title", "body"]);
    }

    #[test]
    fn the_size_is_told_beside_every_other_problem() {
        let long = "x".repeat(3_000);
        for other in [
            json!({"title": ""}),
            json!({"title": 1}),
            json!({"data": {"k": "x".repeat(600), "from": "x"}}),
            json!({"data": {"k": "x".repeat(600), "nested": []}}),
        ] {
            let mut body = with(json!({"body": long, "data": {"k": "x".repeat(600)}}));
            body.as_object_mut()
                .unwrap()
                .extend(other.as_object().unwrap().clone());
            let told = fields(parse(body));
            assert_eq!((told.len(), told[1].as_str()), (2, "body"), "{told:?}");
        }
        let body = with(
            json!({"body": "x".repeat(3_600), "imageUrl": format!("https://{}", "x".repeat(300))}),
        );
        assert_eq!(fields(parse(body)), ["body", "imageUrl"]);
        let many: Map<String, Value> = (0..70).map(|n| (format!("k{n:02}"), json!(1))).collect();
        let mut data = many.clone();
        data.insert("zzz".to_owned(), json!([]));
        assert_eq!(
            fields(parse(with(json!({"data": data})))),
            ["data", "data.zzz"]
        );
    }

    #[test]
    fn single_problems_name_their_field() {
        for (extra, field) in [
            (json!({"type": "Not Good"}), "type"),
            (json!({"type": ""}), "type"),
            (json!({"data": {"type": ""}}), "data.type"),
            (json!({"data": {"type": "UPPER"}}), "data.type"),
            (
                json!({"data": {"notificationId": "x"}}),
                "data.notificationId",
            ),
            (json!({"data": {"click_action": "x"}}), "data.click_action"),
            (json!({"data": []}), "data"),
            (json!({"ttlSeconds": 2_419_201}), "ttlSeconds"),
            (json!({"ttlSeconds": 1.5}), "ttlSeconds"),
            (json!({"title": ""}), "title"),
            (json!({"body": "x".repeat(3_500)}), "body"),
            (json!({"imageUrl": "https://"}), "imageUrl"),
            (json!({"data": {"tag": null}}), "data.tag"),
            (json!({"data": {"orderId": 2.5e19}}), "data.orderId"),
            (
                json!({"body": "x".repeat(3_499), "imageUrl": format!("https://{}", "x".repeat(193))}),
                "imageUrl",
            ),
            (json!({"collapseKey": "x".repeat(65)}), "collapseKey"),
        ] {
            assert_eq!(fields(parse(with(extra.clone()))), [field], "{extra}");
        }
        assert!(parse(with(json!({"body": "x".repeat(3_499)}))).is_ok());
    }
}
