//! What a caller is told when something is wrong: one enum, one shape, one place that logs nothing
//! away.
//!
//! Each module below has its own typed errors; here they become an answer. The cause of an internal
//! error travels beside the answer to [`observe`](crate::observe), which logs it once, with the
//! request's id; it never enters the body.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use push_core::rate::Rate;
use push_core::status::{ProviderResult, Status};
use push_store::{Refusal, State, StoreError};
use serde::Serialize;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::answer::in_words;
use crate::keys::Scope;
use crate::limits::policy::{Exhausted, Limit};

/// How long a caller should stay away from a database that is not there: long enough for a restart
/// of a pool's connections, short enough for nobody to wait in vain.
const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a caller should stay away when we have too much to do.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Every `code` that an error can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is JSON, and some fields are not what they must be; `errors` lists all of them.
    InvalidInput,
    /// The body is not JSON, or not an object.
    MalformedJson,
    /// No credentials, or none that we know.
    Unauthorized,
    /// The credentials are known, and not for this.
    Forbidden,
    /// There is no such customer.
    UnknownCustomer,
    /// There is no such notification.
    UnknownNotification,
    /// There is no such dead letter.
    UnknownDeadLetter,
    /// There is no such operation.
    UnknownOperation,
    /// There is no such provider.
    UnknownProvider,
    /// The operation is not running any more.
    OperationEnded,
    /// The operation goes on to its end.
    NotCancellable,
    /// The dead letter was replayed before.
    AlreadyReplayed,
    /// The dead letter was discarded before.
    AlreadyDiscarded,
    /// The dead letter's notification is pending.
    NotificationPending,
    /// The notification is being delivered.
    InDelivery,
    /// The notification has ended.
    TooLate,
    /// The notification's time is over.
    Expired,
    /// The dead letter can never be replayed.
    NotReplayable,
    /// The `Idempotency-Key` belongs to another request.
    IdempotencyKeyReused,
    /// There is no such path.
    NotFound,
    /// The path exists, and does not know this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is too large.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// As much was asked for as is allowed in a time.
    RateLimited,
    /// The path and its query are too long.
    UriTooLong,
    /// A fault of ours.
    Internal,
    /// More requests are in work than this process takes.
    Overloaded,
    /// The answer was not ready in time.
    TimedOut,
    /// The database is away.
    DatabaseUnavailable,
    /// What `/readyz` says as long as the process cannot do its work.
    NotReady,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 31] = [
        Self::InvalidInput,
        Self::MalformedJson,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownCustomer,
        Self::UnknownNotification,
        Self::UnknownDeadLetter,
        Self::UnknownOperation,
        Self::UnknownProvider,
        Self::OperationEnded,
        Self::NotCancellable,
        Self::AlreadyReplayed,
        Self::AlreadyDiscarded,
        Self::NotificationPending,
        Self::InDelivery,
        Self::TooLate,
        Self::Expired,
        Self::NotReplayable,
        Self::IdempotencyKeyReused,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::UriTooLong,
        Self::Internal,
        Self::Overloaded,
        Self::TimedOut,
        Self::DatabaseUnavailable,
        Self::NotReady,
    ];

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidInput | Self::MalformedJson => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UnknownCustomer
            | Self::UnknownNotification
            | Self::UnknownDeadLetter
            | Self::UnknownOperation
            | Self::UnknownProvider
            | Self::NotFound => StatusCode::NOT_FOUND,
            Self::OperationEnded
            | Self::NotCancellable
            | Self::AlreadyReplayed
            | Self::AlreadyDiscarded
            | Self::NotificationPending
            | Self::InDelivery
            | Self::TooLate
            | Self::Expired
            | Self::NotReplayable => StatusCode::CONFLICT,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::TimedOut | Self::DatabaseUnavailable | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// What the OpenAPI document says of it.
    const fn meaning(self) -> &'static str {
        match self {
            Self::InvalidInput => "fields are wrong; `errors` lists every problem at once",
            Self::MalformedJson => "the body is not JSON, or not an object",
            Self::Unauthorized => "no credentials, or none that are known",
            Self::Forbidden => "the credentials lack the scope, or are another customer's",
            Self::UnknownCustomer => "there is no such customer",
            Self::UnknownNotification => "there is no such notification",
            Self::UnknownDeadLetter => "there is no such dead letter",
            Self::UnknownOperation => "there is no such operation",
            Self::UnknownProvider => "there is no such provider",
            Self::OperationEnded => "the operation is not running any more",
            Self::NotCancellable => "an operation that erases a customer goes on to its end",
            Self::AlreadyReplayed => {
                "somebody has replayed the dead letter; its details say who and what came of it"
            }
            Self::AlreadyDiscarded => {
                "somebody has discarded the dead letter; its details say who and why"
            }
            Self::NotificationPending => {
                "another replay of the same notification is under way; try again after `Retry-After`"
            }
            Self::InDelivery => {
                "the notification is being delivered just now; try again after `Retry-After`"
            }
            Self::TooLate => "the notification has ended; the message says how",
            Self::Expired => "the notification's time is over; `extendTtlSeconds` gives it more",
            Self::NotReplayable => {
                "what is needed to send it is not there any more; the message says what"
            }
            Self::IdempotencyKeyReused => {
                "the `Idempotency-Key` came within 24 hours with another body, or at another endpoint"
            }
            Self::NotFound => "there is no such path",
            Self::MethodNotAllowed => "the path does not know this method",
            Self::BodyTimeout => "the body did not arrive in time",
            Self::BodyTooLarge => "the body is too large",
            Self::UnsupportedMediaType => "the body is not declared as `application/json`",
            Self::UriTooLong => "the path and its query are too long",
            Self::RateLimited => {
                "as much was asked for as is allowed in a time; try again after `Retry-After`"
            }
            Self::Internal => {
                "a fault of the service; its log has the cause under the request's id"
            }
            Self::Overloaded => "too many requests are in work; try again after `Retry-After`",
            Self::TimedOut => "the answer was not ready in time; try again after `Retry-After`",
            Self::DatabaseUnavailable => "the database is away; try again after `Retry-After`",
            Self::NotReady => "what the process needs is away; `checks` says what",
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// The field, with dots for nesting.
    #[schema(example = "title")]
    pub field: String,
    /// What is wrong with it, in words that complete "`field` …". Never repeats the value.
    #[schema(example = "must have at most 200 characters")]
    pub message: String,
}

