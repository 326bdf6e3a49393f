//! `POST /api/Push/events`

mod answer;
mod read;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use push_core::booking::Ignored;
use push_core::notification::Notification;
use push_store::{Item, KeptAnswer, Keyed};

use self::answer::{EventAnswer, ignored, ignored_answer};
use self::read::{Event, Request};
use super::send_to_customer::{WORDING, about, at_acceptance, tell_outcome};
use crate::accept::{Accepted, Submission};
use crate::answer::{About, SendAnswer, replayed};
use crate::caller::{Caller, Send};
use crate::error::{ApiError, BodyErrors, CallErrors, CustomerErrors, KeyErrors};
use crate::idempotency::Nameable;
use crate::observe::Seen;
use crate::prefer::Wait;
use crate::state::{AppState, now};
use push_core::trace::TraceContext;

/// Tells a customer what happened to a booking, in the words of the catalogue of texts.
///
/// 202 means that the notification is committed, as with `sendToCustomer`; `Prefer: wait=N` and `Idempotency-Key` work in
/// the same way. All notifications of a booking share a collapse key: a newer one replaces the older ones on the phone.
///
/// 200 with `"status":"ignored"` means that the customer is told nothing, and `reason` says why: `unchanged` (the booking is in
/// this status already, or `oldStatus` is `newStatus`; case does not matter), `older` (it happened before the last event that
/// is known, by `occurredAt`), `no_template` (the catalogue has no text for this status). So the same event can be posted
/// twice, also at the same moment at two replicas: the customer is told once. To be given to another technician is news,
/// and every status after it as well.
#[utoipa::path(
    post,
    path = "/api/Push/events",
    operation_id = "sendEvent",
    tag = "sending",
    request_body(content = Request, examples(
        ("assigned" = (summary = "A technician was assigned", value = json!({
            "event": "technician_assigned", "customerId": 123, "bookingId": 456, "trackId": "BID123",
            "technician": {"name": "John"}}))),
        ("status" = (summary = "The status changed", value = json!({
            "event": "status_changed", "customerId": 123, "bookingId": 456, "trackId": "BID123",
            "technician": {"name": "John"}, "oldStatus": "Assigned", "newStatus": "StartJourney",
            "occurredAt": "2026-11-28T09:30:00Z"}))),
        ("own" = (summary = "A type of your own, with a text in TEMPLATES_DIR", value = json!({
            "event": "invoice_ready", "customerId": 123, "bookingId": 456, "trackId": "BID123", "locale": "de-AT"}))),
    )),
    params(("Prefer" = Option<String>, Header, example = "wait=10",
            description = "`wait=N`: wait up to N seconds (30 at most) for the outcome"),
           ("Idempotency-Key" = Option<String>, Header, example = "8e03978e-40d5-43dd-bc93-6894a57f9324",
            description = "Your own name for this request, 1 to 255 printable ASCII characters: within 24 hours it is carried \
                           out once, however often it comes")),
    responses(
        (status = 200, description = "The outcome, asked for with `Prefer: wait=N`; or why the event is ignored", body = EventAnswer,
         headers(("Preference-Applied" = String, description = "`wait=N` as it was granted"),
                 ("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         examples(
            ("sent" = (summary = "Sent", value = json!({"success": true, "message": "Push notification sent successfully",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "sent", "fcmResult": "success", "expoResult": "not_sent"}))),
            ("ignored" = (summary = "Ignored", value = json!({"success": true, "status": "ignored", "reason": "unchanged",
                          "message": "Event ignored: the booking is in this status already"}))))),
        (status = 202, description = "Accepted: committed, and on its way", body = SendAnswer,
         headers(("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         example = json!({"success": true, "message": "Push notification queued",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
                          "status": "pending", "fcmResult": "queued", "expoResult": "queued"})),
        BodyErrors, CallErrors, CustomerErrors, KeyErrors,
    ),
)]
pub async fn events(
    caller: Caller<Send>,
    State(state): State<AppState>,
    Extension(trace): Extension<TraceContext>,
    Extension(seen): Extension<Seen>,
    wait: Wait,
    Nameable { body, name }: Nameable<Request>,
) -> Result<Response, ApiError> {
    let key = name.map(|name| name.of(caller.name()));
    let (event, notification) = match read(&state, body, caller.name()).await {
        Ok(read) => read,
        // The catalogue, or what the customer prefers, may have been another one then.
        Err(wrong) => {
            let first = state.answered_before(key, wrong).await?;
            return Ok(as_before(&state, first, wait, &seen).await);
        }
    };
    let made = notification.as_ref().map(About::from);
    let keyed = key.map(|key| Keyed {
        key,
        answer: Arc::new(move |items| match items.first() {
            Some(Item::Accepted) => made.map(|made| at_acceptance(made, wait, WORDING)),
            Some(Item::Ignored(why)) => Some(ignored_answer(*why)),
            Some(Item::UnknownCustomer | Item::RateLimited(_)) | None => None,
        }),
    });
    let origin = format!("from {} as a booking event", caller.name());
    let submission = submission(event, notification, keyed, origin, trace);
    let asked = Arc::clone(&submission.notifications);
    match state.accept(submission).await? {
        Accepted::Now(items) => match (items.first(), made) {
            (Some(Item::Accepted), Some(made)) => {
                Ok(tell_outcome(&state, made, wait, &seen, WORDING, None).await)
            }
            (Some(Item::Ignored(why)), _) => {
                if let (Ignored::Unchanged, Some(again)) = (why, asked.first()) {
                    state.tell_of_unchanged(again);
                }
                Ok(ignored(*why))
            }
            (refused, _) => Err(state.refused(refused)),
        },
        Accepted::Before(first) => Ok(as_before(&state, first, wait, &seen).await),
    }
}

/// The event, and what the customer is told of it.
async fn read(
    state: &AppState,
    body: Request,
    caller: &str,
) -> Result<(Event, Option<Notification>), ApiError> {
    let mut event = body.parse(now(), &state.catalogue, state.guard.towards(caller))?;
    if event.locale.is_none() && state.catalogue.is_translated() {
        let customer = event.booking_event.customer;
        let preferences = state.ask(|store| async move { store.preferences(customer).await });
        event.locale = preferences.await?.and_then(|said| said.locale);
    }
    let notification = event.notification(&state.catalogue)?;
    Ok((event, notification))
}

/// The first answer once more; or the outcome, where the event made a notification.
async fn as_before(state: &AppState, first: KeptAnswer, wait: Wait, seen: &Seen) -> Response {
    match about(&first) {
        Some(made) => tell_outcome(state, made, wait, seen, WORDING, Some(first)).await,
        None => replayed(first),
    }
}

fn submission(
    event: Event,
    notification: Option<Notification>,
    keyed: Option<Keyed>,
    origin: String,
    trace: TraceContext,
) -> Submission {
    Submission {
        notifications: notification.into_iter().collect(),
        event: Some(event.booking_event),
        keyed,
        origin,
        trace,
    }
}
