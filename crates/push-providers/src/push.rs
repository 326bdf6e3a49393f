//! One push to one token, how it looks, and who can carry it.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use push_core::notification::{Notification, Ttl};
use push_core::outcome::Outcome;
use push_core::provider::{Platform, Provider};
use push_core::token::Token;

use crate::transport::Failure;

/// One push to one token.
#[derive(Clone, Debug)]
pub struct Push {
    /// What is sent.
    pub notification: Arc<Notification>,
    /// Where to.
    pub token: Token,
    /// What runs there.
    pub platform: Platform,
}

/// A provider that carries pushes to devices.
pub trait PushProvider: Send + Sync {
    /// Which one it is.
    const PROVIDER: Provider;

    /// Sends one push and says what became of it. Dropping the future gives the push up; whether
    /// it was sent is then unknown.
    fn send(&self, push: Push) -> impl Future<Output = Outcome> + Send;
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

/// Whether it expired while it waited here for its turn. One that never had time to live is meant
/// for now or never, and goes.
pub(crate) fn expired_waiting(notification: &Notification, now: DateTime<Utc>) -> bool {
    notification.is_expired(now) && notification.expires_at > notification.created_at
}

/// What becomes of such a one: it was not sent, and whoever settles it sees that it has expired.
pub(crate) fn expired() -> Outcome {
    Failure::not_sent("expired", "It expired while it waited for its turn.").into()
}