impl FieldProblem {
    /// A problem, in words that complete "`field` …".
    pub fn new(field: impl Into<String>, message: impl Display) -> Self {
        Self {
            field: field.into(),
            message: message.to_string(),
        }
    }
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    /// For people.
    message: String,
    /// For programs; does not change.
    code: Code,
    /// Every problem of the input, where it is `invalid_input`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Credentials are missing or unknown. One answer for all cases: it must not help guessing.
    #[error(
        "Send a valid API key as `Authorization: Bearer <key>` or `X-Api-Key: <key>`, or a valid token as `Authorization: Bearer <token>`"
    )]
    Unauthorized,
    /// Whoever it is may not do this.
    #[error("These credentials lack the scope `{0}`")]
    Forbidden(Scope),
    /// A customer may not touch what is somebody else's.
    #[error("These credentials are another customer's")]
    NotYours,
    /// Fields are wrong.
    #[error("The request has {}; see `errors`", count(.0.len()))]
    InvalidInput(Vec<FieldProblem>),
    /// The body is no JSON object. Names the place, never the content.
    #[error("The body {0}")]
    MalformedJson(String),
    /// The body is not declared as JSON.
    #[error("Send the body as JSON, with `Content-Type: application/json`")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("The body is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// The most that is read.
        bytes_max: usize,
    },
    /// The body came too slowly.
    #[error("The body did not arrive within {} s", .0.as_secs())]
    BodyTimeout(Duration),
    /// The customer is not known, and unknown ones are not created.
    #[error("There is no such customer")]
    UnknownCustomer,
    /// The notification is not known.
    #[error("There is no such notification")]
    UnknownNotification,
    /// The operation is not known.
    #[error("There is no such operation")]
    UnknownOperation,
    /// The provider is not known.
    #[error("There is no such provider; there are `fcm` and `expo`")]
    UnknownProvider,
    /// The operation cannot be cancelled.
    #[error("The operation is not running any more")]
    OperationEnded,
    /// The operation must not be cancelled.
    #[error("An operation that erases a customer is not cancelled")]
    NotCancellable,
    /// A worker has the notification in hand.
    #[error("The notification is being delivered just now; try again")]
    InDelivery,
    /// The notification cannot be cancelled any more.
    #[error("Too late to cancel: the notification {}", ended(.0))]
    TooLate(State),
    /// Nothing was done with a dead letter.
    #[error("{}", refused(*.0))]
    DeadLetter(Refusal),
    /// The `Idempotency-Key` belongs to another request.
    #[error("This Idempotency-Key came with another request; take a new key for each new request")]
    IdempotencyKeyReused,
    /// The path is not known.
    #[error("There is no such path; /openapi.json lists them all")]
    NotFound,
    /// The method is not known there.
    #[error("The path does not know this method; see the header `Allow`")]
    MethodNotAllowed,
    /// The path and its query are too long.
    #[error("The path and its query are longer than {bytes_max} bytes")]
    UriTooLong {
        /// The most that is read.
        bytes_max: usize,
    },
    /// A budget is used up.
    #[error("Too many {}; try again in {} s", .0.standing.limit, .0.retry_after())]
    RateLimited(Exhausted),
    /// More is going on than we can take.
    #[error("Too many requests are in work; try again")]
    Overloaded,
    /// It took too long.
    #[error("The answer was not ready in time; try again")]
    TimedOut,
    /// The database is away. Holds why, for the log.
    #[error("The database is not available; try again")]
    DatabaseUnavailable(String),
    /// The database is there and not fit for us: someone must act. Holds why, for the log.
    #[error("The database is not available; try again")]
    DatabaseOutOfOrder(String),
    /// A fault of ours. Holds the cause, for the log.
    #[error("Something went wrong here; the log has the cause under the request's id")]
    Internal(String),
}

