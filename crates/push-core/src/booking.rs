//! What happens to a booking, and whether it is news: the customer is told of each status once, and never of one that a
//! later one has overtaken.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::id::CustomerId;
use crate::notification::{CollapseKey, Invalid, NotificationType};
use crate::provider::spelled;

/// The booking backend's id of a booking.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BookingId(String);

impl BookingId {
    /// What [`CollapseKey::of_booking`] has room for.
    pub const BYTES_MAX: usize = CollapseKey::BYTES_MAX - CollapseKey::OF_BOOKING.len();

    /// Reads an id from a caller.
    ///
    /// # Errors
    /// [`Invalid`], saying what is allowed.
    pub fn parse(id: &str) -> Result<Self, Invalid> {
        let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=Self::BYTES_MAX).contains(&id.len()) {
            return Err(Invalid(format!(
                "must be 1 to {} visible ASCII characters",
                Self::BYTES_MAX
            )));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells a technician from another one without keeping the name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Something that happened to a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingEvent {
    /// The booking.
    pub booking: BookingId,
    /// Whose it is.
    pub customer: CustomerId,
    /// What happened.
    pub what: Happened,
    /// When, if the caller says so.
    pub occurred_at: Option<DateTime<Utc>>,
    /// When we heard of it.
    pub heard_at: DateTime<Utc>,
    /// Whether its caller says that it is what the booking was in before.
    pub says_unchanged: bool,
}

/// What happened to a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It has another status. To be given to a technician is one, too.
    Status(BookingStatus),
    /// Something else that the customer is told of, and that leaves the status as it is.
    Other(NotificationType),
}

/// What a booking is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingStatus {
    /// Its name in lower case: what differs in that only has the same text.
    pub name: String,
    /// To whom it was given, where the status is that: to be given to somebody else is news.
    pub technician: Option<Fingerprint>,
}

impl BookingStatus {
    /// It was given to a technician.
    pub const ASSIGNED: &'static str = "technician_assigned";
    /// The others that every booking goes through.
    pub const OTHERS: [&'static str; 5] = [
        "startjourney",
        "reached",
        "startservice",
        "completed",
        "cancelled",
    ];

    /// Whether it is one that every booking goes through, and none that somebody has made up.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.name == Self::ASSIGNED || Self::OTHERS.contains(&self.name.as_str())
    }
}

/// The last that is known of a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastKnown {
    /// Whose it was then.
    pub customer: CustomerId,
    /// Its status.
    pub status: Option<BookingStatus>,
    /// What else has happened since it is in that status.
    pub other: Option<NotificationType>,
    /// When the last of these happened.
    pub at: DateTime<Utc>,
}

spelled! {
    /// Why a customer is not told of an event.
    Ignored {
        /// The booking was in this status already.
        Unchanged = "unchanged",
        /// Something happened after it that is known already.
        Older = "older",
        /// There is no text for it.
        NoTemplate = "no_template",
    }
}

