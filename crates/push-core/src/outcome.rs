//! What became of one attempt to reach one target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a provider's answer, or its silence, means for a target. The providers' tables end here;
/// what follows is decided by [`settle`](crate::settle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took the message.
    Accepted(ProviderMessageId),
    /// The token will never work again: switch it off.
    TokenDead(Cause),
    /// Not now.
    Retry(Retry),
    /// Credentials, project or sender are wrong, or the provider's answers make no sense: an operator must
    /// mend that; the token is not at fault.
    OperatorMustAct {
        /// What to mend.
        cause: Cause,
        /// Whether the message may be on its way nevertheless.
        sent: Sent,
    },
    /// This message will never be taken, whoever it is for.
    Refused(Cause),
}

impl Outcome {
    /// The provider refused, and an operator must mend the cause.
    #[must_use]
    pub const fn operator_must_act(cause: Cause) -> Self {
        Self::OperatorMustAct {
            cause,
            sent: Sent::SurelyNot,
        }
    }

    /// Whether the message may be on its way, although nobody said so.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        match self {
            Self::Retry(Retry { sent, .. }) | Self::OperatorMustAct { sent, .. } => *sent,
            Self::Accepted(_) | Self::TokenDead(_) | Self::Refused(_) => Sent::SurelyNot,
        }
    }

    /// Why the target was not reached.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Accepted(_) => None,
            Self::TokenDead(cause)
            | Self::Retry(Retry { cause, .. })
            | Self::OperatorMustAct { cause, .. }
            | Self::Refused(cause) => Some(cause),
        }
    }

    /// Whether another provider may be asked for the same device: only where this one surely did
    /// not and will not deliver (P2).
    #[must_use]
    pub const fn permits_next_route(&self) -> bool {
        match self {
            Self::Accepted(_) | Self::Retry(_) => false,
            Self::OperatorMustAct { sent, .. } => matches!(sent, Sent::SurelyNot),
            Self::TokenDead(_) | Self::Refused(_) => true,
        }
    }
}

/// Why a push was not handed to its provider at all. No outcome, because nothing was tried: it costs no
/// attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Its time was over before its turn came (P3).
    Expired,
    /// The token was found to be dead meanwhile, by another push (P5).
    TokenDead,
    /// This worker can no longer be sure that no other one sends it (P2).
    ClaimOver,
    /// The customer's devices are not what they were when they were read: the token may be another customer's
    /// (P4) or dead (P5). To be looked at again.
    CustomerChanged,
}

/// The provider's name for an accepted message: FCM's `projects/…/messages/…`, Expo's ticket id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderMessageId(String);

impl ProviderMessageId {
    /// The width of `notification_deliveries.provider_id`.
    pub const BYTES_MAX: usize = 255;

    /// The id as the provider gave it, cut at [`Self::BYTES_MAX`].
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(cut(id, Self::BYTES_MAX))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a target was not reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The provider's own code where it gave one (`UNREGISTERED`, `DeviceNotRegistered`), else ours
    /// (`timeout`, `connection_refused`, `http_503`).
    pub code: String,
    /// What it means and, where someone can act, what to do. Our words: a provider's text may hold a token.
    pub text: String,
}

impl Cause {
    const CODE_BYTES_MAX: usize = 64;
    const TEXT_BYTES_MAX: usize = 255;

    /// A cause. A code from outside is reduced to letters, digits, `_`, `-` and `.`, and cut.
    #[must_use]
    pub fn new(code: &str, text: &str) -> Self {
        let plain: String = code
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c))
            .take(Self::CODE_BYTES_MAX)
            .collect();
        Self {
            code: plain,
            text: cut(text, Self::TEXT_BYTES_MAX),
        }
    }
}

/// When to try again, and whether the failed attempt may have got through all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Why.
    pub cause: Cause,
    /// How long to stay away.
    pub pause: Pause,
    /// Whether the message may be on its way nevertheless.
    pub sent: Sent,
    /// Whose trouble it is.
    pub trouble: Trouble,
}

/// What a failure says about all that goes to the same provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The provider fails, or cannot be reached.
    Provider,
    /// It is asked too much.
    Quota,
    /// Nothing: it is about this device.
    Device,
}

/// How long to stay away before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The provider said so (`Retry-After`): binding.
    Asked(Duration),
    /// The provider's documentation says so in general: holds for the default ladder only.
    AtLeast(Duration),
}

/// Whether a failed attempt may have reached the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sent {
    /// The provider refused it or never saw it.
    #[default]
    SurelyNot,
    /// No answer came, or one that says nothing.
    Maybe,
}

impl Sent {
    /// As serde asks.
    pub(crate) const fn is_surely_not(&self) -> bool {
        matches!(self, Self::SurelyNot)
    }

    /// Of two attempts: whether any may have reached the device.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::SurelyNot, Self::SurelyNot) => Self::SurelyNot,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
