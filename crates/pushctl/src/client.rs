//! The HTTP API, as any client sees it.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::escape::escape;
use crate::failure::{Failure, Refusal};
use crate::settings::Common;

/// A connection that takes longer to open will not be a good one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer is a page of 200 notifications with all their content.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What stands before the path of every operation that needs a key.
const API: [&str; 2] = ["api", "Push"];

/// A client of one push-api.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    key: Option<HeaderValue>,
    patience: Duration,
}

/// An answer that was understood.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Value,
    /// The status.
    pub status: u16,
    /// The `Date` header.
    pub date: Option<DateTime<Utc>>,
    /// How long it took.
    pub took: Duration,
    url: String,
}

impl Answer {
    /// The body as what it should be.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.body).map_err(|error| Failure::Unreadable {
            url: self.url.clone(),
            status: self.status,
            what: format!(
                "what it says cannot be read ({error}): push-api and pushctl are of different versions, perhaps"
            ),
        })
    }
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(common: &Common, key: Option<SecretString>) -> Result<Self, Failure> {
        let key = key.map(|key| bearer(&key)).transpose()?;
        let http = builder(&common.url).build().map_err(|error| {
            Failure::Usage(format!(
                "the HTTP client cannot be set up: {}",
                cause(&error)
            ))
        })?;
        Ok(Self {
            http,
            url: common.url.clone(),
            key,
            patience: common.patience(),
        })
    }

    /// Where it asks.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// `GET` of what needs a key; the path begins after `/api/Push`.
    pub fn get(&self, path: &[&str]) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &[&str], body: &Value) -> Call<'_> {
        let call = self.call(Method::POST, path);
        Call {
            body: Some(body.clone()),
            ..call
        }
    }

    /// `DELETE`.
    pub fn delete(&self, path: &[&str]) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    fn call(&self, method: Method, path: &[&str]) -> Call<'_> {
        let path = API.iter().chain(path);
        Call::new(self, method, self.address(path), true)
    }

    /// `GET` of what anybody may ask.
    pub fn probe(&self, name: &str) -> Call<'_> {
        Call::new(self, Method::GET, self.address([name].iter()), false)
    }

    fn address<'s>(&self, path: impl Iterator<Item = &'s &'s str>) -> Url {
        let mut url = self.url.clone();
        // Only an address that cannot be a base has none, and such a one is refused at the start.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// - No redirects: push-api sends none, and the key must not follow one to a stranger.
