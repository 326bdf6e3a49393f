//! What can go wrong, in words that say what to do.

use std::fmt;
use std::io;

use serde::Deserialize;
use serde_json::Value;

use crate::escape::escape;
use crate::exit::Exit;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An argument or a setting.
    #[error("{0}")]
    Usage(String),
    /// There is no key to send.
    #[error(
        "no API key: set PUSH_API_KEY, or PUSH_API_KEY_FILE to a file that holds it. `push-api key NAME SCOPE+SCOPE` makes one"
    )]
    NoKey,
    /// No answer came.
    #[error("push-api at {url} cannot be reached: {why}")]
    Unreachable {
        /// The address that was asked.
        url: String,
        /// The cause.
        why: String,
    },
    /// Something answered that is not push-api, or not one that this program understands.
    #[error("{url} answered with HTTP {status}, and {what}")]
    Unreadable {
        /// The address that was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// push-api says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// It was accepted, and did not end as it should.
    #[error("{0}")]
    NotDone(String),
    /// What `doctor` found; it was told already.
    #[error("{found}")]
    Found {
        /// How bad it is.
        exit: Exit,
        /// In words.
        found: &'static str,
    },
    /// The user stopped it.
    #[error("{0}")]
    Interrupted(String),
    /// The answer cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoKey => Exit::Credentials,
            Self::Unreachable { .. } | Self::Unreadable { .. } => Exit::Unreachable,
            Self::Refused(refusal) => refusal.exit(),
            Self::NotDone(_) => Exit::Failed,
            Self::Found { exit, .. } => *exit,
            Self::Interrupted(_) => Exit::Interrupted,
            // Who reads no further, such as `head`, has seen what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// Whether to try again may help: the service is away, or has too much to do.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unreadable { status: 500.., .. } => true,
            Self::Refused(refusal) => refusal.exit() == Exit::Busy,
            Self::Usage(_)
            | Self::NoKey
            | Self::Unreadable { .. }
            | Self::NotDone(_)
            | Self::Found { .. }
            | Self::Interrupted(_)
            | Self::Output(_) => false,
        }
    }

    /// The body of an answer that says no.
    pub fn answer(&self) -> Option<&Value> {
        if let Self::Refused(refusal) = self {
            Some(&refusal.body)
        } else {
            None
        }
    }
}

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: Value,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `X-Request-Id`: what the log of push-api has the cause under.
    pub request_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    message: String,
    code: String,
    errors: Vec<FieldProblem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FieldProblem {
    field: String,
    message: String,
}

impl Refusal {
    /// How the program ends.
    fn exit(&self) -> Exit {
        match self.status {
            401 | 403 => Exit::Credentials,
            404 => Exit::NotFound,
            429 | 503 => Exit::Busy,
            _ => Exit::Failed,
        }
    }

    /// The stable name of the error.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = Told::deserialize(&self.body).unwrap_or_default();
        let (message, code) = (escape(&told.message), escape(&told.code));
        write!(out, "{message} ({code}, HTTP {})", self.status)?;
        for problem in &told.errors {
            let (field, wrong) = (escape(&problem.field), escape(&problem.message));
            write!(out, "\n  {field} {wrong}")?;
        }
        if let Some(seconds) = self.retry_after {
            write!(out, "\n  try again in {seconds} s")?;
        }
        if let Some(id) = &self.request_id {
            write!(out, "\n  request id {}", escape(id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(status: u16, body: Value) -> Failure {
        Failure::Refused(Box::new(Refusal {
            status,
            body,
            retry_after: (status == 429).then_some(7),
            request_id: Some("r-1".to_owned()),
        }))
    }

    #[test]
    fn everything_that_the_api_says_is_told() {
        let body = json!({"success": false, "message": "The request has 1 problem\u{1b}[2J", "code": "invalid_input",
                          "errors": [{"field": "title", "message": "is required"}]});
        assert_eq!(
            refused(400, body).to_string(),
            "The request has 1 problem\\u{1b}[2J (invalid_input, HTTP 400)\n  title is required\n  request id r-1"
        );
        let busy = refused(429, json!({"message": "Too many", "code": "rate_limited"}));
        assert!(busy.to_string().contains("try again in 7 s"), "{busy}");
        assert!(busy.may_pass());
        // Whatever a proxy says.
        assert!(refused(400, json!([1])).to_string().contains("HTTP 400"));
    }

    #[test]
    fn the_exit_code_tells_what_is_wrong() {
        for (status, exit) in [
            (400, Exit::Failed),
            (401, Exit::Credentials),
            (403, Exit::Credentials),
            (404, Exit::NotFound),
            (409, Exit::Failed),
            (429, Exit::Busy),
            (500, Exit::Failed),
            (503, Exit::Busy),
        ] {
            assert_eq!(refused(status, json!({})).exit(), exit, "{status}");
        }
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.exit(), Exit::Fine);
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit(), Exit::Failed);
    }
}