/// How a notification has ended.
fn ended(state: &State) -> String {
    let why = || state.reason.map_or("for an unknown reason", in_words);
    match state.status {
        Status::Pending => "is pending".to_owned(),
        Status::Sent => "was sent".to_owned(),
        Status::Failed => format!("has failed: {}", why()),
        Status::Suppressed => format!("was not sent: {}", why()),
    }
}

/// Why nothing was done with a dead letter, and what to do.
const fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown => "There is no such dead letter",
        Refusal::AlreadyReplayed => {
            "The dead letter has been replayed before; its details say by whom and what came of it"
        }
        Refusal::AlreadyDiscarded => {
            "The dead letter has been discarded before; its details say by whom and why"
        }
        Refusal::Pending => {
            "The notification is pending: another replay of it is under way. Try again when that is over"
        }
        Refusal::UnknownNotification => {
            "The database has no such notification, so that nothing can be recorded about it. Discard the dead letter"
        }
        Refusal::ContentGone => {
            "The notification's content was erased, or purged for its age. Discard the dead letter; send a new notification if it is still wanted"
        }
        Refusal::Cancelled => {
            "The notification was cancelled since. Discard the dead letter; send a new notification if it is wanted after all"
        }
        Refusal::Superseded => {
            "A newer notification with the same collapse key has taken its place: it would be shown after that one. Discard the dead letter"
        }
        Refusal::Expired => {
            "The notification's time is over. Give it more with extendTtlSeconds if it is still worth sending"
        }
        Refusal::IncompleteBytes => {
            "The message was too large to be kept as a whole. Discard the dead letter; who published it has to do so again"
        }
        Refusal::Unreadable => {
            "This program cannot read what is kept of the job: a newer program wrote it, or it names nobody. Upgrade, or discard the dead letter"
        }
    }
}

