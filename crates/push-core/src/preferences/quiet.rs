//! Quiet hours: from one time on the customer's clock to another one, every day.
//!
//! They hold whenever that clock shows a time between the two. Where it is set back, it shows some times twice: then they
//! begin with the first of two and end with the last, so that they are never broken off in between. Where it is set
//! forward, it leaves some times out: then they begin or end at that moment.

use std::fmt;

use chrono::{
    DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

use crate::notification::Invalid;

/// A minute of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(NaiveTime);

impl TimeOfDay {
    /// Reads `HH:MM`, from `00:00` to `23:59`.
    ///
    /// # Errors
    /// [`Invalid`] when it is something else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let digits = |text: &str| {
            let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<u32>().ok()).flatten()
        };
        let read = text.split_once(':').and_then(|(hours, minutes)| {
            NaiveTime::from_hms_opt(digits(hours)?, digits(minutes)?, 0)
        });
        read.map(Self)
            .ok_or_else(|| Invalid("must be a time from 00:00 to 23:59, as HH:MM".to_owned()))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

/// Reads the name of a time zone.
///
/// # Errors
/// [`Invalid`] when the IANA database has no such zone.
pub fn zone(name: &str) -> Result<Tz, Invalid> {
    name.parse().map_err(|_| {
        Invalid("must be the IANA name of a time zone, such as Europe/Berlin or UTC".to_owned())
    })
}

/// When only what is urgent is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    start: TimeOfDay,
    end: TimeOfDay,
    zone: Tz,
}

/// More than any clock was ever set by: Samoa left a whole day out.
const MINUTES_LEFT_OUT_MAX: i64 = 25 * 60;

impl QuietHours {
    /// From `start` to `end`, which may be on the next day.
    ///
    /// # Errors
    /// [`Invalid`] when both are the same.
    pub fn new(start: TimeOfDay, end: TimeOfDay, zone: Tz) -> Result<Self, Invalid> {
        if start == end {
            return Err(Invalid(
                "must differ from start; pushEnabled switches everything off".to_owned(),
            ));
        }
        Ok(Self { start, end, zone })
    }

    /// When they begin.
    #[must_use]
    pub const fn start(&self) -> TimeOfDay {
        self.start
    }

    /// When they end.
    #[must_use]
    pub const fn end(&self) -> TimeOfDay {
        self.end
    }

    /// Whose clock it is.
    #[must_use]
    pub const fn zone(&self) -> Tz {
        self.zone
    }

    /// The end of the quiet hours in which `now` is; `None`: it is in none.
    #[must_use]
    pub fn end_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut end = self.end_of_those_at(now)?;
        // Around a change of the clock those of one day may end in those of the next.
        while let Some(later) = self.end_of_those_at(end).filter(|later| *later > end) {
            end = later;
        }
        Some(end)
    }

    /// The end of those of a single day.
    fn end_of_those_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A clock that is set back over midnight has shown the next day before.
        let tomorrow = now.with_timezone(&self.zone).date_naive() + Days::new(1);
        let days = (0..4).map(|back| tomorrow - Days::new(back));
        let holding = days.filter_map(|day| {
            let (start, end) = self.of(day)?;
            (start <= now && now < end).then_some(end)
        });
        holding.max()
    }

    /// Those that begin on a day.
    fn of(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let over_midnight = self.end < self.start;
        let last_day = day + Days::new(u64::from(over_midnight));
        let start = self.moment(day.and_time(self.start.0), Twice::First)?;
        let end = self.moment(last_day.and_time(self.end.0), Twice::Last)?;
        Some((start, end))
    }

    /// When the clock shows `time`, or was set forward over it.
    fn moment(&self, time: NaiveDateTime, twice: Twice) -> Option<DateTime<Utc>> {
        let minutes = (0..=MINUTES_LEFT_OUT_MAX).map(TimeDelta::minutes);
        let mut shown = minutes.filter_map(|later| {
            let shown = self.zone.from_local_datetime(&(time + later));
            match twice {
                Twice::First => shown.earliest(),
                Twice::Last => shown.latest(),
            }
        });
        shown.next().map(|moment| moment.with_timezone(&Utc))
    }
}

/// Which of two moments at which a clock shows the same.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Last,
}

#[cfg(test)]
mod tests;
