//! What a provider does with a request: answers it, or breaks the connection in one of several ways.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

/// A way to give no proper answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// The whole TCP connection is reset (RST), with every stream on it. Nothing was accepted.
    ConnectionReset,
    /// The request is read and never answered. Nothing was accepted.
    NoAnswer,
    /// The message is accepted (it shows on the phone), then the connection is reset.
    AcceptThenDrop,
    /// The message is accepted and never answered.
    AcceptThenHang,
    /// The ordinary answer, one byte at a time.
    SlowDrip,
    /// HTTP/2: this stream alone ends with `REFUSED_STREAM`, which promises that nothing was processed.
    /// HTTP/1.1: the connection closes.
    RefusedStream,
}

impl Transport {
    /// Whether the message reached the phone although no proper answer was given.
    pub(crate) fn accepts(self) -> bool {
        match self {
            Transport::AcceptThenDrop | Transport::AcceptThenHang | Transport::SlowDrip => true,
            Transport::ConnectionReset | Transport::NoAnswer | Transport::RefusedStream => false,
        }
    }
}

/// How a connection task is to treat one request.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Response<Body>),
    Reset,
    Hang,
    RefuseStream,
}

impl Reply {
    /// The end of a request that gets `transport` instead of `ordinary`.
    pub(crate) fn broken(
        transport: Transport,
        ordinary: impl FnOnce() -> Response<Body>,
        drip: Duration,
    ) -> Reply {
        match transport {
            Transport::ConnectionReset | Transport::AcceptThenDrop => Reply::Reset,
            Transport::NoAnswer | Transport::AcceptThenHang => Reply::Hang,
            Transport::RefusedStream => Reply::RefuseStream,
            Transport::SlowDrip => Reply::Answer(ordinary().map(|body| slowly(body, drip))),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    with_type(status, JSON, body)
}

pub(crate) fn html(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let html = HeaderValue::from_static("text/html; charset=UTF-8");
    with_type(status, html, body)
}

fn with_type(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The same body, a byte every `pause`.
fn slowly(body: Body, pause: Duration) -> Body {
    Body::from_stream(futures::stream::unfold(
        (Some(body), Bytes::new()),
        move |(body, mut rest)| async move {
            if let Some(body) = body {
                rest = axum::body::to_bytes(body, usize::MAX)
                    .await
                    .unwrap_or_default();
            }
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(pause).await;
            let byte = rest.split_to(1);
            Some((Ok::<_, Infallible>(byte), (None, rest)))
        },
    ))
}
