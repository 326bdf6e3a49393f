//! What is answered where the customer is told nothing.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use push_core::booking::Ignored;
use push_store::KeptAnswer;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::SendAnswer;
use crate::schemas;

/// An event is told to the customer, or is ignored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the two bodies that there are")]
pub enum EventAnswer {
    /// It is told.
    Told(SendAnswer),
    /// It is ignored.
    Ignored(EventIgnored),
}

/// An event of which the customer is told nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventIgnored {
    /// Always true: the request was carried out.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: String,
    /// Always `ignored`.
    #[schema(example = "ignored")]
    status: &'static str,
    /// Why.
    #[schema(schema_with = schemas::ignored)]
    reason: Ignored,
}

impl EventIgnored {
    fn new(reason: Ignored) -> Self {
        Self {
            success: true,
            message: format!("Event ignored: {}", in_words(reason)),
            status: "ignored",
            reason,
        }
    }
}

/// The answer.
pub fn ignored(reason: Ignored) -> Response {
    Json(EventIgnored::new(reason)).into_response()
}

/// The answer as it is kept with a key.
pub fn ignored_answer(reason: Ignored) -> KeptAnswer {
    KeptAnswer {
        status: Some(StatusCode::OK.as_u16()),
        // Texts always serialize.
        body: serde_json::to_string(&EventIgnored::new(reason)).unwrap_or_default(),
    }
}

const fn in_words(reason: Ignored) -> &'static str {
    match reason {
        Ignored::Unchanged => "the booking is in this status already",
        Ignored::Older => "something that happened after it is known already",
        Ignored::NoTemplate => "the catalogue has no text for this status",
    }
}