/// - Over plain HTTP no certificates are read, so that there need not be any.
fn builder(url: &Url) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("pushctl/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        builder.tls_certs_only([])
    } else {
        builder
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Failure> {
    let value = format!("Bearer {}", key.expose_secret());
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| Failure::Usage("the API key cannot stand in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A call that is being put together.
#[must_use]
pub struct Call<'c> {
    client: &'c Client,
    method: Method,
    url: Url,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
    with_key: bool,
    waits: Duration,
}

impl<'c> Call<'c> {
    fn new(client: &'c Client, method: Method, url: Url, with_key: bool) -> Self {
        Self {
            client,
            method,
            url,
            body: None,
            headers: Vec::new(),
            with_key,
            waits: Duration::ZERO,
        }
    }

    /// With a parameter, if there is one.
    pub fn query(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            let value = value.to_string();
            self.url.query_pairs_mut().append_pair(name, &value);
        }
        self
    }

    /// With a header, if there is one.
    pub fn header(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        let value = value.map(|value| (name, value.to_string()));
        self.headers.extend(value);
        self
    }

    /// `Prefer: wait`: the answer may come so much later.
    pub fn wait(mut self, seconds: u32) -> Self {
        if seconds > 0 {
            self.waits = Duration::from_secs(seconds.into());
            self.headers.push(("prefer", format!("wait={seconds}")));
        }
        self
    }

    /// The answer, if it says yes.
    pub async fn answer(self) -> Result<Answer, Failure> {
        let answer = self.any_answer().await?;
        answer.map_err(|refusal| Failure::Refused(Box::new(refusal)))
    }

    /// The answer of push-api, whatever it says.
    pub async fn any_answer(self) -> Result<Result<Answer, Refusal>, Failure> {
        let url = told(&self.url);
        let started = Instant::now();
        let failed = |error: reqwest::Error| Failure::Unreachable {
            url: told(&self.client.url),
            why: why(&error),
        };
        let mut response = self.request()?.send().await.map_err(failed)?;
        let took = started.elapsed();
        let body = read(&mut response).await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers());
        let unreadable = |what| Failure::Unreadable {
            url: url.clone(),
            status: status.as_u16(),
            what,
        };
        let body: Value = serde_json::from_slice(&body)
            .map_err(|_| unreadable(not_json(headers, &self.client.url)))?;
        if status.is_success() {
            return Ok(Ok(Answer {
                body,
                status: status.as_u16(),
                date: date(headers),
                took,
                url,
            }));
        }
        if !status.is_client_error() && !status.is_server_error() {
            return Err(unreadable(not_json(headers, &self.client.url)));
        }
        Ok(Err(Refusal {
            status: status.as_u16(),
            body,
            retry_after: text(headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()),
            request_id: text(headers, "x-request-id"),
        }))
    }

    fn request(&self) -> Result<RequestBuilder, Failure> {
        let mut request = self
            .client
            .http
            .request(self.method.clone(), self.url.clone())
            .timeout(self.client.patience + self.waits);
        if self.with_key {
            let key = self.client.key.clone().ok_or(Failure::NoKey)?;
            request = request.header(AUTHORIZATION, key);
        }
        for (name, value) in &self.headers {
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| {
                Failure::Usage(format!(
                    "what is given for the header {name} cannot stand in one"
                ))
            })?;
            request = request.header(*name, value);
        }
        Ok(match &self.body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}

async fn read(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            // No answer of push-api is so long: what is there of it is no JSON.
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = httpdate::parse_http_date(&text(headers, DATE.as_str())?).ok()?;
    Some(date.into())
}

fn not_json(headers: &HeaderMap, url: &Url) -> String {
    let elsewhere = text(headers, LOCATION.as_str());
    match elsewhere {
        Some(elsewhere) => format!(
            "sends to {}: set PUSH_URL to where push-api really is",
            escape(&elsewhere)
        ),
        None => format!(
            "what it says is no answer of push-api: is {} the right address, and does a proxy before it work?",
            told(url)
        ),
    }
}

/// An address without its parameters: they may hold what is nobody's business.
fn told(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    escape(url.as_str().trim_end_matches('/'))
}

/// Why no answer came, in words.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        "no answer in time (--timeout)".to_owned()
    } else {
        cause(error)
    }
}

/// The innermost cause says it best.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    escape(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        drop(rustls::crypto::ring::default_provider().install_default());
        let common = Common {
            url: Url::parse(url).unwrap(),
            json: false,
            timeout: 5,
        };
        Client::new(&common, None).unwrap()
    }

    #[test]
    fn a_path_is_put_together_behind_the_address_and_cannot_leave_it() {
        let plain = client("http://127.0.0.1:8080");
        let url = |client: &Client, id: &str| client.get(&["preferences", id]).url.to_string();
        assert_eq!(
            url(&plain, "7"),
            "http://127.0.0.1:8080/api/Push/preferences/7"
        );
        assert_eq!(
            url(&plain, "../a?b#c"),
            "http://127.0.0.1:8080/api/Push/preferences/..%2Fa%3Fb%23c"
        );
        let behind = client("http://127.0.0.1:8080/push/");
        assert_eq!(
            url(&behind, "7"),
            "http://127.0.0.1:8080/push/api/Push/preferences/7"
        );
        assert_eq!(
            behind.probe("healthz").url.as_str(),
            "http://127.0.0.1:8080/push/healthz"
        );
    }

    #[test]
    fn only_parameters_that_are_given_are_sent() {
        let client = client("http://h");
        let call = client
            .get(&["history"])
            .query("status", Some("sent"))
            .query("reason", None::<&str>)
            .query("type", Some("a&b=c"));
        assert_eq!(
            call.url.as_str(),
            "http://h/api/Push/history?status=sent&type=a%26b%3Dc"
        );
        assert_eq!(told(&call.url), "http://h/api/Push/history");
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_cause_and_a_missing_key_before_that() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let client = client(&url);
        let failure = client.probe("healthz").answer().await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{failure}");
        assert!(failure.to_string().contains("refused"), "{failure}");
        let failure = client.get(&["history"]).answer().await.unwrap_err();
        assert!(matches!(failure, Failure::NoKey), "{failure}");
    }
}
