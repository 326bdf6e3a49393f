//! What a text can say of a booking: a closed set, so that a text can be checked before anything happens.

use std::fmt;

use fluent_bundle::FluentArgs;

/// Something that a request tells, and a text may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// The technician's name.
    Technician,
    /// The number that the customer knows the booking by.
    TrackId,
    /// The booking's own id.
    BookingId,
    /// The status that it has now, as the backend spells it.
    Status,
    /// The status that it had.
    OldStatus,
}

impl Placeholder {
    /// All that there are.
    pub const ALL: [Self; 5] = [
        Self::Technician,
        Self::TrackId,
        Self::BookingId,
        Self::Status,
        Self::OldStatus,
    ];

    /// Its name in a text, without the `$`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Technician => "technician",
            Self::TrackId => "trackId",
            Self::BookingId => "bookingId",
            Self::Status => "status",
            Self::OldStatus => "oldStatus",
        }
    }

    /// The field of the request that it comes from.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Technician => "technician.name",
            Self::TrackId => "trackId",
            Self::BookingId => "bookingId",
            Self::Status => "newStatus",
            Self::OldStatus => "oldStatus",
        }
    }

    /// The most characters that it has.
    #[must_use]
    pub const fn chars_max(self) -> usize {
        match self {
            Self::Technician => 100,
            Self::TrackId => 64,
            Self::BookingId => push_core::booking::BookingId::BYTES_MAX,
            Self::Status | Self::OldStatus => 50,
        }
    }

    /// The most bytes that it has, of UTF-8.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::BookingId => self.chars_max(),
            Self::Technician | Self::TrackId | Self::Status | Self::OldStatus => {
                self.chars_max() * 4
            }
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// All of them, as a text spells them.
    pub(super) fn list() -> String {
        Self::ALL
            .map(|known| format!("${}", known.name()))
            .join(", ")
    }
}

/// What one request tells.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// The technician's name.
    pub technician: Option<String>,
    /// The number that the customer knows the booking by.
    pub track_id: Option<String>,
    /// The booking's own id.
    pub booking_id: Option<String>,
    /// The status that it has now.
    pub status: Option<String>,
    /// The status that it had.
    pub old_status: Option<String>,
}

/// Shows which there are only: content stays out of logs.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = Placeholder::ALL.into_iter();
        let told = told.filter(|placeholder| self.get(*placeholder).is_some());
        f.debug_set().entries(told).finish()
    }
}

impl Values {
    /// What it tells of one of them.
    #[must_use]
    pub fn get(&self, placeholder: Placeholder) -> Option<&str> {
        let value = match placeholder {
            Placeholder::Technician => &self.technician,
            Placeholder::TrackId => &self.track_id,
            Placeholder::BookingId => &self.booking_id,
            Placeholder::Status => &self.status,
            Placeholder::OldStatus => &self.old_status,
        };
        value.as_deref()
    }

    pub(super) fn arguments(&self) -> FluentArgs<'_> {
        Placeholder::ALL
            .into_iter()
            .filter_map(|placeholder| Some((placeholder.name(), self.get(placeholder)?)))
            .collect()
    }
}
