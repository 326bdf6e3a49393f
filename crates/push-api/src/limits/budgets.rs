//! Budgets in this process's memory, within a bound of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use push_core::rate::{Rate, Taken};
use tokio::time::Instant;

/// How often room is looked for, at most: to look takes a moment for which all wait.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One budget for each `K`. Those for whom there is no room share one.
#[derive(Debug)]
pub struct Budgets<K> {
    rate: Rate,
    held_max: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    /// When each is full again. What is not here is full.
    full_at: HashMap<K, Instant>,
    shared: Option<Instant>,
    swept: Option<Instant>,
}

impl<K: Hash + Eq> Budgets<K> {
    /// Budgets of this size, for so many at most.
    #[must_use]
    pub fn new(rate: Rate, held_max: usize) -> Self {
        let held = Mutex::new(Held {
            full_at: HashMap::new(),
            shared: None,
            swept: None,
        });
        Self {
            rate,
            held_max,
            held,
        }
    }

    /// How large each is.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one.
    pub fn take(&self, key: K) -> Taken {
        let now = Instant::now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = held.full_at.get(&key).copied();
        let has_place = full_at.is_some() || held.has_room(self.held_max, now);
        let full_at = if has_place { full_at } else { held.shared };
        let full_in = full_at.map(|at| at.saturating_duration_since(now));
        let taken = self.rate.take(full_in.unwrap_or_default());
        if let Taken::FullIn(full_in) = taken {
            let full_at = now + full_in;
            if has_place {
                held.full_at.insert(key, full_at);
            } else {
                held.shared = Some(full_at);
            }
        }
        taken
    }
}

impl<K: Hash + Eq> Held<K> {
    fn has_room(&mut self, held_max: usize, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now - swept >= SWEEP_EVERY);
        if self.full_at.len() >= held_max && is_due {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < held_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(budgets: &Budgets<u32>, key: u32, times: usize) -> usize {
        let taken = (0..times).map(|_| budgets.take(key));
        taken
            .filter(|taken| matches!(taken, Taken::FullIn(_)))
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_and_it_comes_back_with_time() {
        let budgets = Budgets::new(Rate::parse("3/3s").unwrap(), 10);
        assert_eq!(passed(&budgets, 1, 10), 3);
        assert_eq!(passed(&budgets, 2, 10), 3);
        let told = budgets.take(1);
        assert_eq!(told, Taken::NotFor(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(passed(&budgets, 1, 10), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_whoever_finds_no_room_is_limited_all_the_same() {
        let budgets = Budgets::new(Rate::parse("2/2s").unwrap(), 3);
        for key in 0..3 {
            assert_eq!(passed(&budgets, key, 5), 2);
        }
        let strangers: usize = (100..200).map(|key| passed(&budgets, key, 1)).sum();
        assert_eq!(strangers, 2);
        assert_eq!(budgets.held.lock().unwrap().full_at.len(), 3);
        // Full budgets make room.
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(passed(&budgets, 100, 5), 2);
        assert_eq!(passed(&budgets, 101, 5), 2);
        assert_eq!(budgets.held.lock().unwrap().full_at.len(), 2);
    }
}
