//! The header `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

/// No provider means more than that, and a number of years must not overflow anyone's clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the provider asks us to stay away; `None` when the header says nothing sensible.
/// A date in the past asks for no pause at all.
pub(crate) fn read(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number: longer than the longest, surely.
        value.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        until
            .duration_since(SystemTime::from(now))
            .unwrap_or(Duration::ZERO)
    };
    Some(asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_nonsense() {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:37Z")
            .unwrap()
            .to_utc();
        let cases = [
            ("0", Some(0)),
            ("1", Some(1)),
            (" 120 ", Some(120)),
            ("99999999999999999999999999", Some(86_400)),
            ("86401", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Fri, 31 Dec 2094 08:49:37 GMT", Some(86_400)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(
                read(value, now),
                seconds.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }
}
