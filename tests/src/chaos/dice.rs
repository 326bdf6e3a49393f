//! Dice that fall the same way for the same seed, on every machine.

use std::time::Duration;

/// SplitMix64: a few lines, and good enough to choose what to break.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of one purpose: what is rolled for another never changes what these show.
    pub(crate) fn new(seed: u64, purpose: &str, number: u64) -> Self {
        // FNV-1a over all three.
        let bytes = seed.to_le_bytes().into_iter().chain(purpose.bytes());
        let bytes = bytes.chain(number.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `count` - 1; 0 when there is nothing to choose from.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % count).unwrap_or_default()
    }

    /// From `least` to `most` milliseconds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least + 1))
    }

    /// True so many times out of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of them, each as often as its weight says.
    pub(crate) fn weigh<T: Copy>(&mut self, of: &[(T, usize)]) -> T {
        let sum = of.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(sum);
        let found = of.iter().find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        found.unwrap_or(&of[0]).0
    }

    /// `length` letters and digits.
    pub(crate) fn letters(&mut self, length: usize) -> String {
        const ALL: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        (0..length).map(|_| char::from(self.pick(ALL))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_falls_the_same_way_and_another_does_not() {
        let roll = |seed, purpose, number| {
            let mut dice = Dice::new(seed, purpose, number);
            (0..8).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(roll(7, "faults", 0), roll(7, "faults", 0));
        assert_ne!(roll(7, "faults", 0), roll(8, "faults", 0));
        assert_ne!(roll(7, "faults", 0), roll(7, "sends", 0));
        assert_ne!(roll(7, "sends", 1), roll(7, "sends", 2));
    }

    #[test]
    fn weights_decide_how_often() {
        let mut dice = Dice::new(1, "weights", 0);
        let heavy = (0..10_000)
            .filter(|_| dice.weigh(&[(true, 9), (false, 1)]))
            .count();
        assert!((8_700..9_300).contains(&heavy), "{heavy}");
        let never = (0..1_000).any(|_| dice.weigh(&[(false, 1), (true, 0)]));
        assert!(!never);
    }
}
