//! `Idempotency-Key`: a caller's own name for a request, under which it is carried out once.
//!
//! The store commits the key with the notification; here is read what the caller named, and what a repetition is
//! compared with: the endpoint, and the body as a JSON value.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName};
use push_store::IdempotencyKey;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ApiError, FieldProblem};
use crate::request::{self, BODY_BYTES_MAX};

/// The header, as documents spell it.
const HEADER: &str = "Idempotency-Key";
/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Room for any UUID, hash or composed key.
const KEY_BYTES_MAX: usize = 255;

/// The body of a request that its caller may name: a JSON object of at most so many bytes.
#[derive(Debug)]
pub struct Nameable<T, const BYTES_MAX: usize = BODY_BYTES_MAX> {
    /// The body.
    pub body: T,
    /// The request's name, if it has one.
    pub name: Option<RequestName>,
}

/// What a caller calls a request, and what it asks for.
#[derive(Debug)]
pub struct RequestName {
    key: String,
    endpoint: String,
    body: String,
}

impl RequestName {
    /// Names are each caller's own.
    #[must_use]
    pub fn of(&self, caller: &str) -> IdempotencyKey {
        IdempotencyKey::new(caller, &self.key, &self.endpoint, &self.body)
    }
}

impl<T, S, const BYTES_MAX: usize> FromRequest<S> for Nameable<T, BYTES_MAX>
where
    T: DeserializeOwned,
    S: Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let key = read_key(request.headers())?;
        let endpoint = request.uri().path().to_owned();
        let body = request::read_json(request, BYTES_MAX).await?;
        let name = key.map(|key| RequestName {
            key,
            endpoint,
            body: canonical(&body),
        });
        let body = request::typed(body)?;
        Ok(Self { body, name })
    }
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let wrong = |problem: &str| ApiError::InvalidInput(vec![FieldProblem::new(HEADER, problem)]);
    let mut lines = headers.get_all(HEADER).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(wrong("must be sent once"));
    }
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    let bytes = line.as_bytes();
    if !(1..=KEY_BYTES_MAX).contains(&bytes.len()) || !bytes.iter().all(printable) {
        return Err(wrong("must have 1 to 255 printable ASCII characters"));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// The one spelling of a JSON value: without spaces, the fields of objects in order.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in fields {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;
    use serde_json::{Map, json};

    use super::*;

    async fn named(key: &[u8], path: &str, body: &str) -> Result<Option<IdempotencyKey>, ApiError> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("idempotency-key", HeaderValue::from_bytes(key).unwrap())
            .body(Body::from(body.to_owned()))
            .unwrap();
        let read = Nameable::<Map<String, Value>>::from_request(request, &()).await?;
        Ok(read.name.map(|name| name.of("backend")))
    }

    async fn same(a: (&str, &str), b: (&str, &str)) -> bool {
        let (a, b) = (named(b"k", a.0, a.1).await, named(b"k", b.0, b.1).await);
        a.unwrap().unwrap() == b.unwrap().unwrap()
    }

    #[tokio::test]
    async fn bodies_are_compared_as_json_values_and_the_endpoint_belongs_to_them() {
        let first = ("/a", r#"{"id":1,"data":{"x":"é","y":[1,null]}}"#);
        for alike in [
            r#"{"data":{"y":[1,null],"x":"\u00e9"},"id":1}"#,
            " {\n \"id\" : 1 , \"data\": { \"x\": \"é\", \"y\": [ 1, null ] } }\n",
        ] {
            assert!(same(first, ("/a", alike)).await, "{alike}");
        }
        for other in [
            r#"{"id":2,"data":{"x":"é","y":[1,null]}}"#,
            r#"{"id":"1","data":{"x":"é","y":[1,null]}}"#,
            r#"{"id":1,"data":{"x":"é","y":[null,1]}}"#,
            r#"{"id":1,"data":{"x":"é","y":[1]}}"#,
            r#"{"id":1,"data":{"x":"É","y":[1,null]}}"#,
            r#"{"id":1,"data":{"x":"é","y":[1,null]},"unknown":1}"#,
            r#"{"id":1,"data":{"x":"é"},"y":[1,null]}"#,
        ] {
            assert!(!same(first, ("/a", other)).await, "{other}");
        }
        assert!(!same(first, ("/b", first.1)).await);
    }

    #[test]
    fn a_text_cannot_be_mistaken_for_what_is_around_it() {
        let (a, b) = (json!({"a": "1,\"b\":2"}), json!({"a": "1", "b": 2}));
        assert_ne!(canonical(&a), canonical(&b));
        assert_ne!(canonical(&json!([[], []])), canonical(&json!([[[]]])));
    }

    #[tokio::test]
    async fn a_key_is_printable_and_not_too_long() {
        let longest = "x".repeat(255);
        for good in [
            "k",
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
            "a b~!",
            "\"k\"",
            &longest,
        ] {
            assert!(
                named(good.as_bytes(), "/a", "{}").await.unwrap().is_some(),
                "{good}"
            );
        }
        let too_long = "x".repeat(256);
        for bad in [b"".as_slice(), b"a\tb", "é".as_bytes(), too_long.as_bytes()] {
            let told = named(bad, "/a", "{}").await.unwrap_err();
            let ApiError::InvalidInput(problems) = told else {
                panic!("{told}");
            };
            assert_eq!(problems[0].field, HEADER);
        }
        let mut twice = HeaderMap::new();
        twice.append(HEADER, HeaderValue::from_static("a"));
        assert_eq!(read_key(&twice).unwrap().as_deref(), Some("a"));
        twice.append(HEADER, HeaderValue::from_static("a"));
        assert!(read_key(&twice).is_err());
        assert_eq!(read_key(&HeaderMap::new()), Ok(None));
    }
}