const fn refusal_code(refusal: Refusal) -> Code {
    match refusal {
        Refusal::Unknown => Code::UnknownDeadLetter,
        Refusal::AlreadyReplayed => Code::AlreadyReplayed,
        Refusal::AlreadyDiscarded => Code::AlreadyDiscarded,
        Refusal::Pending => Code::NotificationPending,
        Refusal::Expired => Code::Expired,
        Refusal::UnknownNotification
        | Refusal::ContentGone
        | Refusal::Cancelled
        | Refusal::Superseded
        | Refusal::IncompleteBytes
        | Refusal::Unreadable => Code::NotReplayable,
    }
}

fn count(problems: usize) -> String {
    if problems == 1 {
        "1 problem".to_owned()
    } else {
        format!("{problems} problems")
    }
}

impl ApiError {
    /// The stable name of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unauthorized => Code::Unauthorized,
            Self::Forbidden(_) | Self::NotYours => Code::Forbidden,
            Self::InvalidInput(_) => Code::InvalidInput,
            Self::MalformedJson(_) => Code::MalformedJson,
            Self::UnsupportedMediaType => Code::UnsupportedMediaType,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::BodyTimeout(_) => Code::BodyTimeout,
            Self::UnknownCustomer => Code::UnknownCustomer,
            Self::UnknownNotification => Code::UnknownNotification,
            Self::UnknownOperation => Code::UnknownOperation,
            Self::UnknownProvider => Code::UnknownProvider,
            Self::OperationEnded => Code::OperationEnded,
            Self::NotCancellable => Code::NotCancellable,
            Self::InDelivery => Code::InDelivery,
            Self::TooLate(_) => Code::TooLate,
            Self::DeadLetter(refusal) => refusal_code(*refusal),
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::UriTooLong { .. } => Code::UriTooLong,
            Self::RateLimited(_) => Code::RateLimited,
            Self::Overloaded => Code::Overloaded,
            Self::TimedOut => Code::TimedOut,
            Self::DatabaseUnavailable(_) | Self::DatabaseOutOfOrder(_) => Code::DatabaseUnavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self.code() {
            Code::DatabaseUnavailable | Code::NotReady | Code::NotificationPending => {
                Some(DATABASE_RETRY_AFTER)
            }
            Code::Overloaded | Code::TimedOut | Code::InDelivery => Some(OVERLOAD_RETRY_AFTER),
            Code::InvalidInput
            | Code::MalformedJson
            | Code::Unauthorized
            | Code::Forbidden
            | Code::UnknownCustomer
            | Code::UnknownNotification
            | Code::UnknownDeadLetter
            | Code::UnknownOperation
            | Code::UnknownProvider
            | Code::OperationEnded
            | Code::NotCancellable
            | Code::AlreadyReplayed
            | Code::AlreadyDiscarded
            | Code::TooLate
            | Code::Expired
            | Code::NotReplayable
            | Code::IdempotencyKeyReused
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::BodyTimeout
            | Code::BodyTooLarge
            | Code::UnsupportedMediaType
            | Code::UriTooLong
            | Code::RateLimited
            | Code::Internal => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // The store's texts hold neither data nor secrets: they may be logged.
        if error.is_out_of_order() {
            Self::DatabaseOutOfOrder(error.to_string())
        } else if error.is_unavailable() {
            Self::DatabaseUnavailable(error.to_string())
        } else {
            Self::Internal(error.to_string())
        }
    }
}

/// What the log is told of an answer, and the caller is not.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Why, without data and secrets.
    pub text: String,
    /// Whether it does not pass by itself.
    pub someone_must_act: bool,
}

