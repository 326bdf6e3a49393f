//! Around every request: its id, its span, one log line, one measurement.
//!
//! No body, no token and no query enters a log line (P7); the path is told by its template.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use push_core::id::NotificationId;
use push_core::trace::{TRACE_PARENT, TraceContext};
use push_runtime::guarded::guard;
use push_trace::{Description, Span, SpanKind};
use uuid::Uuid;

use crate::error::Cause;
use crate::metrics;

/// The header that names a request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one of a caller is replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a handler found out about its request, for the log line.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Findings>);

#[derive(Debug, Default)]
struct Findings {
    caller: OnceLock<Arc<str>>,
    notification: OnceLock<NotificationId>,
}

impl Seen {
    /// Those of the request at hand.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Whose request it is.
    pub fn caller(&self, name: &Arc<str>) {
        let _known = self.0.caller.set(Arc::clone(name));
    }

    /// Which notification it is about.
    pub fn notification(&self, id: NotificationId) {
        let _known = self.0.notification.set(id);
    }
}

/// Lets `answer` answer a request, and tells of it.
pub async fn observe<F>(mut request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let span = Span::of_request(trace_parent(request.headers()));
    let request_id = request_id(request.headers());
    let seen = Seen::default();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut unanswered = Unanswered {
        span,
        method: method.clone(),
        route: matched
            .clone()
            .filter(|route| route.as_str().starts_with("/api/")),
    };
    request.extensions_mut().insert(seen.clone());
    request.extensions_mut().insert(span.context());

    let mut response = answer(request).await;

    unanswered.route = None;
    response
        .headers_mut()
        .insert(REQUEST_ID, request_id.clone());
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(no_store);
    guard(response.headers_mut());
    let cause = response.extensions_mut().remove::<Cause>();
    let line = Line {
        method,
        route: matched.as_ref().map_or("unmatched", MatchedPath::as_str),
        status: response.status(),
        duration: span.elapsed(),
        request_id: &request_id,
        trace: span.context(),
        seen: &seen.0,
        cause,
    };
    metrics::answered(&line.method, line.route, line.status, line.duration);
    line.write();
    // What was refused unseen has no caller, and nothing was done within it.
    if !line.is_quiet() || line.seen.caller.get().is_some() {
        line.describe(&span);
    }
    response
}

/// A request whose caller may be gone before it is answered: what was done for it goes on, and belongs to its span.
struct Unanswered {
    span: Span,
    method: Method,
    /// `None`: it is answered, or nobody wants to know.
    route: Option<MatchedPath>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Some(route) = self.route.take().filter(|_| self.span.is_recorded()) else {
            return;
        };
        end_request(&self.span, &self.method, route.as_str(), |about| {
            about.failed("caller_gone");
        });
    }
}

/// By OpenTelemetry's names ("Semantic conventions for HTTP spans"). Only if it is recorded: its name is made for that.
fn end_request(span: &Span, method: &Method, route: &str, outcome: impl FnOnce(&mut Description)) {
    let method = metrics::known(method);
    span.end(SpanKind::Server, format!("{method} {route}"), |about| {
        about.set("http.request.method", method.to_owned());
        about.set("http.route", route.to_owned());
        outcome(about);
    });
}

/// The caller's span. More than one is as good as none.
fn trace_parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACE_PARENT).iter();
    let only = given.next().filter(|_| given.next().is_none())?;
    TraceContext::parse(only.to_str().ok()?)
}

/// The caller's id if it is fit for a log line, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = headers.get(REQUEST_ID).filter(fit).cloned();
    given.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let id = Uuid::new_v4();
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut text))
            .unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

/// The log line of a request.
struct Line<'a> {
    method: Method,
    route: &'a str,
    status: StatusCode,
    duration: std::time::Duration,
    request_id: &'a HeaderValue,
    trace: TraceContext,
    seen: &'a Findings,
    cause: Option<Cause>,
}

impl Line<'_> {
    /// Probes are asked every few seconds, and a flood of what is refused unseen must not fill a disk.
    fn is_quiet(&self) -> bool {
        !self.route.starts_with("/api/") || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The request's span.
    fn describe(&self, span: &Span) {
        if !span.is_recorded() {
            return;
        }
        end_request(span, &self.method, self.route, |about| {
            about.set("http.response.status_code", i64::from(self.status.as_u16()));
            if let Some(id) = self.seen.notification.get() {
                about.set("push.notification.id", id.to_string());
            }
            if self.status.is_server_error() {
                about.failed(self.status.as_str().to_owned());
            }
        });
    }

    /// What is quiet is told at `debug`, and counted. An error is only what someone must
    /// act on: a fault of ours, or a database that is there and not fit for us.
    fn write(&self) {
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    http.method = metrics::known(&self.method),
                    http.route = self.route,
                    http.status = self.status.as_u16(),
                    duration_us = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
                    request.id = self.request_id.to_str().unwrap_or_default(),
                    trace.id = %self.trace.trace_id(),
                    caller = self.seen.caller.get().map(AsRef::<str>::as_ref),
                    notification.id = self.seen.notification.get().map(tracing::field::display),
                    error = self.cause.as_ref().map(|cause| cause.text.as_str()),
                    "request"
                )
            };
        }
        let someone_must_act = self
            .cause
            .as_ref()
            .is_some_and(|cause| cause.someone_must_act);
        if someone_must_act || self.status == StatusCode::INTERNAL_SERVER_ERROR {
            event!(error);
        } else if self.is_quiet() {
            event!(debug);
        } else {
            event!(info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered_id(given: &[u8]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        request_id(&headers)
    }

    #[test]
    fn two_parents_are_none() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        assert_eq!(trace_parent(&headers), None);
        headers.append(TRACE_PARENT, HeaderValue::from_static(parent));
        assert_eq!(trace_parent(&headers), TraceContext::parse(parent));
        headers.append(TRACE_PARENT, HeaderValue::from_static(parent));
        assert_eq!(trace_parent(&headers), None);
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        for sane in [
            "a",
            "0af7651916cd43dd8448eb211c80319c",
            "svc/7:12+x=",
            &"x".repeat(128),
        ] {
            assert_eq!(answered_id(sane.as_bytes()), sane);
        }
        for odd in ["", "two words", "\u{e9}", &"x".repeat(129)] {
            let id = answered_id(odd.as_bytes());
            assert!(
                Uuid::parse_str(id.to_str().unwrap()).is_ok(),
                "{odd:?} {id:?}"
            );
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
