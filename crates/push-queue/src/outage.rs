//! When to say what about an outage, and how long to wait before the next attempt.
//!
//! One line when the connection is lost, one a minute while it is away, one when it is back. A link
//! that breaks again and again at once is one outage, not many.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(3);
/// A reminder that it is still away.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// Reasons of one outage that are told as soon as they are known.
const REASONS_MAX: usize = 16;
/// A link that did not live so long has not ended the outage.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    /// Lost, or refused for a reason that needs somebody.
    Away,
    StillAway {
        since: Duration,
    },
    Connected,
    Back {
        after: Duration,
    },
}

/// Follows the connection. `now` comes in.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    attempts: u32,
    told_at: Option<Instant>,
    /// What was told that needs somebody.
    told_operator: Vec<String>,
    back_is_due: bool,
    up_since: Option<Instant>,
}

impl Outage {
    /// A link was made.
    pub(crate) fn connected(&mut self, now: Instant) -> Say {
        self.up_since = Some(now);
        let Some(since) = self.since else {
            return Say::Connected;
        };
        if !std::mem::take(&mut self.back_is_due) {
            return Say::Nothing;
        }
        Say::Back { after: now - since }
    }

    /// A link was lost, or could not be made. `for_operator`: what somebody has to mend.
    pub(crate) fn failed(&mut self, for_operator: Option<&str>, now: Instant) -> Say {
        if self.up_since.is_some_and(|up| now - up >= STABLE_AFTER) {
            *self = Self::default();
        }
        self.up_since = None;
        let since = *self.since.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        let is_news = for_operator.is_some_and(|reason| {
            let told = &self.told_operator;
            told.len() < REASONS_MAX && !told.iter().any(|told| told == reason)
        });
        let say = match self.told_at {
            None => Say::Away,
            Some(_) if is_news => Say::Away,
            Some(told) if now - told >= REMIND_EVERY => Say::StillAway { since: now - since },
            Some(_) => Say::Nothing,
        };
        if say != Say::Nothing {
            self.told_at = Some(now);
            self.told_operator
                .extend(for_operator.filter(|_| is_news).map(str::to_owned));
            self.back_is_due = true;
        }
        say
    }

    /// How long to wait before the next attempt: doubling, between half and all of it, so that many
    /// clients do not come back in one moment.
    pub(crate) fn wait(&self, dice: &mut impl Rng) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(8);
        let full = WAIT_MAX.min(WAIT_MIN * 2_u32.pow(doublings));
        full.mul_f64(dice.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_outage_is_told_at_its_start_each_minute_and_at_its_end() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.connected(start), Say::Connected);
        let lost = start + seconds(100);
        assert_eq!(outage.failed(None, lost), Say::Away);
        let told: Vec<Say> = (1..130)
            .map(|second| outage.failed(None, lost + seconds(second)))
            .filter(|say| *say != Say::Nothing)
            .collect();
        assert_eq!(
            told,
            [
                Say::StillAway { since: seconds(60) },
                Say::StillAway {
                    since: seconds(120)
                }
            ]
        );
        assert_eq!(
            outage.connected(lost + seconds(130)),
            Say::Back {
                after: seconds(130)
            }
        );
        assert_eq!(
            outage.failed(None, lost + seconds(145)),
            Say::Away,
            "a new outage"
        );
    }

    #[test]
    fn a_link_that_breaks_at_once_is_told_once() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let mut told = Vec::new();
        for second in 0..50 {
            let now = start + seconds(second);
            told.extend([outage.failed(None, now), outage.connected(now)]);
        }
        told.retain(|say| *say != Say::Nothing);
        assert_eq!(
            told,
            [
                Say::Away,
                Say::Back {
                    after: Duration::ZERO
                }
            ]
        );
    }

    #[test]
    fn what_an_operator_has_to_mend_is_told_once_even_if_the_outage_was() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert_eq!(outage.failed(None, now), Say::Away);
        for reason in ["no such user", "no such virtual host"] {
            assert_eq!(outage.failed(Some(reason), now), Say::Away);
        }
        assert_eq!(outage.failed(Some("no such user"), now), Say::Nothing);
        assert_eq!(outage.failed(None, now), Say::Nothing);
        let ever_new = (0..100).map(|n| outage.failed(Some(&n.to_string()), now));
        let told = ever_new.filter(|say| *say == Say::Away).count();
        assert_eq!(told, REASONS_MAX - 2, "not without end");
    }

    #[test]
    fn waits_grow_from_200_ms_to_3_s_with_jitter() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let mut dice = StdRng::seed_from_u64(7);
        let mut waits = Vec::new();
        for _ in 0..1_000 {
            let _ = outage.failed(None, now);
            waits.push(outage.wait(&mut dice));
        }
        assert!(
            waits[0] >= WAIT_MIN / 2 && waits[0] <= WAIT_MIN,
            "{:?}",
            waits[0]
        );
        assert!(
            waits[10..]
                .iter()
                .all(|wait| *wait >= WAIT_MAX / 2 && *wait <= WAIT_MAX)
        );
        assert!(waits[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
