//! How often each token was sent to.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::sync::lock;

const SHARDS: usize = 16;
/// Tokens counted in one shard; later ones only show up in `untracked`.
const SHARD_TOKENS_MAX: usize = 1_000_000 / SHARDS;

/// Sends of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TokenCount {
    pub(crate) sends: u64,
    pub(crate) accepted: u64,
}

impl TokenCount {
    fn add(&mut self, accepted: bool) {
        self.sends += 1;
        self.accepted += u64::from(accepted);
    }
}

/// Counters per token, in shards so that connections do not wait for each other.
#[derive(Debug, Default)]
pub(crate) struct TokenCounts {
    shards: [Mutex<HashMap<Box<str>, TokenCount>>; SHARDS],
    untracked: AtomicU64,
}

impl TokenCounts {
    /// Requests without a token (not JSON, no target) are not counted here.
    pub(crate) fn count(&self, token: &str, accepted: bool) {
        if token.is_empty() {
            return;
        }
        let mut shard = lock(self.shard(token));
        if let Some(count) = shard.get_mut(token) {
            count.add(accepted);
        } else if shard.len() < SHARD_TOKENS_MAX {
            shard.entry(token.into()).or_default().add(accepted);
        } else {
            self.untracked.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, token: &str) -> TokenCount {
        lock(self.shard(token))
            .get(token)
            .copied()
            .unwrap_or_default()
    }

    /// At most `limit` tokens, those sent to most often first.
    pub(crate) fn top(&self, limit: usize) -> Vec<(String, TokenCount)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            all.extend(
                shard
                    .iter()
                    .map(|(token, count)| (token.to_string(), *count)),
            );
        }
        all.sort_unstable_by(|a, b| b.1.sends.cmp(&a.1.sends).then_with(|| a.0.cmp(&b.0)));
        all.truncate(limit);
        all
    }

    pub(crate) fn distinct(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(crate) fn untracked(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        for shard in &self.shards {
            lock(shard).clear();
        }
        self.untracked.store(0, Ordering::Relaxed);
    }

    /// Tokens differ at their ends, so the last bytes spread them well enough.
    fn shard(&self, token: &str) -> &Mutex<HashMap<Box<str>, TokenCount>> {
        let sum = token
            .bytes()
            .rev()
            .take(8)
            .fold(0usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        &self.shards[sum % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_token_for_itself() {
        let counts = TokenCounts::default();
        counts.count("a", true);
        counts.count("b", true);
        counts.count("b", false);
        assert_eq!(
            counts.get("b"),
            TokenCount {
                sends: 2,
                accepted: 1
            }
        );
        assert_eq!(counts.get("c"), TokenCount::default());
        assert_eq!(counts.top(1)[0].0, "b");
        assert_eq!(counts.distinct(), 2);
        counts.reset();
        assert_eq!(counts.distinct(), 0);
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let counts = TokenCounts::default();
        for number in 0..1_100_000 {
            counts.count(&format!("{number:08}"), true);
        }
        assert!(counts.distinct() <= SHARD_TOKENS_MAX * SHARDS);
        assert_eq!(counts.distinct() as u64 + counts.untracked(), 1_100_000);
    }
}
