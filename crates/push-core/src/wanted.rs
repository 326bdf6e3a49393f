//! Whether a notification that is due is still wanted: judged anew before each round, as a whole, before its devices are
//! looked at.

use chrono::{DateTime, Utc};

use crate::id::NotificationId;
use crate::job::Job;
use crate::preferences::{MandatoryTypes, OptedOut, Preferences};
use crate::status::Reason;

/// What is to become of a job that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Deliver,
    /// It is ended on purpose.
    Suppress(Suppression),
    /// It waits in the database until then, without an attempt.
    PutOff(DateTime<Utc>),
}

/// Why a notification is ended on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// Its time was over before anybody was asked (P3).
    Expired,
    /// The customer does not want it.
    OptedOut(OptedOut),
    /// It would expire before the customer's quiet hours end.
    QuietHours {
        /// When they end.
        until: DateTime<Utc>,
    },
    /// A newer one with the same collapse key has taken its place (P3).
    Superseded {
        /// That one.
        by: NotificationId,
    },
    /// The customer was erased after it was accepted: nobody gets it, and nobody may send it after all.
    Erased,
}

impl Suppression {
    /// The reason to record.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Expired => Reason::Expired,
            Self::OptedOut(_) => Reason::OptedOut,
            Self::QuietHours { .. } => Reason::QuietHours,
            Self::Superseded { .. } => Reason::Superseded,
            Self::Erased => Reason::Erased,
        }
    }
}

/// Judges a job that is due. `newest`: the newest notification with its collapse key, as far as there is one.
///
/// What has expired after somebody was asked is given up, not suppressed: that is for its targets to say.
#[must_use]
pub fn judge(
    job: &Job,
    newest: Option<NotificationId>,
    preferences: &Preferences,
    mandatory: &MandatoryTypes,
    now: DateTime<Utc>,
) -> Verdict {
    let notification = &job.notification;
    match newest {
        Some(by) if by != notification.id => Verdict::Suppress(Suppression::Superseded { by }),
        Some(_) | None if notification.is_expired(now) && job.is_untouched() => {
            Verdict::Suppress(Suppression::Expired)
        }
        Some(_) | None => preferences.say(notification, mandatory, now),
    }
}
