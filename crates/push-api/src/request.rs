//! Reading requests: a body is JSON or not, and every problem of its fields is told at once.
//!
//! A body struct has a [`Field`] for each field; reading it never fails on a wrong type. What the
//! struct's fields must be is then checked with a [`Problems`], which keeps all complaints.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, FieldProblem};
use crate::state::AppState;

/// The largest body of a single request: 16 times what a push can hold.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The largest body of a batch.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bodies of batches in work at a time: 32 of the largest. Read and parsed, one takes several times its size.
const BATCHES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_READ_MAX: Duration = Duration::from_secs(10);

/// A field of a JSON object, whatever is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not there, or `null`.
    #[default]
    Missing,
    /// Of another JSON type.
    Wrong,
    /// As it must be.
    Given(T),
}

impl<T: FromJson> Field<T> {
    /// What a value is as a field.
    pub fn from_value(value: Value) -> Self {
        if value.is_null() {
            return Self::Missing;
        }
        T::from_json(value).map_or(Self::Wrong, Self::Given)
    }
}

impl<T> Field<T> {
    /// The value, if it has the right type.
    pub const fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Missing | Self::Wrong => None,
        }
    }
}

/// A type that a JSON value can have.
pub trait FromJson: Sized {
    /// What a value of another type is told that it must be.
    const KIND: &'static str;

    /// The value, if it has this type.
    fn from_json(value: Value) -> Option<Self>;
}

impl FromJson for i64 {
    const KIND: &'static str = "must be an integer";

    fn from_json(value: Value) -> Option<Self> {
        value.as_i64()
    }
}

impl FromJson for bool {
    const KIND: &'static str = "must be true or false";

    fn from_json(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromJson for String {
    const KIND: &'static str = "must be a string";

    fn from_json(value: Value) -> Option<Self> {
        if let Value::String(text) = value {
            Some(text)
        } else {
            None
        }
    }
}

impl FromJson for Vec<Value> {
    const KIND: &'static str = "must be an array";

    fn from_json(value: Value) -> Option<Self> {
        if let Value::Array(items) = value {
            Some(items)
        } else {
            None
        }
    }
}

/// An id that some callers count and others write: a string, or an integer in digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(pub String);

impl FromJson for Id {
    const KIND: &'static str = "must be a string or an integer";

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self(text)),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                Some(Self(number.to_string()))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }
}

impl FromJson for Map<String, Value> {
    const KIND: &'static str = "must be an object";

    fn from_json(value: Value) -> Option<Self> {
        if let Value::Object(object) = value {
            Some(object)
        } else {
            None
        }
    }
}

impl<'de, T: FromJson> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from_value)
    }
}

/// Everything that is wrong with a request's fields.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldProblem>);

impl Problems {
    /// Notes a problem, in words that complete "`field` …".
    pub fn note(&mut self, field: impl Into<String>, message: impl Display) {
        self.0.push(FieldProblem::new(field, message));
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong with this field.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|problem| problem.field == field)
    }

    /// A field that must be there. `None` means that a problem was noted.
    pub fn required<T: FromJson, U, E: Display>(
        &mut self,
        name: &'static str,
        field: Field<T>,
        parse: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        if matches!(field, Field::Missing) {
            self.note(name, "is required");
        }
        self.optional(name, field, parse)
    }

    /// A field that may be missing. `None` means that it is, or that a problem was noted.
    pub fn optional<T: FromJson, U, E: Display>(
        &mut self,
        name: &'static str,
        field: Field<T>,
        parse: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        match field {
            Field::Missing => None,
            Field::Wrong => {
                self.note(name, T::KIND);
                None
            }
            Field::Given(value) => parse(value)
                .map_err(|problem| self.note(name, problem))
                .ok(),
        }
    }

    /// What was built of the fields, unless something is wrong with any of them. `built` is `None`
    /// only when a problem was noted.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] with all problems.
    pub fn finish<T>(self, built: Option<T>) -> Result<T, ApiError> {
        self.check(built).map_err(ApiError::InvalidInput)
    }

    /// The same, for a part of a request.
    ///
    /// # Errors
    /// All problems.
    pub fn check<T>(self, built: Option<T>) -> Result<T, Vec<FieldProblem>> {
        match built {
            Some(built) if self.0.is_empty() => Ok(built),
            Some(_) | None => Err(self.0),
        }
    }
}

/// The body of a request: a JSON object of at most [`BODY_BYTES_MAX`]. Fields that `T` does not know
/// are ignored.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        typed(read_json(request, BODY_BYTES_MAX).await?).map(Self)
    }
}

