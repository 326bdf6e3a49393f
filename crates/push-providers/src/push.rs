//! One push to one token, how it looks, and who can carry it.

use std::future::Future;
use std::sync::Arc;

use push_core::notification::Notification;
use push_core::outcome::Outcome;
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
