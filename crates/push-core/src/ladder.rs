//! The retry ladder: how long a job waits in the broker before its next attempt.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Pause;

/// The delay of one rung, which names its queue (`push.retry.30s`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RetryDelay(Duration);

/// A text that is no delay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no delay; write a whole number with ms, s, m or h, at most 24h, such as `30s`")]
pub struct InvalidDelay(String);

impl RetryDelay {
    /// Above this a job would outlive any of its uses, and the broker's memory of it.
    const MAX: Duration = Duration::from_secs(24 * 3_600);
    pub(crate) const MINUTE: Self = Self(Duration::from_secs(60));
    /// The units, longest first: milliseconds in one, and its spelling.
    const UNITS: [(u64, &'static str); 4] =
        [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

    /// Reads `200ms`, `10s`, `2m`, `1h`.
    ///
    /// # Errors
    /// [`InvalidDelay`] for anything else, for zero and above 24 hours.
    pub fn parse(text: &str) -> Result<Self, InvalidDelay> {
        let invalid = || InvalidDelay(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let (millis, _) = Self::UNITS
            .into_iter()
            .find(|(_, name)| *name == unit)
            .ok_or_else(invalid)?;
        let delay = number
            .checked_mul(millis)
            .map(Duration::from_millis)
            .ok_or_else(invalid)?;
        if delay.is_zero() || delay > Self::MAX {
            Err(invalid())
        } else {
            Ok(Self(delay))
        }
    }

    /// The duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// Several times as long; `None` when that is no delay any more.
    #[must_use]
    pub fn times(self, factor: u32) -> Option<Self> {
        let longer = self.0.checked_mul(factor)?;
        (!longer.is_zero() && longer <= Self::MAX).then_some(Self(longer))
    }
}

impl fmt::Display for RetryDelay {
    /// The shortest spelling: `90s`, `2m`. Equal delays have equal names, hence equal queues.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, name) = Self::UNITS
            .into_iter()
            .find(|(unit, _)| millis.is_multiple_of(*unit))
            .unwrap_or((1, "ms"));
        write!(f, "{}{name}", millis / unit)
    }
}

impl fmt::Debug for RetryDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for RetryDelay {
    type Error = InvalidDelay;

    fn try_from(text: String) -> Result<Self, InvalidDelay> {
        Self::parse(&text)
    }
}

impl From<RetryDelay> for String {
    fn from(delay: RetryDelay) -> Self {
        delay.to_string()
    }
}

/// The rungs a job climbs, one a failed attempt (`RETRY_DELAYS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    rungs: Vec<RetryDelay>,
    /// Whether the providers' general advice may raise a rung: yes for the default ladder; an
    /// operator who configures delays has the last word.
    follows_advice: bool,
}

/// A ladder that is empty or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} delays, separated by commas", Ladder::RUNGS_MAX)]
pub struct InvalidLadder;

impl Ladder {
    /// Each rung is a queue; more would only hide an outage.
    pub const RUNGS_MAX: usize = 10;
    /// What waits for a lane looks again after so long at the latest: then it flows again.
    pub const PUT_BACK_MAX: Duration = Duration::from_secs(120);

    /// As configured by the operator.
    ///
    /// # Errors
    /// [`InvalidLadder`] with no rung or more than [`Ladder::RUNGS_MAX`].
    pub fn configured(rungs: Vec<RetryDelay>) -> Result<Self, InvalidLadder> {
        if rungs.is_empty() || rungs.len() > Self::RUNGS_MAX {
            return Err(InvalidLadder);
        }
        Ok(Self {
            rungs,
            follows_advice: false,
        })
    }

    /// All rungs, in order.
    #[must_use]
    pub fn rungs(&self) -> &[RetryDelay] {
        &self.rungs
    }

    /// Tries that a target gets: the first, and one a rung.
    #[must_use]
    pub fn tries_max(&self) -> u32 {
        1 + u32::try_from(self.rungs.len()).unwrap_or(u32::MAX - 1)
    }

    /// Where to wait after `tries` tries (at least 1): the rung of that number, or a later one that
    /// is as long as the provider asks, or the last. `None` when the tries are used up.
    #[must_use]
    pub fn rung_after(&self, tries: u32, pause: Pause) -> Option<RetryDelay> {
        let index = usize::try_from(tries).ok()?.checked_sub(1)?;
        let rungs = self.rungs.get(index..).filter(|rungs| !rungs.is_empty())?;
        let wanted = match pause {
            Pause::Asked(asked) => asked,
            Pause::AtLeast(advised) if self.follows_advice => advised,
            Pause::AtLeast(_) => Duration::ZERO,
        };
        self.long_enough(rungs, wanted)
    }

    /// Where to wait without having tried, for at least `wait` if any rung is that long.
    #[must_use]
    pub fn rung_for(&self, wait: Duration) -> RetryDelay {
        self.long_enough(&self.rungs, wait)
            .unwrap_or(RetryDelay(RetryDelay::MAX))
    }

    /// Where to wait for a lane that did not take it `times` times before: a rung higher each time, for at least `wait`,
    /// at most [`Ladder::PUT_BACK_MAX`], and back before the time that is left is over; as far as there are such rungs.
    #[must_use]
    pub fn rung_while_put_back(&self, times: u32, wait: Duration, left: Duration) -> RetryDelay {
        let most = Self::PUT_BACK_MAX.min(left.saturating_sub(Duration::from_millis(1)));
        let within = self.rungs.partition_point(|rung| rung.0 <= most).max(1);
        let rungs = self.rungs.get(..within).unwrap_or(&self.rungs);
        let climbed = usize::try_from(times).unwrap_or(usize::MAX);
        let higher = rungs.get(climbed.min(within - 1)..).unwrap_or(rungs);
        self.long_enough(higher, wait)
            .unwrap_or(RetryDelay(RetryDelay::MAX))
    }

    fn long_enough(&self, rungs: &[RetryDelay], wanted: Duration) -> Option<RetryDelay> {
        rungs
            .iter()
            .find(|rung| rung.0 >= wanted)
            .or(rungs.last())
            .copied()
    }
}

impl Default for Ladder {
    /// 10 s, 30 s, 2 min, 5 min, 15 min: FCM's floor of 10 s, and an end well before the 60 minutes
    /// after which Google calls a failure an outage ("Best practices when sending FCM messages at scale").
    fn default() -> Self {
        let rungs = [10, 30, 120, 300, 900].map(|seconds| RetryDelay(Duration::from_secs(seconds)));
        Self {
            rungs: rungs.to_vec(),
            follows_advice: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(text: &str) -> RetryDelay {
        RetryDelay::parse(text).unwrap()
    }

    const NO_ADVICE: Pause = Pause::AtLeast(Duration::ZERO);

    #[test]
    fn a_delay_has_one_spelling() {
        for (given, named) in [
            ("60s", "1m"),
            ("90s", "90s"),
            ("1000ms", "1s"),
            ("250ms", "250ms"),
            ("120m", "2h"),
        ] {
            assert_eq!(delay(given).to_string(), named);
        }
        for bad in [
            "",
            "s",
            "10",
            "0s",
            "-1s",
            "1.5s",
            "25h",
            "10 s",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(RetryDelay::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_ladder_keeps_the_providers_floors() {
        let ladder = Ladder::default();
        assert_eq!(
            ladder.rung_after(1, Pause::AtLeast(Duration::from_secs(10))),
            Some(delay("10s"))
        );
        assert_eq!(
            ladder.rung_after(1, Pause::AtLeast(Duration::from_secs(60))),
            Some(delay("2m"))
        );
        assert_eq!(ladder.rung_after(5, NO_ADVICE), Some(delay("15m")));
        assert_eq!(ladder.rung_after(6, NO_ADVICE), None);
        assert_eq!(ladder.tries_max(), 6);
    }

    #[test]
    fn a_configured_ladder_is_raised_by_an_explicit_retry_after_only() {
        let ladder = Ladder::configured(vec![delay("1s"), delay("5s"), delay("10s")]).unwrap();
        assert_eq!(
            ladder.rung_after(1, Pause::AtLeast(Duration::from_secs(60))),
            Some(delay("1s"))
        );
        assert_eq!(
            ladder.rung_after(1, Pause::Asked(Duration::from_secs(3))),
            Some(delay("5s"))
        );
        assert_eq!(
            ladder.rung_after(2, Pause::Asked(Duration::from_secs(99))),
            Some(delay("10s"))
        );
        assert_eq!(ladder.rung_after(4, Pause::Asked(Duration::ZERO)), None);
    }
}
