//! The pauses between tries that follow at once, within one call.
//!
//! Only for what surely was not processed: a refused connection, a refused stream. All else is
//! left to the ladder in the broker, since both providers want seconds, not milliseconds, between
//! tries. The only file that knows `backoff`, of which only the calculator is used.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// Long enough for a listener that is just restarting to come back on the next try or the one after.
const FIRST: Duration = Duration::from_millis(100);
/// `backoff` adds its jitter after its own cap, so the cap is put on once more here.
const LONGEST: Duration = Duration::from_millis(500);
/// Three tries in all; together the pauses stay below a second.
const TRIES_MORE: usize = 2;

/// How long to wait before each further try; ends when there is to be none.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    let mut backoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST)
        .with_multiplier(3.0)
        .with_max_interval(LONGEST)
        .with_max_elapsed_time(None)
        .build();
    std::iter::from_fn(move || backoff.next_backoff())
        .map(|pause| pause.min(LONGEST))
        .take(TRIES_MORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_and_both_are_short() {
        for _ in 0..1_000 {
            let pauses: Vec<Duration> = pauses().collect();
            assert_eq!(pauses.len(), TRIES_MORE);
            assert!(
                pauses
                    .iter()
                    .all(|pause| !pause.is_zero() && *pause <= LONGEST)
            );
        }
    }
}
