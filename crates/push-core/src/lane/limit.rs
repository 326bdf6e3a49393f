//! How many pushes may be under way: more while the provider keeps up, fewer at once when it does not
//! (additive increase, multiplicative decrease).

use std::time::Instant;

/// Answers that take longer on the average say that the provider has more than it can do. Both answer within tenths of
/// a second when they are well.
const SLOW: f64 = 2.0;
/// Seconds that one answer counts at most: a few targets that hang are not the lane.
const COUNTED_MAX: f64 = 2.0 * SLOW;
/// Of the average, what a new answer changes.
const NEWEST: f64 = 0.1;
/// Never fewer: enough to see that all is well again.
const LEAST: f64 = 10.0;
/// What is left when answers are slow.
const AFTER_SLOW: f64 = 0.9;
/// What is left after "too many".
const AFTER_REFUSAL: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Limit {
    most: f64,
    now: f64,
    /// Of the answers' seconds.
    average: f64,
    shrunk: Option<Instant>,
    /// Whether it is being found out how many there may be: then there may be twice as many after each round.
    finding_out: bool,
}

impl Limit {
    pub(super) fn new(most: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most ten thousand")]
        let most = most.max(1) as f64;
        Self {
            most,
            now: most,
            average: 0.0,
            shrunk: None,
            finding_out: false,
        }
    }

    pub(super) const fn now(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to ten thousand"
        )]
        let now = self.now as usize;
        now
    }

    /// An answer came, good or bad; or none did in time.
    pub(super) fn took(&mut self, entered: Instant, now: Instant) {
        let seconds = now.saturating_duration_since(entered).as_secs_f64();
        self.average += (seconds.min(COUNTED_MAX) - self.average) * NEWEST;
        if seconds.min(self.average) > SLOW {
            self.shrink(AFTER_SLOW, entered, now);
        }
    }

    /// All is well while many are under way: where few are, it says nothing about many.
    pub(super) fn works(&mut self) {
        if self.average <= SLOW {
            let more = if self.finding_out {
                1.0
            } else {
                1.0 / self.now
            };
            self.now = (self.now + more).min(self.most);
            self.finding_out &= self.now < self.most;
        }
    }

    /// The provider says that it was too much.
    pub(super) fn too_much(&mut self, entered: Instant, now: Instant) {
        self.shrink(AFTER_REFUSAL, entered, now);
    }

    /// After an outage it is found out anew what the provider can take.
    pub(super) const fn begin_small(&mut self) {
        self.now = LEAST.min(self.most);
        self.finding_out = true;
    }

    /// Once for all that were under way together.
    fn shrink(&mut self, to: f64, entered: Instant, now: Instant) {
        self.finding_out = false;
        if self.shrunk.is_none_or(|shrunk| entered > shrunk) {
            self.now = (self.now * to).max(LEAST.min(self.most));
            self.shrunk = Some(now);
        }
    }
}