impl From<&ApiError> for ErrorBody {
    fn from(error: &ApiError) -> Self {
        Self {
            success: false,
            message: error.to_string(),
            code: error.code(),
            errors: if let ApiError::InvalidInput(problems) = error {
                problems.clone()
            } else {
                Vec::new()
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let mut response = (code.status(), Json(ErrorBody::from(&self))).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if let Self::RateLimited(exhausted) = self {
            exhausted.tell(headers);
        }
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let someone_must_act = !matches!(self, Self::DatabaseUnavailable(_));
        if let Self::DatabaseUnavailable(text)
        | Self::DatabaseOutOfOrder(text)
        | Self::Internal(text) = self
        {
            response.extensions_mut().insert(Cause {
                text,
                someone_must_act,
            });
        }
        response
    }
}

/// The documentation of some errors: one entry a status, with the meaning and an example of each code.
fn documented(errors: &[ApiError]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let statuses: BTreeSet<StatusCode> = errors.iter().map(|error| error.code().status()).collect();
    let entry = |status: StatusCode| {
        let (mut meanings, mut examples) = (Vec::new(), Vec::new());
        for error in errors
            .iter()
            .filter(|error| error.code().status() == status)
        {
            let body = serde_json::to_value(ErrorBody::from(error)).unwrap_or_default();
            let name = body["code"].as_str().unwrap_or_default().to_owned();
            meanings.push(format!("`{name}`: {}", error.code().meaning()));
            examples.push((name, ExampleBuilder::new().value(Some(body)).build()));
        }
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("ErrorBody")))
            .examples_from_iter(examples)
            .build();
        let response = ResponseBuilder::new()
            .description(meanings.join("\n\n"))
            .content("application/json", content)
            .build();
        (status.as_str().to_owned(), RefOr::T(response))
    };
    statuses.into_iter().map(entry).collect()
}

/// Declares the documentation of a set of errors that occur together.
macro_rules! error_set {
    ($($(#[$doc:meta])* $name:ident: [$($example:expr),+ $(,)?];)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                documented(&[$($example),+])
            }
        }
    )+};
}

