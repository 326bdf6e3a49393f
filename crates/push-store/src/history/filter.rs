//! Which notifications of the history are meant, and the ranges of an index that hold them.

use chrono::{DateTime, TimeDelta, Utc};
use push_core::booking::BookingId;
use push_core::id::CustomerId;
use push_core::notification::NotificationType;
use push_core::status::{Reason, Status};

use crate::decode::millis;

/// Which notifications: those for which all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Whom they are for.
    pub customer: Option<CustomerId>,
    /// Which booking they tell of.
    pub booking: Option<BookingId>,
    /// Where they stand.
    pub status: Option<Status>,
    /// What kind of news they are.
    pub kind: Option<NotificationType>,
    /// Why they failed or were suppressed.
    pub reason: Option<Reason>,
    /// Not accepted before this.
    pub from: Option<DateTime<Utc>>,
    /// Accepted before this.
    pub to: Option<DateTime<Utc>>,
}

/// A place in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    /// When a notification was accepted.
    pub at: DateTime<Utc>,
    /// Which of those it is.
    pub row: u64,
}

/// How a filter is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// By time alone.
    Any,
    /// Along the rows of a booking.
    Booking(&'a BookingId),
    /// Along the rows of a customer.
    Customer(CustomerId),
    /// The ranges of these outcomes.
    Outcomes(Vec<Outcome>),
    /// The same of a type.
    TypeOutcomes(&'a NotificationType, Vec<Outcome>),
}

/// A status with its reason: what an index has side by side.
pub(super) type Outcome = (Status, Option<Reason>);

impl HistoryFilter {
    pub(super) fn shape(&self) -> Shape<'_> {
        if let Some(booking) = &self.booking {
            return Shape::Booking(booking);
        }
        match (self.customer, &self.kind) {
            (Some(customer), _) => Shape::Customer(customer),
            (None, Some(kind)) => Shape::TypeOutcomes(kind, self.outcomes()),
            (None, None) if self.status.is_none() && self.reason.is_none() => Shape::Any,
            (None, None) => Shape::Outcomes(self.outcomes()),
        }
    }

    /// Those that the filter's status and reason allow for.
    fn outcomes(&self) -> Vec<Outcome> {
        all_outcomes()
            .filter(|(status, _)| self.status.is_none_or(|wanted| wanted == *status))
            .filter(|(_, reason)| self.reason.is_none() || self.reason == *reason)
            .collect()
    }

    /// The first moment that is meant.
    pub(super) fn lower(&self) -> DateTime<Utc> {
        self.from.map_or(BEGINNING, millis).max(BEGINNING)
    }

    /// The last moment that is meant.
    pub(super) fn upper(&self) -> DateTime<Utc> {
        let before = |to: DateTime<Utc>| millis(to - TimeDelta::nanoseconds(1));
        self.to.map_or(END, before).clamp(BEGINNING, END)
    }
}

/// All that our programs write.
fn all_outcomes() -> impl Iterator<Item = Outcome> {
    let without = [(Status::Pending, None), (Status::Sent, None)];
    let with = Reason::ALL
        .iter()
        .map(|reason| (reason.status(), Some(*reason)));
    without.into_iter().chain(with)
}

/// What a `TIMESTAMP` can hold.
const BEGINNING: DateTime<Utc> = match DateTime::from_timestamp_secs(1) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};
const END: DateTime<Utc> = match DateTime::from_timestamp_secs(i32::MAX as i64) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_served_by_the_outcomes_that_it_allows_for() {
        let outcomes = |status, reason| {
            let filter = HistoryFilter {
                status,
                reason,
                ..HistoryFilter::default()
            };
            filter.outcomes()
        };
        assert_eq!(outcomes(None, None).len(), 2 + Reason::ALL.len());
        assert_eq!(outcomes(Some(Status::Sent), None), [(Status::Sent, None)]);
        let failed = outcomes(Some(Status::Failed), None);
        assert_eq!(failed.len(), 3);
        let refused = [(Status::Failed, Some(Reason::Refused))];
        assert_eq!(outcomes(None, Some(Reason::Refused)), refused);
        assert_eq!(outcomes(Some(Status::Sent), Some(Reason::Refused)), []);
    }

    #[test]
    fn times_fit_their_column_and_the_end_does_not_count() {
        let at = |text: &str| Some(text.parse().unwrap());
        let filter = HistoryFilter {
            from: at("2026-01-02T03:04:05.678Z"),
            to: at("2026-01-02T03:04:05.679Z"),
            ..HistoryFilter::default()
        };
        assert_eq!(filter.lower(), filter.upper());
        let odd = HistoryFilter {
            from: at("0001-01-01T00:00:00Z"),
            to: at("9999-01-01T00:00:00Z"),
            ..HistoryFilter::default()
        };
        assert_eq!((odd.lower(), odd.upper()), (BEGINNING, END));
    }
}
