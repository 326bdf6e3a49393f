//! Where a notification stands, and why.

use crate::provider::spelled;

spelled! {
    /// `notification_history.status`.
    Status {
        /// Some target is not settled yet.
        Pending = "pending",
        /// At least one target accepted it.
        Sent = "sent",
        /// It was tried, and no target accepted it.
        Failed = "failed",
        /// It was never tried, on purpose.
        Suppressed = "suppressed",
    }
}

spelled! {
    /// `notification_history.reason`: why a notification failed or was suppressed.
    Reason {
        /// Suppressed: the customer has no device that could be reached.
        NoActiveDevice = "no_active_device",
        /// Suppressed: the customer does not want it.
        OptedOut = "opted_out",
        /// Suppressed: it would expire before the customer's quiet hours end.
        QuietHours = "quiet_hours",
        /// Suppressed: its time was over before it could be sent.
        Expired = "expired",
        /// Suppressed: a newer one with the same collapse key overtook it.
        Superseded = "superseded",
        /// Suppressed: a caller took it back.
        Cancelled = "cancelled",
        /// Suppressed: the customer was erased.
        Erased = "erased",
        /// Failed: every token turned out to be dead.
        InvalidTokens = "invalid_tokens",
        /// Failed: the provider will never take this message.
        Refused = "refused",
        /// Failed: given up, and kept as a dead letter.
        DeadLettered = "dead_lettered",
    }
}

spelled! {
    /// What became of a notification at one provider, over all devices of the customer
    /// (`fcmResult`, `expoResult`).
    #[derive(Default)]
    ProviderResult {
        /// Not known yet.
        #[default]
        Queued = "queued",
        /// At least one device's push was accepted.
        Success = "success",
        /// Tried, and none was accepted.
        Failed = "failed",
        /// Not tried.
        NotSent = "not_sent",
    }
}

impl Reason {
    /// The status of those that ended for it.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::NoActiveDevice
            | Self::OptedOut
            | Self::QuietHours
            | Self::Expired
            | Self::Superseded
            | Self::Cancelled
            | Self::Erased => Status::Suppressed,
            Self::InvalidTokens | Self::Refused | Self::DeadLettered => Status::Failed,
        }
    }
}

/// How a notification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At least one target accepted it.
    Sent,
    /// Tried in vain.
    Failed(Reason),
    /// Not tried on purpose.
    Suppressed(Reason),
}

impl Ending {
    /// The status to record.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Sent => Status::Sent,
            Self::Failed(_) => Status::Failed,
            Self::Suppressed(_) => Status::Suppressed,
        }
    }

    /// The reason to record.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Sent => None,
            Self::Failed(reason) | Self::Suppressed(reason) => Some(reason),
        }
    }
}