/// A body that may be missing.
#[derive(Debug)]
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let declared = request.headers().contains_key(header::CONTENT_TYPE);
        if !declared && request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, state)
            .await
            .map(|JsonBody(body)| Self(body))
    }
}

/// Room in memory for the bodies of batches; clones share it.
#[derive(Clone, Debug)]
pub struct BatchRoom(Arc<Semaphore>);

impl Default for BatchRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BATCHES_BYTES_MAX / KIB)))
    }
}

/// The semaphore counts in KiB.
const KIB: usize = 1024;

/// A batch's share of the room, from before its body is read until it is answered.
#[derive(Debug)]
pub struct BatchPlace {
    _permit: OwnedSemaphorePermit,
}

impl FromRequestParts<AppState> for BatchPlace {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let permit = state.batch_room.take(&parts.headers)?;
        Ok(Self { _permit: permit })
    }
}

impl BatchRoom {
    /// As much as the body will take, as far as that is declared.
    fn take(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, ApiError> {
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes = declared.unwrap_or(BATCH_BYTES_MAX).min(BATCH_BYTES_MAX);
        let places = u32::try_from(bytes / KIB + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0);
        room.try_acquire_many_owned(places)
            .map_err(|_| ApiError::Overloaded)
    }
}

/// The body as a JSON object, whatever is in it.
///
/// # Errors
/// When it is none, too large or too slow.
pub async fn read_json(request: Request, bytes_max: usize) -> Result<Value, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let reading = read(request.into_body(), bytes_max);
    let bytes = tokio::time::timeout(BODY_READ_MAX, reading)
        .await
        .map_err(|_| ApiError::BodyTimeout(BODY_READ_MAX))??;
    parse(&bytes)
}

/// `application/json`, or a type that is JSON by its suffix (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        let media_type = given
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let subtype = media_type.strip_prefix("application/");
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    })
}

