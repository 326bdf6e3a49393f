//! What is sent to Expo (Expo docs, "Send notifications with the Expo Push Service", message format).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::notification::{Notification, Priority};
use push_core::provider::Platform;
use serde::Serialize;

use crate::push::{Look, Push, seconds_left};

/// One message to one token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message<'a> {
    to: &'a str,
    /// iOS only; on Android the channel decides.
    sound: &'a str,
    title: &'a str,
    body: &'a str,
    data: BTreeMap<&'a str, String>,
    priority: &'static str,
    channel_id: &'a str,
    ttl: u64,
    badge: u32,
    tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rich_content: Option<RichContent<'a>>,
}

#[derive(Serialize)]
struct RichContent<'a> {
    image: &'a str,
}

/// The message for one push, as of `now`.
pub(crate) fn message<'a>(push: &'a Push, look: &'a Look, now: DateTime<Utc>) -> Message<'a> {
    let notification = push.notification.as_ref();
    let content = &notification.content;
    Message {
        to: push.token.reveal(),
        sound: &look.sound,
        title: content.title.as_str(),
        body: content.body.as_str(),
        data: data(notification),
        priority: match notification.priority {
            Priority::High => "high",
            Priority::Normal => "normal",
        },
        channel_id: &look.channel,
        ttl: seconds_left(notification, now),
        badge: look.badge,
        tag: notification.tag(),
        collapse_id: collapse_id(notification, push.platform),
        rich_content: content.image_url.as_ref().map(|url| RichContent {
            image: url.as_str(),
        }),
    }
}

/// The caller's pairs; ours win, whatever came in.
fn data(notification: &Notification) -> BTreeMap<&str, String> {
    let ours = [
        ("notificationId", notification.id.to_string()),
        ("tag", notification.tag()),
    ];
    notification
        .content
        .data
        .iter()
        .map(|(key, value)| (key, value.to_owned()))
        .chain(ours)
        .collect()
}

/// On iOS it is the only thing by which a second sending replaces the first, so it is always there.
/// On Android `tag` does that, and this becomes FCM's collapse key, of which a device keeps four
/// and which is throttled: only where the caller wants it.
fn collapse_id(notification: &Notification, platform: Platform) -> Option<String> {
    match platform {
        Platform::Ios => Some(notification.tag()),
        Platform::Android | Platform::Web => notification
            .collapse_key
            .as_ref()
            .map(|key| key.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests;