impl BookingEvent {
    /// Whether it is one of the statuses that every booking goes through.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        match &self.what {
            Happened::Status(status) => status.is_built_in(),
            Happened::Other(_) => false,
        }
    }

    /// What is known of the booking after it, or why it is no news.
    ///
    /// Where the caller does not say when it happened, it happened now, and is never older: the clocks of two replicas
    /// must not decide between two events.
    ///
    /// # Errors
    /// [`Ignored::Unchanged`], [`Ignored::Older`].
    pub fn after(&self, last: Option<&LastKnown>) -> Result<LastKnown, Ignored> {
        if self.says_unchanged || last.is_some_and(|last| self.says_again(last)) {
            return Err(Ignored::Unchanged);
        }
        let last_at = last.map(|last| last.at);
        let at = match self.occurred_at {
            Some(at) if last_at.is_some_and(|last_at| at < last_at) => return Err(Ignored::Older),
            Some(at) => at,
            None => last_at.map_or(self.heard_at, |last_at| last_at.max(self.heard_at)),
        };
        let (status, other) = match &self.what {
            Happened::Status(status) => (Some(status.clone()), None),
            Happened::Other(kind) => (
                last.and_then(|last| last.status.clone()),
                Some(kind.clone()),
            ),
        };
        Ok(LastKnown {
            customer: self.customer,
            status,
            other,
            at,
        })
    }

    /// To another customer everything is news.
    fn says_again(&self, last: &LastKnown) -> bool {
        let known = match &self.what {
            Happened::Status(status) => last.status.as_ref() == Some(status),
            Happened::Other(kind) => last.other.as_ref() == Some(kind),
        };
        known && last.customer == self.customer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(minute)
    }

    fn status(name: &str) -> Happened {
        Happened::Status(BookingStatus {
            name: name.to_owned(),
            technician: None,
        })
    }

    fn assigned(technician: u8) -> Happened {
        Happened::Status(BookingStatus {
            name: "technician_assigned".to_owned(),
            technician: Some(Fingerprint([technician; 32])),
        })
    }

    fn other(kind: &str) -> Happened {
        Happened::Other(NotificationType::parse(kind).unwrap())
    }

    fn event(what: Happened, occurred: Option<i64>, heard: i64) -> BookingEvent {
        BookingEvent {
            booking: BookingId::parse("456").unwrap(),
            customer: CustomerId::try_from(1).unwrap(),
            what,
            occurred_at: occurred.map(at),
            heard_at: at(heard),
            says_unchanged: false,
        }
    }

    /// What becomes of events one after the other: an empty word where it is told.
    fn story(events: impl IntoIterator<Item = BookingEvent>) -> Vec<&'static str> {
        let mut last = None;
        let mut told = Vec::new();
        for event in events {
            told.push(match event.after(last.as_ref()) {
                Ok(known) => {
                    last = Some(known);
                    ""
                }
                Err(ignored) => ignored.as_str(),
            });
        }
        told
    }

    #[test]
    fn an_id_leaves_room_for_its_collapse_key() {
        let longest = "x".repeat(BookingId::BYTES_MAX);
        assert_eq!(longest.len(), 56);
        let key = CollapseKey::of_booking(&BookingId::parse(&longest).unwrap());
        assert_eq!(CollapseKey::parse(key.as_str()), Ok(key));
        for bad in ["", "a b", "é", "a\n", &format!("{longest}x")] {
            assert!(BookingId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_status_is_told_once_until_there_is_another() {
        let names = ["reached", "reached", "startservice", "reached"];
        let events = names.map(|name| event(status(name), None, 1));
        assert_eq!(story(events), ["", "unchanged", "", ""]);
    }

    #[test]
    fn a_second_technician_is_news_and_so_is_what_comes_after() {
        let events = [
            assigned(1),
            assigned(1),
            assigned(2),
            status("startjourney"),
            assigned(1),
            status("startjourney"),
        ];
        let events = events.map(|what| event(what, None, 1));
        assert_eq!(story(events), ["", "unchanged", "", "", "", ""]);
    }

    #[test]
    fn what_happened_before_the_last_known_is_older_and_changes_nothing() {
        let events = [
            event(status("reached"), Some(10), 11),
            event(status("startjourney"), Some(9), 12),
            // Told again, and late: it was there, whatever its time.
            event(status("reached"), Some(5), 12),
            event(status("reached"), Some(20), 21),
            // At the very time of the last one, and of the one that was ignored.
            event(status("startservice"), Some(10), 22),
            event(other("invoice"), Some(9), 23),
            event(status("completed"), Some(11), 24),
        ];
        let told = ["", "older", "unchanged", "unchanged", "", "older", ""];
        assert_eq!(story(events), told);
    }

    #[test]
    fn without_a_time_of_its_own_nothing_is_older() {
        let events = [
            event(status("reached"), Some(10), 6),
            // Heard by a replica whose clock is behind.
            event(status("startservice"), None, 5),
            event(status("completed"), Some(9), 7),
        ];
        assert_eq!(story(events), ["", "", "older"]);
    }

    #[test]
    fn what_is_no_status_leaves_the_status() {
        let events = [
            other("invoice"),
            status("completed"),
            other("invoice"),
            other("invoice"),
            status("completed"),
            other("survey"),
            status("cancelled"),
            other("survey"),
        ];
        let events = events.map(|what| event(what, None, 1));
        let told = ["", "", "", "unchanged", "unchanged", "", "", ""];
        assert_eq!(story(events), told);
    }

    #[test]
    fn another_customer_has_heard_nothing_yet() {
        let mut moved = event(status("reached"), None, 2);
        moved.customer = CustomerId::try_from(2).unwrap();
        let events = [event(status("reached"), None, 1), moved.clone(), moved];
        assert_eq!(story(events), ["", "", "unchanged"]);
    }
}
