//! One push to one token, how it looks, and who can carry it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use push_core::notification::{Notification, Ttl};
use push_core::outcome::{Outcome, Withheld};
use push_core::provider::{Platform, Provider};
use push_core::token::Token;

/// One push to one token.
#[derive(Clone, Debug)]
pub struct Push {
    /// What is sent.
    pub notification: Arc<Notification>,
    /// Where to.
    pub token: Token,
    /// What runs there.
    pub platform: Platform,
    /// What whoever sends it learns while it waits.
    pub still_wanted: Arc<dyn StillWanted>,
}

/// Pushes wait here: for a slot, an access token, the rate. Meanwhile they may become unwanted.
pub trait StillWanted: fmt::Debug + Send + Sync {
    /// Why the push is no longer to be sent. Asked after each wait, right before its request.
    fn withheld(&self) -> Option<Withheld>;
}

/// Nothing is learnt meanwhile.
impl StillWanted for () {
    fn withheld(&self) -> Option<Withheld> {
        None
    }
}

impl Push {
    /// Why it is not sent any more: what has expired is told as that, whatever else there is.
    pub(crate) fn withheld(&self, now: DateTime<Utc>) -> Option<Withheld> {
        if self.notification.is_expired(now) {
            Some(Withheld::Expired)
        } else {
            self.still_wanted.withheld()
        }
    }
}

/// A provider that carries pushes to devices.
pub trait PushProvider: Send + Sync {
    /// Which one it is.
    const PROVIDER: Provider;

    /// Sends one push and says what became of it, or why it was not handed over. Dropping the future
    /// gives the push up; whether it was sent is then unknown.
    fn send(&self, push: Push) -> impl Future<Output = Result<Outcome, Withheld>> + Send;
}

/// How a push looks and sounds where the notification does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The sound's file name in the app, with its extension, as iOS wants it.
    pub sound: String,
    /// Android's notification channel.
    pub channel: String,
    /// The number on the app's icon (iOS).
    pub badge: u32,
    /// `data.click_action`: what a Flutter app looks at when the notification is tapped.
    pub click_action: String,
}

impl Default for Look {
    /// The integration guide's.
    fn default() -> Self {
        Self {
            sound: "notificationtone.wav".to_owned(),
            channel: "urgent".to_owned(),
            badge: 1,
            click_action: "FLUTTER_NOTIFICATION_CLICK".to_owned(),
        }
    }
}

/// How long the provider may keep it, in whole seconds, within what FCM takes.
pub(crate) fn seconds_left(notification: &Notification, now: DateTime<Utc>) -> u64 {
    notification
        .time_left(now)
        .as_secs()
        .min(Ttl::SECONDS_MAX.unsigned_abs())
}
