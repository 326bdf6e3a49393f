//! What every answer of ours tells a browser: to make nothing of it but what it is.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

const ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
];
/// An answer is data: nothing in it may be loaded, run or framed. A page brings a policy of its own.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Adds these headers to an answer.
pub fn guard(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(POLICY);
}

/// The same as a layer.
pub(crate) async fn guarded(mut response: Response) -> Response {
    guard(response.headers_mut());
    response
}
