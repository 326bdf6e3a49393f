//! How long something took, as a count in each of some hundred slots: what can be added up, and still tells a median.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// A slot ends a tenth above the one before, so that its middle is less than 5 % away from all that is in it.
const STEP: f64 = 1.1;

/// A slot: those that took more than `STEP` to the power of one less milliseconds, and not more than to the power of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(crate) u16);

impl Slot {
    /// The slot of what took from `since` to `until`. Clocks differ: what ended before it began took no time.
    pub(crate) fn between(since: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        Self::of_millis((until - since).num_milliseconds())
    }

    fn of_millis(millis: i64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time is far below 2^52 milliseconds"
        )]
        let steps = (millis.max(1) as f64).ln() / STEP.ln();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most 460 for the largest number there is"
        )]
        Self(steps.ceil() as u16)
    }

    /// The time that is equally far, in proportion, from both ends.
    fn millis(self) -> u64 {
        let end = STEP.powi(i32::from(self.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates"
        )]
        let middle = (2.0 * end / (STEP + 1.0)).round() as u64;
        middle.max(1)
    }
}

/// How many took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    slots: BTreeMap<Slot, u64>,
}

impl Spread {
    /// Adds so many.
    pub(crate) fn add(&mut self, slot: Slot, n: u64) {
        *self.slots.entry(slot).or_default() += n;
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        for (slot, n) in &other.slots {
            self.add(*slot, *n);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.slots.values().sum()
    }

    /// What `percent` of them took at most, in milliseconds, give or take 5 %. `None`: there are none.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.slots.iter().find_map(|(slot, n)| {
            seen += n;
            (seen >= rank).then(|| slot.millis())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_five_percent() {
        for millis in (1..10_000).chain([86_400_000, 2_419_200_000]) {
            let told = Slot::of_millis(millis).millis();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (told, real) = (told as f64, millis as f64);
            // Whole milliseconds: half of one beside it.
            assert!(
                (told - real).abs() <= real * 0.05 + 0.5,
                "{told} for {real}"
            );
        }
        assert_eq!(Slot::of_millis(-5), Slot(0));
        assert!(Slot::of_millis(i64::MAX) < Slot(500));
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut spread = Spread::default();
        assert_eq!((spread.count(), spread.percentile(50)), (0, None));
        spread.add(Slot::of_millis(1), 98);
        spread.add(Slot::of_millis(1_000), 1);
        spread.add(Slot::of_millis(60_000), 1);
        assert_eq!(spread.count(), 100);
        let at = |percent| spread.percentile(percent).unwrap();
        assert_eq!((at(1), at(50), at(98)), (1, 1, 1));
        assert!((950..=1_050).contains(&at(99)));
        assert!((57_000..=63_000).contains(&at(100)));
    }
}
