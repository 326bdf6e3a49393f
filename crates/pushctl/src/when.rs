//! Times, as people give them and as they are shown: always UTC.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};

/// A point in time: named, or so long before or after now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Named.
    At(DateTime<Utc>),
    /// So far from now.
    Away(TimeDelta),
}

impl When {
    /// Reads RFC 3339, a day (its beginning in UTC), or a number with a unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(at.to_utc()));
        }
        if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        let away = with_unit(text).ok_or_else(|| {
            "not a time: give RFC 3339 (2026-01-31T08:00:00Z), a day (2026-01-31), or how long from now (90s, 15m, 2h, 3d, 1w)"
                .to_owned()
        })?;
        Ok(Self::Away(away))
    }

    /// As a past time, spelled as the API reads it.
    pub fn before(self, now: DateTime<Utc>) -> String {
        self.spelled(|away| now - away)
    }

    /// As a future time, spelled as the API reads it.
    pub fn after(self, now: DateTime<Utc>) -> String {
        self.spelled(|away| now + away)
    }

    fn spelled(self, from_now: impl FnOnce(TimeDelta) -> DateTime<Utc>) -> String {
        let at = match self {
            Self::At(at) => at,
            Self::Away(away) => from_now(away),
        };
        at.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// Reads a length of time: a number with a unit, or of seconds.
pub fn seconds(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let length = with_unit(text);
    length.map(|length| length.num_seconds()).ok_or_else(|| {
        "not a length of time: give seconds, or a number with a unit (90s, 15m, 2h, 3d, 1w)"
            .to_owned()
    })
}

/// At most a century: nothing that is added to a date leaves the calendar.
const UNITS_SECONDS_MAX: i64 = 100 * 366 * 86_400;

fn with_unit(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().next_back()?;
    let unit_seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = i64::from(count).checked_mul(unit_seconds)?;
    (seconds <= UNITS_SECONDS_MAX).then(|| TimeDelta::seconds(seconds))
}

/// In a table: to the second.
pub fn short(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// In a text: to the millisecond.
pub fn exact(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// How long something took or is ago, in its two greatest units.
pub fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-02T10:20:30.456Z".parse().unwrap()
    }

    #[test]
    fn a_time_is_named_or_so_far_from_now() {
        for (text, before) in [
            ("2026-01-31T08:00:00+01:00", "2026-01-31T07:00:00.000Z"),
            ("2026-01-31", "2026-01-31T00:00:00.000Z"),
            ("90s", "2026-03-02T10:19:00.456Z"),
            ("15m", "2026-03-02T10:05:30.456Z"),
            ("2h", "2026-03-02T08:20:30.456Z"),
            ("3d", "2026-02-27T10:20:30.456Z"),
            ("1w", "2026-02-23T10:20:30.456Z"),
        ] {
            assert_eq!(When::parse(text).unwrap().before(now()), before, "{text}");
        }
        let ahead = When::parse("2h").unwrap().after(now());
        assert_eq!(ahead, "2026-03-02T12:20:30.456Z");
    }

    #[test]
    fn what_is_no_time_is_told_and_nothing_panics() {
        for text in [
            "",
            "h",
            "2",
            "-2h",
            "2x",
            "2é",
            "yesterday",
            "2026-13-01",
            "4294967295w",
            "99999999999h",
        ] {
            assert!(When::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_is_of_seconds_or_has_a_unit() {
        for (text, expected) in [("60", 60), ("1h", 3_600), ("2d", 172_800), ("-5", -5)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "1y", "h1", "1.5h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_is_told_in_two_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (7_260, "2 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(short(now()), "2026-03-02 10:20:30");
        assert_eq!(exact(now()), "2026-03-02 10:20:30.456 UTC");
    }
}
