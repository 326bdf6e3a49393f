//! Which dead letters: the same filters in a query and in a body.

use chrono::DateTime;
use push_core::id::NotificationId;
use push_core::job::GiveUpReason;
use push_core::provider::Provider;
use push_core::replay::LetterState;
use push_store::{DeadLetterId, Filter, LetterPlace};
use uuid::Uuid;

use crate::query::{Given, one_of};
use crate::request::Problems;

impl Given {
    /// The filter.
    pub(super) fn filter(&self, problems: &mut Problems) -> Filter {
        let replayed = self.read(problems, "replayed", "must be true or false", |text| {
            text.parse::<bool>().ok()
        });
        let state = self.read(problems, "state", &one_of(LetterState::ALL), |text| {
            LetterState::from_spelling(text)
        });
        let replayed = replayed.map(|replayed| match replayed {
            true => LetterState::Replayed,
            false => LetterState::Open,
        });
        if replayed.is_some() && state.is_some() && replayed != state {
            problems.note(
                self.field("state"),
                "contradicts replayed; give one of them",
            );
        }
        let (from, to) = self.times(problems);
        Filter {
            state: state.or(replayed),
            reason: self.read(problems, "reason", &one_of(GiveUpReason::ALL), |text| {
                GiveUpReason::from_spelling(text)
            }),
            provider: self.read(problems, "provider", &one_of(Provider::ALL), |text| {
                Provider::from_spelling(text)
            }),
            customer: self.customer(problems),
            notification: self.read(problems, "notificationId", "must be a UUID", |text| {
                text.parse::<Uuid>().ok().map(NotificationId::from)
            }),
            from,
            to,
        }
    }
}

/// The place after which the next page begins, as callers send it back.
pub(super) fn cursor(place: LetterPlace) -> String {
    format!("{:x}-{:x}", place.at.timestamp_millis(), place.id.0)
}

/// Reads a cursor.
pub(super) fn place(cursor: &str) -> Option<LetterPlace> {
    let (at, id) = cursor.split_once('-')?;
    let at = DateTime::from_timestamp_millis(i64::from_str_radix(at, 16).ok()?)?;
    // What no column could hold.
    (0..=i64::from(i32::MAX))
        .contains(&at.timestamp())
        .then_some(())?;
    let id = DeadLetterId(u64::from_str_radix(id, 16).ok()?);
    Some(LetterPlace { at, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn given(pairs: &[(&str, &str)]) -> Result<Filter, crate::error::ApiError> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut problems = Problems::default();
        let filter = Given::new(pairs.collect()).filter(&mut problems);
        problems.finish(Some(filter))
    }

    #[test]
    fn every_filter_is_read_and_every_problem_told() {
        let filter = given(&[
            ("reason", "poison"),
            ("provider", "expo"),
            ("replayed", "false"),
            ("customerId", "7"),
            ("notificationId", "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"),
            ("from", "2026-01-02T03:04:05Z"),
            ("to", "2026-01-02T04:04:05+01:00"),
        ]);
        let told = problems_of(filter);
        assert_eq!(
            told,
            [("to".to_owned(), "must be later than from".to_owned())]
        );
        let filter = given(&[("state", "open"), ("replayed", "false")]).unwrap();
        assert_eq!(filter.state, Some(LetterState::Open));
        let told = problems_of(given(&[
            ("reason", "Poison"),
            ("provider", "apns"),
            ("replayed", "yes"),
            ("state", "new"),
            ("customerId", "0"),
            ("notificationId", "1"),
            ("from", "yesterday"),
            ("to", ""),
        ]));
        assert_eq!(told.len(), 8, "{told:?}");
        let told = problems_of(given(&[("state", "discarded"), ("replayed", "true")]));
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let at = DateTime::from_timestamp_millis(1_790_000_000_123).unwrap();
        let id = DeadLetterId(u64::MAX);
        let there = LetterPlace { at, id };
        assert_eq!(place(&cursor(there)), Some(there));
        for odd in [
            "",
            "-",
            "1",
            "x-1",
            "1-x",
            "-1-1",
            "7fffffffffffffff-1",
            "1-1-1",
        ] {
            assert_eq!(place(odd), None, "{odd}");
        }
    }
}
