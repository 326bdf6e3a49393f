//! Times as callers write them.

use chrono::{DateTime, Datelike as _, NaiveTime, SubsecRound as _, Timelike as _, Utc};

use crate::notification::Invalid;

/// Reads a time of RFC 3339, as precise as the database keeps it. A leap second, which columns do not know, is the last
/// millisecond before it.
///
/// # Errors
/// [`Invalid`] for anything else, and outside of the years 1970 to 9999.
pub fn parse(text: &str) -> Result<DateTime<Utc>, Invalid> {
    let wrong = || {
        Invalid(
            "must be a time of RFC 3339 from 1970 on, such as 2026-01-02T03:04:05.678Z".to_owned(),
        )
    };
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
    let time = time.to_utc().trunc_subsecs(3);
    if !(1970..=9999).contains(&time.year()) {
        return Err(wrong());
    }
    if time.nanosecond() < 1_000_000_000 {
        return Ok(time);
    }
    let clock = NaiveTime::from_hms_milli_opt(time.hour(), time.minute(), time.second(), 999);
    let last = clock.and_then(|clock| time.with_time(clock).single());
    last.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_can_be_kept() {
        for (text, read) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05.6789Z", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05+05:30", "2026-01-01T21:34:05.000Z"),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59.999Z"),
            ("2026-12-31T23:59:60.5Z", "2026-12-31T23:59:59.999Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ] {
            let at = parse(text).unwrap();
            let told = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            assert_eq!(told, read, "{text}");
        }
        for wrong in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "-262143-01-01T00:00:00Z",
            "+262142-12-31T20:00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
