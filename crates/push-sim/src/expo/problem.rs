//! Expo's refusals of a whole request: `{"errors":[…]}`.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lane::Provider;
use crate::reply;
use crate::script;
use crate::sim::Verdict;

/// Why a request is refused. Status and fields as in the recorded `PUSH_TOO_MANY_EXPERIENCE_IDS`
/// body; Expo does not document the status of the others.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: &'static str,
    message: String,
    details: Option<Value>,
    recorded: Option<&'static str>,
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            code,
            message: message.into(),
            details: None,
            recorded: None,
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Problem {
        Problem::new("VALIDATION_ERROR", message)
    }

    pub(super) fn too_many_notifications(given: usize) -> Problem {
        Problem::new(
            "PUSH_TOO_MANY_NOTIFICATIONS",
            format!("A request can have at most 100 notifications, not {given}."),
        )
    }

    pub(super) fn too_many_receipts(given: usize) -> Problem {
        Problem::new(
            "PUSH_TOO_MANY_RECEIPTS",
            format!("A request can ask for at most 1000 receipts, not {given}."),
        )
    }

    /// `details` maps each project to its tokens.
    pub(super) fn too_many_projects(details: Value) -> Problem {
        let mut problem = Problem::new(
            "PUSH_TOO_MANY_EXPERIENCE_IDS",
            "All push notification messages in the same request must be for the same project; \
             check the details field to investigate conflicting tokens.",
        );
        problem.details = Some(details);
        problem
    }

    pub(super) fn unauthorized() -> Problem {
        let mut problem = Problem::new("UNAUTHORIZED", "");
        problem.recorded = Some("unauthorized");
        problem
    }

    pub(super) fn invalid_bearer() -> Problem {
        let mut problem = Problem::new("invalid_token", "");
        problem.recorded = Some("invalid_bearer");
        problem
    }

    pub(super) fn verdict(self) -> Verdict {
        let note = self.code;
        Verdict::refused(self.response(), note)
    }

    fn response(self) -> Response<Body> {
        if let Some(case) = self.recorded {
            return script::recorded(Provider::Expo, case);
        }
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "type": "USER",
            "isTransient": false,
            "requestId": Uuid::new_v4(),
        });
        if let Some(details) = self.details {
            error["details"] = details;
        }
        let body = json!({"errors": [error]});
        reply::json(StatusCode::BAD_REQUEST, body.to_string())
    }
}
