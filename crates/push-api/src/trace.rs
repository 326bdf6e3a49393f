//! W3C trace context: one trace from the caller's request through the queue to the provider.

use std::fmt;

use axum::http::HeaderMap;
use uuid::Uuid;

/// The header of the W3C recommendation "Trace Context".
pub const HEADER: &str = "traceparent";

/// The trace that a request belongs to, and our span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Joins the caller's trace with a span of our own, or begins a new trace.
    #[must_use]
    pub fn join(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        // More than one is as good as none.
        let only = given.next().filter(|_| given.next().is_none());
        let parent = only.and_then(|value| parse(value.to_str().ok()?));
        let span = Uuid::new_v4().as_u64_pair().0;
        let (trace, flags) = parent.unwrap_or_else(|| (Uuid::new_v4().as_u128(), SAMPLED));
        Self { trace, span, flags }
    }

    /// The trace's id, for logs.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display {
        let trace = self.trace;
        fmt::from_fn(move |f| write!(f, "{trace:032x}"))
    }
}

/// The header's value for whoever works on.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

/// The flag "sampled": a trace that begins here is recorded by whoever records.
const SAMPLED: u8 = 1;

/// The trace id and flags of a valid header. Later versions may be longer, and begin alike.
fn parse(text: &str) -> Option<(u128, u8)> {
    let mut parts = text.split('-');
    let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
    let (span, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
    let longer = parts.next().is_some();
    let valid = version != 0xff && trace != 0 && span != 0 && (version != 0 || !longer);
    valid.then_some((trace, u8::try_from(flags).ok()?))
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == length && text.bytes().all(lower);
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, axum::http::HeaderValue::from_static(line));
        }
        TraceContext::join(&headers).to_string()
    }

    #[test]
    fn a_valid_trace_is_joined_with_a_span_of_our_own() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let ours = joined(&[parent]);
        assert!(
            ours.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
            "{ours}"
        );
        assert!(
            ours.ends_with("-00") && ours != parent && parse(&ours).is_some(),
            "{ours}"
        );
        let newer = joined(&["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"]);
        assert!(
            newer.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
            "{newer}"
        );
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for lines in [
            &[][..],
            &["garbage"],
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &[
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ],
        ] {
            let ours = joined(lines);
            assert!(
                !ours.contains("0af7651916cd43dd8448eb211c80319c"),
                "{lines:?}"
            );
            assert!(parse(&ours).is_some(), "{ours}");
        }
    }
}
