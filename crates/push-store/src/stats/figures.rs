//! What the counts of an hour, a day or all time come to.

use std::collections::BTreeMap;

use push_core::provider::{PerProvider, Provider};
use push_core::status::Reason;

use super::counter::{Counter, Counts};
use super::spread::Spread;

/// What became of the notifications that were accepted within some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many there are.
    pub accepted: u64,
    /// Of these: sent.
    pub sent: u64,
    /// Of these: failed, by why.
    pub failed: BTreeMap<Reason, u64>,
    /// Of these: suppressed, by why.
    pub suppressed: BTreeMap<Reason, u64>,
    /// Of these: opened by their customer.
    pub opened: u64,
    /// How long those took that are sent.
    pub took: Spread,
    /// What came of them at each provider.
    pub providers: PerProvider<ProviderFigures>,
}

/// What came of notifications at one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderFigures {
    /// Notifications that have ended, and of which it took a push.
    pub success: u64,
    /// Notifications that have ended, and of which it was asked in vain.
    pub failed: u64,
    /// How long the pushes to single devices took that it took.
    pub took: Spread,
}

impl Figures {
    /// Adds those of another time or type.
    pub fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.sent += other.sent;
        self.opened += other.opened;
        self.took.merge(&other.took);
        for (mine, theirs) in [
            (&mut self.failed, &other.failed),
            (&mut self.suppressed, &other.suppressed),
        ] {
            for (reason, count) in theirs {
                *mine.entry(*reason).or_default() += count;
            }
        }
        for provider in Provider::ALL.iter().copied() {
            let theirs = other.providers.get(provider);
            let mine = self.providers.get_mut(provider);
            mine.success += theirs.success;
            mine.failed += theirs.failed;
            mine.took.merge(&theirs.took);
        }
    }

    /// Of these: failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Of these: suppressed.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.values().sum()
    }

    /// Of these: those that have not ended.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let ended = self.sent + self.failed() + self.suppressed();
        self.accepted.saturating_sub(ended)
    }
}

/// Counts that are being added up: some are below zero until all are there.
#[derive(Debug, Default)]
pub(crate) struct Sum(BTreeMap<Counter, i64>);

impl Sum {
    /// Those of a newer program are passed over.
    pub(crate) fn add(&mut self, counts: &Counts) {
        for (counter, n) in counts {
            if let Some(counter) = Counter::from_spelling(counter) {
                *self.0.entry(counter).or_default() += n;
            }
        }
    }

    pub(crate) fn figures(self) -> Figures {
        let mut figures = Figures::default();
        for (counter, n) in self.0 {
            let count = u64::try_from(n).unwrap_or(0);
            match counter {
                Counter::Accepted => figures.accepted = count,
                Counter::Sent => figures.sent = count,
                Counter::Opened => figures.opened = count,
                Counter::Failed(reason) if count > 0 => {
                    figures.failed.insert(reason, count);
                }
                Counter::Suppressed(reason) if count > 0 => {
                    figures.suppressed.insert(reason, count);
                }
                Counter::Failed(_) | Counter::Suppressed(_) => {}
                Counter::Success(of) => figures.providers.get_mut(of).success = count,
                Counter::Failure(of) => figures.providers.get_mut(of).failed = count,
                Counter::Took(slot) => figures.took.add(slot, count),
                Counter::Device(of, slot) => figures.providers.get_mut(of).took.add(slot, count),
            }
        }
        figures
    }
}
