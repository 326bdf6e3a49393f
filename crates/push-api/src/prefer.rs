//! `Prefer: wait=N` (RFC 7240): how long a caller wants to wait for the outcome.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::outcomes::LAST_LOOK_MAX;

/// Longer than any provider's answer takes; a longer wish is clamped.
const WAIT_SECONDS_MAX: u64 = 30;

/// The time that it takes to answer, once the wait is over.
const ANSWER_MAX: Duration = LAST_LOOK_MAX.saturating_add(Duration::from_secs(1));

/// When the request at hand is given up. Whoever waits must answer before: what was accepted must not
/// be told as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEnds(pub Instant);

/// How long the caller wants to wait, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    seconds: Option<u64>,
    request_ends: Option<RequestEnds>,
}

impl Wait {
    /// How long to wait from now on: what the caller wishes, and the request has left.
    #[must_use]
    pub fn patience(self) -> Option<Duration> {
        let left = self.request_ends.map_or(Duration::MAX, |RequestEnds(at)| {
            at.saturating_duration_since(Instant::now() + ANSWER_MAX)
        });
        self.seconds
            .map(|seconds| Duration::from_secs(seconds).min(left))
    }

    /// The value of `Preference-Applied`, once it was.
    #[must_use]
    pub fn applied(self) -> Option<HeaderValue> {
        self.seconds
            .and_then(|seconds| HeaderValue::try_from(format!("wait={seconds}")).ok())
    }

    /// Reads the headers. What cannot be read is ignored, as the RFC wants it; of several the first
    /// counts.
    #[must_use]
    pub(crate) fn read(headers: &HeaderMap, request_ends: Option<RequestEnds>) -> Self {
        let lines = headers
            .get_all("prefer")
            .iter()
            .filter_map(|line| line.to_str().ok());
        let seconds = lines
            .flat_map(|line| line.split(','))
            .find_map(wait_seconds);
        Self {
            seconds,
            request_ends,
        }
    }
}

/// The seconds of one preference, such as `wait=10` or `wait="10"; foo`, clamped.
fn wait_seconds(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    let value = value.trim();
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let digits = unquoted.unwrap_or(value);
    if !name.trim().eq_ignore_ascii_case("wait") || digits.is_empty() {
        return None;
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only a number beyond all clocks does not fit.
    Some(digits.parse().unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX))
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let request_ends = parts.extensions.get().copied();
        Ok(Self::read(&parts.headers, request_ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_rfc_7240_has_it() {
        for (lines, seconds) in [
            (&["wait=10"][..], Some(10)),
            (&["Wait = \"10\""], Some(10)),
            (&["respond-async, wait=5"], Some(5)),
            (
                &["respond-async", "return=minimal, wait=7; foo=bar"],
                Some(7),
            ),
            (&["wait=0"], Some(0)),
            (&["wait=31"], Some(30)),
            (&["wait=99999999999999999999999"], Some(30)),
            (&["wait=4, wait=9"], Some(4)),
            (&["wait"], None),
            (&["wait="], None),
            (&["wait=-1"], None),
            (&["wait=+1"], None),
            (&["wait=1.5"], None),
            (&["wait=soon, wait=3"], Some(3)),
            (&["await=3"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            let wait = Wait::read(&headers, None);
            assert_eq!(wait.seconds, seconds, "{lines:?}");
            assert_eq!(wait.patience(), seconds.map(Duration::from_secs));
            let applied = seconds.map(|seconds| format!("wait={seconds}"));
            assert_eq!(
                wait.applied()
                    .map(|value| value.to_str().unwrap().to_owned()),
                applied
            );
        }
    }
}
