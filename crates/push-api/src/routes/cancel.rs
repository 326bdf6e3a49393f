//! `DELETE /api/Push/notifications/{notificationId}`

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use push_core::id::NotificationId;
use push_store::Cancelling;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::SendAnswer;
use crate::caller::{Caller, Send};
use crate::error::{ApiError, CallErrors, CancelNotificationErrors, NotificationErrors};
use crate::metrics;
use crate::observe::Seen;
use crate::state::{AppState, now};

/// How long to wait for a worker that has it in hand: most rounds take less.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes a notification back that is pending, wherever it waits: for its time, in a queue, for its next attempt, for a
/// provider, for the end of quiet hours. From then on it is not sent any more.
///
/// It ends as `suppressed` with the reason `cancelled`; where some device has accepted it already and others were
/// still to be tried, as `sent`. To cancel it once more changes nothing, and is answered in the same way. What an older one
/// with the same collapse key was superseded by does not bring that back.
///
/// A notification that is being delivered just now is waited for, up to 2 seconds; then it is cancelled if it waits for
/// another attempt, or the answer is 409, `in_delivery`: try again. One that has ended otherwise is 409, `too_late`.
#[utoipa::path(
    delete,
    path = "/api/Push/notifications/{notificationId}",
    operation_id = "cancelNotification",
    tag = "sending",
    params(("notificationId" = Uuid, Path, description = "As the send endpoints answered it",
            example = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11")),
    responses(
        (status = 200, description = "It is cancelled, now or before", body = SendAnswer,
         example = json!({"success": true, "message": "Notification cancelled",
                          "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11", "status": "suppressed",
                          "reason": "cancelled", "fcmResult": "not_sent", "expoResult": "not_sent"})),
        CallErrors, NotificationErrors, CancelNotificationErrors,
    ),
)]
pub async fn cancel(
    caller: Caller<Send>,
    State(state): State<AppState>,
    Extension(seen): Extension<Seen>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<SendAnswer>, ApiError> {
    // What is no UUID names no notification.
    let Path(id) = id.map_err(|_| ApiError::UnknownNotification)?;
    let id = NotificationId::from(id);
    seen.notification(id);
    let by: Arc<str> = caller.name().into();
    let patience_ends = Instant::now() + DELIVERY_PATIENCE;
    loop {
        let by = Arc::clone(&by);
        let cancelling = state.ask(|store| async move { store.cancel(id, &by, now()).await });
        match cancelling.await? {
            Cancelling::Now(ended) => {
                metrics::settled(ended.status, ended.reason);
                return Ok(Json(SendAnswer::cancelled(id, ended)));
            }
            Cancelling::Before(ended) => return Ok(Json(SendAnswer::cancelled(id, ended))),
            Cancelling::InDelivery if Instant::now() < patience_ends => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Cancelling::InDelivery => return Err(ApiError::InDelivery),
            Cancelling::TooLate(ended) => return Err(ApiError::TooLate(ended)),
            Cancelling::Unknown => return Err(ApiError::UnknownNotification),
        }
    }
}
