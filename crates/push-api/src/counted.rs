//! What `cargo xtask instructions` counts and cannot reach otherwise: parts of handlers, without what waits for others.

use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use push_core::notification::Notification;

use crate::answer::{About, sent};
use crate::catalogue::Catalogue;
use crate::error::ApiError;
use crate::outcomes::Waited;
use crate::prefer::Wait;
use crate::privacy::Guard;
use crate::request::{parse, typed};
use crate::routes::send_to_customer::{Request, WORDING};

/// The notification that a body of `sendToCustomer` asks for.
///
/// # Errors
/// Every problem of the body.
pub fn read(
    body: &[u8],
    now: DateTime<Utc>,
    catalogue: &Catalogue,
    guard: Guard<'_>,
) -> Result<Notification, ApiError> {
    typed::<Request>(parse(body)?)?.parse(now, catalogue, guard)
}

/// What is answered once it is committed.
pub fn answer(notification: &Notification) -> Response {
    let wait = Wait::read(&HeaderMap::new(), None);
    let about = About::from(notification);
    sent(about, wait, Waited::StillPending, WORDING, None)
}
