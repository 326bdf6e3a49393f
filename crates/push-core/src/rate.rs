//! How much of something is allowed in which time: so many at once, and then one each time as much has come back.
//!
//! Of a budget one thing is kept: how long it takes until it is full again (GCRA, the bookkeeping of a leaky bucket in one
//! number). Whoever asks for one pushes that further out, and is refused when it would be further than a whole period.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::ladder::RetryDelay;

/// So many in such a time: `30/1m`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    period: RetryDelay,
}

/// What a budget says to whoever asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One is taken: after so long the budget is full again.
    FullIn(Duration),
    /// Nothing is left, and nothing was taken: after so long there is one.
    NotFor(Duration),
}

impl Rate {
    /// More is no limit.
    pub const COUNT_MAX: u32 = 1_000_000;

    /// One a minute.
    pub const MINUTELY: Self = Self {
        count: NonZeroU32::MIN,
        period: RetryDelay::MINUTE,
    };

    /// Reads `30/1m`.
    ///
    /// # Errors
    /// Another form, or a count above [`Self::COUNT_MAX`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("is {text:?}; write how many in which time, such as 30/1m or 600/10s");
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count: NonZeroU32 = count.parse().map_err(|_| wrong())?;
        if !digits || count.get() > Self::COUNT_MAX {
            return Err(wrong());
        }
        let period = RetryDelay::parse(period).map_err(|_| wrong())?;
        Ok(Self { count, period })
    }

    /// Reads `30/1m`, or `off` for no limit.
    ///
    /// # Errors
    /// Another form.
    pub fn parse_or_off(text: &str) -> Result<Option<Self>, String> {
        if text == "off" {
            return Ok(None);
        }
        let wrong = |problem| format!("{problem}, or off");
        Self::parse(text).map(Some).map_err(wrong)
    }

    /// How many at once.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count.get()
    }

    /// In which time as many come back.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.period.as_duration()
    }

    /// After how long one has come back. Rounded up to the microsecond: never more than allowed.
    fn interval(self) -> Duration {
        let micros = self.period().as_micros().div_ceil(self.count().into());
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Takes one of a budget that is full again in `full_in`.
    #[must_use]
    pub fn take(self, full_in: Duration) -> Taken {
        let all = self.interval() * self.count();
        let taken = full_in.saturating_add(self.interval());
        match taken.checked_sub(all) {
            None | Some(Duration::ZERO) => Taken::FullIn(taken),
            Some(too_much) => Taken::NotFor(too_much),
        }
    }

    /// When a budget is full of which there is one again `after` so long, and nothing until then.
    #[must_use]
    pub fn full_in_when_one_comes(self, after: Duration) -> Duration {
        (self.interval() * (self.count() - 1)).saturating_add(after)
    }

    /// How many are left of a budget that is full again in `full_in`.
    #[must_use]
    pub fn left(self, full_in: Duration) -> u32 {
        let gone = full_in.as_micros().div_ceil(self.interval().as_micros());
        self.count()
            .saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    #[test]
    fn a_rate_is_a_count_and_a_time() {
        for (text, count, period) in [
            ("30/1m", 30, 60_000),
            ("1/200ms", 1, 200),
            ("1000000/24h", 1_000_000, 86_400_000),
        ] {
            let read = rate(text);
            assert_eq!(read.count(), count);
            assert_eq!(read.period().as_millis(), period);
            assert_eq!(read.to_string(), text);
        }
        for wrong in [
            "",
            "30",
            "/1m",
            "30/",
            "0/1m",
            "-1/1m",
            "+1/1m",
            "1000001/1m",
            "30/m",
            "30/25h",
            "30/0s",
            "30 / 1m",
            "off",
        ] {
            assert!(Rate::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Rate::parse_or_off("off"), Ok(None));
        assert_eq!(Rate::parse_or_off("30/1m"), Ok(Some(rate("30/1m"))));
        assert!(Rate::parse_or_off("on").is_err());
    }

    /// How many of `asked` at one moment get through, and what the last one is told.
    fn at_once(rate: Rate, mut full_in: Duration, asked: u32) -> (u32, Duration, Taken) {
        let (mut through, mut told) = (0, Taken::NotFor(Duration::MAX));
        for _ in 0..asked {
            told = rate.take(full_in);
            if let Taken::FullIn(then) = told {
                full_in = then;
                through += 1;
            }
        }
        (through, full_in, told)
    }

    #[test]
    fn so_many_pass_at_once_and_then_one_each_time_one_has_come_back() {
        let half_an_hour = rate("30/1m");
        let (through, full_in, told) = at_once(half_an_hour, Duration::ZERO, 120);
        assert_eq!((through, full_in), (30, Duration::from_secs(60)));
        assert_eq!(told, Taken::NotFor(Duration::from_secs(2)));
        assert_eq!(half_an_hour.left(full_in), 0);
        let again = half_an_hour.full_in_when_one_comes(Duration::from_secs(2));
        assert_eq!(again, full_in);
        for (passed, through_then) in [(0, 0), (1_999, 0), (2_000, 1), (5_000, 2), (60_000, 30)] {
            let full_in = full_in.saturating_sub(Duration::from_millis(passed));
            let (through, _, _) = at_once(half_an_hour, full_in, 120);
            assert_eq!(through, through_then, "after {passed} ms");
            assert_eq!(half_an_hour.left(full_in), through_then);
        }
        assert_eq!(half_an_hour.left(Duration::MAX), 0);
        assert_eq!(
            half_an_hour.take(Duration::MAX),
            Taken::NotFor(Duration::MAX - Duration::from_secs(60))
        );
    }

    #[test]
    fn what_does_not_divide_evenly_never_lets_more_through() {
        for text in ["7/1s", "3/1ms", "1/1ms", "1000000/1ms", "999983/1h"] {
            let odd = rate(text);
            assert_eq!(odd.left(Duration::ZERO), odd.count());
            let (through, full_in, _) = at_once(odd, Duration::ZERO, odd.count() + 10);
            assert_eq!(through, odd.count(), "{text}");
            assert!(full_in >= odd.period(), "{text}");
        }
    }
}
