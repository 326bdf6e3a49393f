//! What is counted, and how it is spelled in the tables.

use std::collections::BTreeMap;
use std::fmt;

use push_core::provider::Provider;
use push_core::status::Reason;

use super::spread::Slot;

/// Something of which there is a number for each hour and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Notifications, whatever became of them.
    Accepted,
    /// Those that are sent.
    Sent,
    /// Those that have failed.
    Failed(Reason),
    /// Those that were not sent on purpose.
    Suppressed(Reason),
    /// Those that the customer opened.
    Opened,
    /// Those that have ended, and of which the provider took a push.
    Success(Provider),
    /// Those that have ended, and of which the provider was asked in vain.
    Failure(Provider),
    /// Those that are sent, by how long that took.
    Took(Slot),
    /// Pushes to single devices that the provider took, by how long that took.
    Device(Provider, Slot),
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Sent => f.write_str("sent"),
            Self::Failed(reason) => write!(f, "failed.{reason}"),
            Self::Suppressed(reason) => write!(f, "suppressed.{reason}"),
            Self::Opened => f.write_str("opened"),
            Self::Success(provider) => write!(f, "{provider}.success"),
            Self::Failure(provider) => write!(f, "{provider}.failed"),
            Self::Took(slot) => write!(f, "took.{}", slot.0),
            Self::Device(provider, slot) => write!(f, "{provider}.took.{}", slot.0),
        }
    }
}

impl Counter {
    /// `None`: one of a newer program.
    pub(crate) fn from_spelling(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let counter = match (parts.next()?, parts.next(), parts.next()) {
            ("accepted", None, None) => Self::Accepted,
            ("sent", None, None) => Self::Sent,
            ("opened", None, None) => Self::Opened,
            ("failed", Some(reason), None) => Self::Failed(Reason::from_spelling(reason)?),
            ("suppressed", Some(reason), None) => Self::Suppressed(Reason::from_spelling(reason)?),
            ("took", Some(slot), None) => Self::Took(Slot(slot.parse().ok()?)),
            (provider, Some("success"), None) => Self::Success(Provider::from_spelling(provider)?),
            (provider, Some("failed"), None) => Self::Failure(Provider::from_spelling(provider)?),
            (provider, Some("took"), Some(slot)) => {
                Self::Device(Provider::from_spelling(provider)?, Slot(slot.parse().ok()?))
            }
            (_, _, _) => return None,
        };
        parts.next().is_none().then_some(counter)
    }
}

/// Numbers by the spelling of their counter. Those of a newer program are added up like ours.
pub(crate) type Counts = BTreeMap<String, i64>;

/// Adds up; what comes to nothing is not kept.
pub(crate) fn add(counts: &mut Counts, more: Counts) {
    for (counter, n) in more {
        let sum = counts.entry(counter).or_default();
        *sum += n;
    }
    counts.retain(|_, n| *n != 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_read_as_it_is_written() {
        let slot = Slot(37);
        let mut all = vec![
            Counter::Accepted,
            Counter::Sent,
            Counter::Opened,
            Counter::Took(slot),
        ];
        all.extend(Reason::ALL.iter().copied().map(Counter::Failed));
        all.extend(Reason::ALL.iter().copied().map(Counter::Suppressed));
        for provider in Provider::ALL.iter().copied() {
            all.extend([
                Counter::Success(provider),
                Counter::Failure(provider),
                Counter::Device(provider, slot),
            ]);
        }
        for counter in all {
            let text = counter.to_string();
            assert_eq!(Counter::from_spelling(&text), Some(counter), "{text}");
        }
        for odd in [
            "",
            "accepted.x",
            "failed",
            "failed.x",
            "fcm.took",
            "fcm.took.x",
            "fcm.took.1.1",
        ] {
            assert_eq!(Counter::from_spelling(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_comes_to_nothing_is_not_kept() {
        let mut counts: Counts = [("sent".to_owned(), 1), ("a".to_owned(), 1)].into();
        add(
            &mut counts,
            [("sent".to_owned(), -1), ("a".to_owned(), 2)].into(),
        );
        assert_eq!(counts, [("a".to_owned(), 3)].into());
    }
}
