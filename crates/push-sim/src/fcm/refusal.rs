//! How the service words a 400 (four recorded or reported shapes).

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::validate::Violation;
use crate::reply;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// Why a request is refused with 400.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not JSON at all.
    NotJson(String),
    /// JSON layer: `BadRequest` alone, no `FcmError`.
    Json(Vec<Violation>),
    /// FCM layer: `FcmError` and a `BadRequest` that names the field.
    Value {
        field: &'static str,
        description: String,
    },
    /// FCM layer: `BadRequest` without violations, and `FcmError`.
    TooBig(&'static str),
}

impl Refusal {
    pub(super) fn value(field: &'static str, description: impl Into<String>) -> Refusal {
        Refusal::Value {
            field,
            description: description.into(),
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let (message, details) = match self {
            Refusal::NotJson(why) => {
                let text = format!("Invalid JSON payload received. {why}");
                let details =
                    json!([{"@type": BAD_REQUEST, "fieldViolations": [{"description": text}]}]);
                (text, details)
            }
            Refusal::Json(violations) => (lines(violations), bad_request(violations)),
            Refusal::Value { field, description } => (
                description.clone(),
                json!([
                    {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
                    {"@type": BAD_REQUEST,
                     "fieldViolations": [{"field": field, "description": description}]},
                ]),
            ),
            Refusal::TooBig(text) => (
                (*text).to_owned(),
                json!([
                    {"@type": BAD_REQUEST},
                    {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
                ]),
            ),
        };
        let body = json!({"error": {
            "code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details,
        }});
        reply::json(StatusCode::BAD_REQUEST, body.to_string())
    }
}

fn lines(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations
        .iter()
        .map(|violation| violation.description.as_str())
        .collect();
    lines.join("\n")
}

fn bad_request(violations: &[Violation]) -> Value {
    let violations: Vec<_> = violations
        .iter()
        .map(|violation| {
            if violation.field.is_empty() {
                json!({"description": violation.description})
            } else {
                json!({"field": violation.field, "description": violation.description})
            }
        })
        .collect();
    json!([{"@type": BAD_REQUEST, "fieldViolations": violations}])
}