error_set! {
    /// What every endpoint can answer that needs a caller and the database.
    CallErrors: [
        ApiError::Unauthorized,
        ApiError::Forbidden(Scope::Send),
        ApiError::RateLimited(Exhausted::new(Limit::Key, Rate::MINUTELY, Duration::from_secs(7))),
        ApiError::Internal(String::new()),
        ApiError::Overloaded,
        ApiError::TimedOut,
        ApiError::DatabaseUnavailable(String::new()),
    ];
    /// What every endpoint can answer that reads a body.
    BodyErrors: [
        ApiError::InvalidInput(vec![
            FieldProblem::new("title", "must have at most 200 characters"),
            FieldProblem::new("id", "is required"),
        ]),
        ApiError::MalformedJson("is not JSON: see line 1, column 2".to_owned()),
        ApiError::BodyTimeout(Duration::from_secs(10)),
        ApiError::BodyTooLarge { bytes_max: 65_536 },
        ApiError::UnsupportedMediaType,
    ];
    /// What an endpoint can answer that reads the body of a batch.
    BatchErrors: [
        ApiError::InvalidInput(vec![
            FieldProblem::new("notifications", "must have 1 to 1000 elements"),
        ]),
        ApiError::MalformedJson("is not JSON: see line 1, column 2".to_owned()),
        ApiError::BodyTimeout(Duration::from_secs(10)),
        ApiError::BodyTooLarge { bytes_max: 2_097_152 },
        ApiError::UnsupportedMediaType,
    ];
    /// What every endpoint can answer that reads a query.
    QueryErrors: [
        ApiError::InvalidInput(vec![FieldProblem::new("limit", "must be 1 to 200")]),
    ];
    /// What an endpoint can answer that is about a customer.
    CustomerErrors: [ApiError::UnknownCustomer];
    /// What an endpoint can answer whose requests can be named.
    KeyErrors: [ApiError::IdempotencyKeyReused];
    /// What an endpoint can answer that is about a notification.
    NotificationErrors: [ApiError::UnknownNotification];
    /// What an endpoint can answer that is about a dead letter.
    DeadLetterErrors: [ApiError::DeadLetter(Refusal::Unknown)];
    /// What an endpoint can answer that is about an operation.
    OperationErrors: [ApiError::UnknownOperation];
    /// What an endpoint can answer that is about a provider.
    ProviderErrors: [ApiError::UnknownProvider];
    /// What cancelling an operation can answer.
    CancelErrors: [ApiError::OperationEnded, ApiError::NotCancellable];
    /// What cancelling a notification can answer.
    CancelNotificationErrors: [
        ApiError::InDelivery,
        ApiError::TooLate(State {
            status: Status::Sent,
            fcm: ProviderResult::Success,
            expo: ProviderResult::NotSent,
            reason: None,
            attempts: 1,
        }),
    ];
    /// What replaying a dead letter can answer.
    ReplayErrors: [
        ApiError::DeadLetter(Refusal::AlreadyReplayed),
        ApiError::DeadLetter(Refusal::AlreadyDiscarded),
        ApiError::DeadLetter(Refusal::Pending),
        ApiError::DeadLetter(Refusal::Expired),
        ApiError::DeadLetter(Refusal::ContentGone),
    ];
    /// What discarding a dead letter can answer.
    DiscardErrors: [
        ApiError::DeadLetter(Refusal::AlreadyReplayed),
        ApiError::DeadLetter(Refusal::AlreadyDiscarded),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(error: ApiError) -> (StatusCode, serde_json::Value, Response) {
        let response = error.into_response();
        let status = response.status();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 65_536).await.unwrap();
        let json = serde_json::from_slice(&body).unwrap();
        (
            status,
            json,
            Response::from_parts(parts, axum::body::Body::empty()),
        )
    }

    #[tokio::test]
    async fn an_error_has_one_shape() {
        let problem = FieldProblem::new("title", "is required");
        let (status, body, _) = told(ApiError::InvalidInput(vec![problem])).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            serde_json::json!({
                "success": false,
                "message": "The request has 1 problem; see `errors`",
                "code": "invalid_input",
                "errors": [{"field": "title", "message": "is required"}],
            })
        );
        let (status, body, _) = told(ApiError::UnknownCustomer).await;
        assert_eq!(status, 404);
        assert_eq!(body["code"], "unknown_customer");
        assert_eq!(body.get("errors"), None);
    }

    #[tokio::test]
    async fn a_cause_is_for_the_log_only() {
        let why = || "row 7 is odd".to_owned();
        for (error, expected, someone_must_act) in [
            (ApiError::Internal(why()), 500, true),
            (ApiError::DatabaseOutOfOrder(why()), 503, true),
            (ApiError::DatabaseUnavailable(why()), 503, false),
        ] {
            let (status, body, response) = told(error).await;
            assert_eq!(status, expected);
            assert!(!body.to_string().contains("row 7"));
            let cause = response.extensions().get::<Cause>().unwrap();
            assert_eq!(
                (&cause.text, cause.someone_must_act),
                (&why(), someone_must_act)
            );
        }
    }

    #[test]
    fn what_the_store_says_is_told_apart() {
        use push_store::Unavailable;
        let told = |error: StoreError| ApiError::from(error);
        let away = StoreError::Unavailable(Unavailable::TimedOut);
        assert!(matches!(told(away), ApiError::DatabaseUnavailable(_)));
        let no_right = StoreError::Unavailable(Unavailable::OutOfOrder(1142));
        assert!(matches!(told(no_right), ApiError::DatabaseOutOfOrder(_)));
        let odd = StoreError::Refused(1264);
        assert!(matches!(told(odd), ApiError::Internal(_)));
    }

    #[tokio::test]
    async fn who_may_come_back_is_told_when() {
        for error in [
            ApiError::Overloaded,
            ApiError::TimedOut,
            ApiError::DatabaseUnavailable(String::new()),
        ] {
            let (status, _, response) = told(error).await;
            assert_eq!(status, 503);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
        }
        let (_, _, response) = told(ApiError::Unauthorized).await;
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn every_code_is_spelled_once() {
        let spelled: BTreeSet<String> = Code::ALL
            .iter()
            .map(|code| serde_json::to_string(code).unwrap())
            .collect();
        assert_eq!(spelled.len(), Code::ALL.len());
    }
}
