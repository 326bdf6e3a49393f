//! HTTP towards a provider: how clients are built, and an exchange in which everything is bounded.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::outcome::Pause;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url, redirect, retry};

use crate::error::SetupError;
use crate::retry_after;
use crate::transport::Failure;

/// A connection that takes longer to open will not be a good one.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an HTTP/2 connection may be silent while requests wait before it is asked whether it is
/// still there, and how long it may take to say so: a dead one would take every new request with it.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As it was in the header.
    pub(crate) retry_after: Option<String>,
    /// Cut at the limit; what is longer than that is no answer of a provider's anyway.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// How long to stay away: what the provider asks for, else what its documentation says.
    pub(crate) fn pause(&self, now: DateTime<Utc>, otherwise: Duration) -> Pause {
        let asked = self
            .retry_after
            .as_deref()
            .and_then(|value| retry_after::read(value, now));
        asked.map_or(Pause::AtLeast(otherwise), Pause::Asked)
    }
}

/// A client for one provider.
///
/// - No redirects: a provider sends none, and a message must not follow one to a stranger.
/// - No proxy from the environment: where requests go is said by the settings alone.
/// - No retries by reqwest: [`at_once`](crate::at_once) decides.
///
/// Over `https://` HTTP/2 is negotiated; `http://` speaks HTTP/1.1 with a pool of connections.
/// hyper bounds the headers (100 in HTTP/1.1, 16 KiB in HTTP/2).
pub(crate) fn client(request_timeout: Duration) -> Result<Client, SetupError> {
    build(builder(request_timeout))
}

/// The same for HTTP/2 without TLS, which is not negotiated: who is asked has to speak it.
pub(crate) fn h2c_client(request_timeout: Duration) -> Result<Client, SetupError> {
    build(builder(request_timeout).http2_prior_knowledge())
}

fn build(builder: ClientBuilder) -> Result<Client, SetupError> {
    builder
        .build()
        .map_err(|error| SetupError::HttpClient(error.without_url().to_string()))
}

pub(crate) fn builder(request_timeout: Duration) -> ClientBuilder {
    Client::builder()
        .timeout(request_timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(request_timeout))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .retry(retry::never())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_TIMEOUT)
}

/// Reads an address of ours, for a setting by that name.
pub(crate) fn address(text: &str, setting: &'static str) -> Result<Url, SetupError> {
    Url::parse(text)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        .ok_or(SetupError::Address { setting })
}

/// Sends a request and reads the whole answer, or as much of it as there may be.
pub(crate) async fn exchange(
    request: RequestBuilder,
    body_bytes_max: usize,
) -> Result<Answer, Failure> {
    let response = request.send().await.map_err(|error| Failure::of(&error))?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    match read(response, body_bytes_max).await {
        Ok(body) => Ok(Answer {
            status: status.as_u16(),
            retry_after,
            body,
        }),
        // Here the status alone decides; the rest of the answer is not needed.
        Err(_) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Ok(Answer {
                status: status.as_u16(),
                retry_after,
                body: Vec::new(),
            })
        }
        Err(error) => Err(broken_off(status, &error)),
    }
}

async fn read(mut response: Response, body_bytes_max: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < body_bytes_max {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        body.extend_from_slice(&chunk[..chunk.len().min(body_bytes_max - body.len())]);
    }
    Ok(body)
}

/// The status came, the body did not, so the reason stays unknown: a refusal is still a refusal.
fn broken_off(status: StatusCode, error: &reqwest::Error) -> Failure {
    let (code, text) = if error.is_timeout() {
        ("timeout", "The answer began, but did not end in time.")
    } else {
        ("answer_broken_off", "The answer broke off.")
    };
    if status.is_client_error() {
        Failure::not_sent(code, text)
    } else {
        Failure::maybe_sent(code, text)
    }
}
