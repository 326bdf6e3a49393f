//! What many waits came to.

/// Waits in a unit of the asker's: how many, and what half, 90 % and 99 % of them did not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) count: usize,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Figures {
    /// `None` when there is nothing to tell.
    pub(super) fn of(mut waits: Vec<u64>) -> Option<Self> {
        waits.sort_unstable();
        Some(Self {
            count: waits.len(),
            p50: percentile(&waits, 50)?,
            p90: percentile(&waits, 90)?,
            p99: percentile(&waits, 99)?,
            max: percentile(&waits, 100)?,
        })
    }

    /// How many times as long as in `other` the slowest hundredth takes at least. The clocks tell whole units: less than
    /// one is one.
    pub(super) fn ratio_to(&self, other: &Self) -> f64 {
        let units = |p99: u64| p99.max(1) as f64;
        units(self.p99) / units(other.p99)
    }
}

/// The least of them that `percent` of all do not exceed (nearest rank).
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_wait_that_so_many_do_not_exceed() {
        let hundred: Vec<_> = (1..=100).rev().collect();
        let figures = Figures::of(hundred).unwrap();
        let told = (figures.count, figures.p50, figures.p90, figures.p99);
        assert_eq!((told, figures.max), ((100, 50, 90, 99), 100));
        // Of 101, one may be worse than the 99 %; of 99, none.
        let more = Figures::of((1..=101).collect()).unwrap();
        assert_eq!((more.p50, more.p99, more.max), (51, 100, 101));
        let fewer = Figures::of((1..=99).collect()).unwrap();
        assert_eq!((fewer.p99, fewer.max), (99, 99));
        let one = Figures::of(vec![7]).unwrap();
        assert_eq!((one.p50, one.p99), (7, 7));
        assert_eq!(Figures::of(Vec::new()), None);
    }

    #[test]
    fn the_ratio_is_that_of_the_slowest_hundredths() {
        let of = |p99| Figures::of(vec![p99]).unwrap();
        assert!((of(30).ratio_to(&of(20)) - 1.5).abs() < 1e-9);
        assert!((of(10).ratio_to(&of(20)) - 0.5).abs() < 1e-9);
        // Below what the clocks can tell.
        assert!((of(1).ratio_to(&of(0)) - 1.0).abs() < 1e-9);
    }
}