async fn read(body: Body, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::MalformedJson("broke off".to_owned()))?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(ApiError::BodyTooLarge { bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Levels of arrays and objects in a body: several times what any endpoint reads.
const DEPTH_MAX: usize = 32;

/// Whether arrays and objects are nested too deeply. Looks at the bytes only: what is not JSON is told by the parser.
fn is_too_deep(bytes: &[u8]) -> bool {
    let begin = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{'));
    // Few bodies have so many at all, and need a closer look.
    begin.count() > DEPTH_MAX && is_nested_too_deeply(bytes)
}

fn is_nested_too_deeply(bytes: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// The same, of bytes that are there.
///
/// # Errors
/// When they are no JSON object.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if is_too_deep(bytes) {
        let problem = format!("is nested too deeply: more than {DEPTH_MAX} levels");
        return Err(ApiError::MalformedJson(problem));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        // The place only: the library's text may quote the body.
        let (line, column) = (error.line(), error.column());
        ApiError::MalformedJson(format!("is not JSON: see line {line}, column {column}"))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::MalformedJson(
            "is JSON, but not an object".to_owned(),
        ))
    }
}

/// An object as the type of a request, whose [`Field`]s take whatever is in it.
///
/// # Errors
/// [`ApiError::Internal`] when the type has other fields than those.
pub fn typed<T: DeserializeOwned>(object: Value) -> Result<T, ApiError> {
    serde_json::from_value(object)
        .map_err(|_| ApiError::Internal("a request type refuses an object".to_owned()))
}

/// What is always sent at once has no time of its own: whoever gives one must not find it sent already.
pub fn at_once(problems: &mut Problems, send_at: Field<String>) {
    if send_at != Field::Missing {
        problems.note("sendAt", "cannot be given here: this is sent at once");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Sample {
        id: Field<i64>,
        name: Field<String>,
        data: Field<Map<String, Value>>,
    }

    fn sample(body: &Value) -> Sample {
        parse(body.to_string().as_bytes()).and_then(typed).unwrap()
    }

    async fn received(
        content_type: Option<&'static str>,
        body: impl Into<Body>,
    ) -> Result<Sample, ApiError> {
        let mut request = Request::new(body.into());
        if let Some(content_type) = content_type {
            let value = axum::http::HeaderValue::from_static(content_type);
            request.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        JsonBody::from_request(request, &())
            .await
            .map(|JsonBody(sample)| sample)
    }

    #[test]
    fn a_field_is_missing_wrong_or_given() {
        let Sample { id, name, data } = sample(&json!({"id": "1", "name": null, "more": []}));
        assert_eq!(
            (id, name, data),
            (Field::Wrong, Field::Missing, Field::Missing)
        );
        let Sample { id, name, data } = sample(&json!({"id": 1, "name": "x", "data": {}}));
        assert_eq!(id, Field::Given(1));
        assert_eq!(name, Field::Given("x".to_owned()));
        assert_eq!(data, Field::Given(Map::new()));
        for (id, wrong) in [
            (json!(1.5), true),
            (json!(u64::MAX), true),
            (json!(i64::MIN), false),
        ] {
            assert_eq!(sample(&json!({"id": id})).id == Field::Wrong, wrong, "{id}");
        }
    }

    #[test]
    fn all_problems_are_told_together() {
        let Sample { id, name, data } = sample(&json!({"name": 5, "data": {}}));
        let mut problems = Problems::default();
        let id = problems.required("id", id, Ok::<_, String>);
        let name = problems.optional("name", name, Ok::<_, String>);
        let data = problems.optional("data", data, |_| Err::<(), _>("is empty"));
        let told = problems.finish(Some((id, name, data))).unwrap_err();
        let problem = |field: &str, message: &str| FieldProblem::new(field, message);
        assert_eq!(
            told,
            ApiError::InvalidInput(vec![
                problem("id", "is required"),
                problem("name", "must be a string"),
                problem("data", "is empty"),
            ])
        );
    }

    #[tokio::test]
    async fn only_json_is_read() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/a.b+json",
        ] {
            assert!(received(Some(good), "{}").await.is_ok(), "{good}");
        }
        for bad in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some(""),
        ] {
            let told = received(bad, "{}").await.unwrap_err();
            assert_eq!(told, ApiError::UnsupportedMediaType, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn malformed_json_is_told_by_its_place_only() {
        let deep = "[".repeat(100_000 / 2);
        for body in [
            "",
            "{",
            "{\"id\": s3cret}",
            "{\"id\":1}s3cret",
            "\"s3cret\"",
            "[1]",
            "null",
            &deep,
        ] {
            let told = received(Some("application/json"), body.to_owned())
                .await
                .unwrap_err();
            assert!(matches!(told, ApiError::MalformedJson(_)), "{body} {told}");
            assert!(!told.to_string().contains("s3cret"), "{told}");
        }
        let told = received(Some("application/json"), &b"{\"a\":\"\xff\"}"[..])
            .await
            .unwrap_err();
        assert!(matches!(told, ApiError::MalformedJson(_)), "{told}");
    }

    #[test]
    fn the_depth_limit_holds_at_the_limit() {
        let nested = |levels: usize| {
            let inner = levels - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        let told = parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(told.to_string().contains("nested too deeply"), "{told}");
        // What stands in a text is no level, and what was closed is none any more.
        let brackets = "[".repeat(100);
        for shallow in [
            format!("{{\"a\":\"{brackets}\"}}"),
            format!("{{\"a\":\"\\\"{brackets}\\\\\",\"b\":\"{brackets}\"}}"),
            format!("{{\"a\":[{}]}}", vec!["[[]]"; 100].join(",")),
        ] {
            assert!(parse(shallow.as_bytes()).is_ok(), "{shallow}");
        }
    }

    #[tokio::test]
    async fn the_size_limit_holds_at_the_limit() {
        let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
        let json = Some("application/json");
        assert!(received(json, body(BODY_BYTES_MAX)).await.is_ok());
        for length in [BODY_BYTES_MAX + 1, 100 * BODY_BYTES_MAX] {
            let told = received(json, body(length)).await.unwrap_err();
            assert_eq!(
                told,
                ApiError::BodyTooLarge {
                    bytes_max: BODY_BYTES_MAX
                }
            );
        }
    }

    #[test]
    fn batches_have_room_for_so_many_bytes_together() {
        let room = BatchRoom::default();
        let take = |length: Option<&'static str>| {
            let length = length.map(axum::http::HeaderValue::from_static);
            let headers = length.map(|length| (header::CONTENT_LENGTH, length));
            room.take(&headers.into_iter().collect())
        };
        let largest = BATCHES_BYTES_MAX / BATCH_BYTES_MAX - 1;
        let mut taken: Vec<_> = (0..largest).map(|_| take(None).unwrap()).collect();
        assert_eq!(take(Some("99999999")).unwrap_err(), ApiError::Overloaded);
        taken.extend((0..100).map(|_| take(Some("1000")).unwrap()));
        taken.clear();
        assert!(take(Some("99999999")).is_ok());
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_read_to_its_end() {
        let chunk = Bytes::from(vec![b' '; 256 * 1024]);
        let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        let told = received(Some("application/json"), Body::from_stream(endless))
            .await
            .unwrap_err();
        assert!(matches!(told, ApiError::BodyTooLarge { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let told = received(Some("application/json"), Body::from_stream(silent))
            .await
            .unwrap_err();
        assert_eq!(told, ApiError::BodyTimeout(BODY_READ_MAX));
    }
}
