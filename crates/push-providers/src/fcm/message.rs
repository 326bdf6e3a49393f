//! What is sent to FCM (Firebase docs, "REST Resource: projects.messages"; the v1 discovery document).
//!
//! The message is the one that the official SDK makes of the integration guide's, and what the
//! guide lacks: time to live, tag and ids, so that it cannot come late or stand there twice.
//! Both spellings of a field are accepted by FCM; ours are the ones that the SDK sends.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::notification::{Notification, Priority};
use push_core::provider::Platform;
use serde::Serialize;

use crate::push::{Look, Push, seconds_left};

/// The body of `messages:send`.
#[derive(Serialize)]
pub(crate) struct Request<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    notification: Shown<'a>,
    data: BTreeMap<&'a str, &'a str>,
    android: Android<'a>,
    apns: Apns<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webpush: Option<Webpush<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    title: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
}

#[derive(Serialize)]
struct Android<'a> {
    priority: &'static str,
    ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
    notification: AndroidNotification<'a>,
}

#[derive(Serialize)]
struct AndroidNotification<'a> {
    channel_id: &'a str,
    sound: &'a str,
    notification_priority: &'static str,
    tag: &'a str,
}

#[derive(Serialize)]
struct Apns<'a> {
    headers: ApnsHeaders<'a>,
    payload: ApnsPayload<'a>,
}

/// Apple, "Sending notification requests to APNs". Values are strings, also the numbers.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ApnsHeaders<'a> {
    apns_priority: &'static str,
    apns_expiration: String,
    apns_collapse_id: &'a str,
}

#[derive(Serialize)]
struct ApnsPayload<'a> {
    aps: Aps<'a>,
}

#[derive(Serialize)]
struct Aps<'a> {
    /// Said again: whether `aps` without an alert drops the top-level one is not documented.
    alert: ApsAlert<'a>,
    sound: &'a str,
    badge: u32,
}

#[derive(Serialize)]
struct ApsAlert<'a> {
    title: &'a str,
    body: &'a str,
}

#[derive(Serialize)]
struct Webpush<'a> {
    headers: WebpushHeaders,
    notification: WebNotification<'a>,
}

/// RFC 8030, sections 5.2 and 5.3.
#[derive(Serialize)]
struct WebpushHeaders {
    #[serde(rename = "TTL")]
    ttl: String,
    #[serde(rename = "Urgency")]
    urgency: &'static str,
}

/// Overrides the top-level notification, so title and body stand here again, for the tag's sake.
#[derive(Serialize)]
struct WebNotification<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    tag: &'a str,
}

/// The notification's texts that the message borrows but the notification does not hold as such.
pub(crate) struct Ids {
    notification: String,
    tag: String,
}

impl Ids {
    pub(crate) fn of(notification: &Notification) -> Self {
        Self {
            notification: notification.id.to_string(),
            tag: notification.tag(),
        }
    }
}

/// The body for one push, as of `now`.
pub(crate) fn request<'a>(
    push: &'a Push,
    ids: &'a Ids,
    look: &'a Look,
    now: DateTime<Utc>,
) -> Request<'a> {
    let notification = push.notification.as_ref();
    let webpush = match push.platform {
        Platform::Web => Some(webpush(notification, &ids.tag, now)),
        Platform::Android | Platform::Ios => None,
    };
    Request {
        message: Message {
            token: push.token.reveal(),
            notification: shown(notification),
            data: data(notification, ids, look),
            android: android(notification, &ids.tag, look, now),
            apns: apns(notification, &ids.tag, look),
            webpush,
        },
    }
}

fn shown(notification: &Notification) -> Shown<'_> {
    let content = &notification.content;
    Shown {
        title: content.title.as_str(),
        body: content.body.as_str(),
        image: content.image_url.as_ref().map(|url| url.as_str()),
    }
}

/// The caller's pairs; ours win, whatever came in.
fn data<'a>(
    notification: &'a Notification,
    ids: &'a Ids,
    look: &'a Look,
) -> BTreeMap<&'a str, &'a str> {
    let ours = [
        ("click_action", look.click_action.as_str()),
        ("notificationId", ids.notification.as_str()),
        // expo-notifications takes this one for the identifier while the app is in front.
        ("tag", ids.tag.as_str()),
    ];
    notification.content.data.iter().chain(ours).collect()
}

fn android<'a>(
    notification: &'a Notification,
    tag: &'a str,
    look: &'a Look,
    now: DateTime<Utc>,
) -> Android<'a> {
    let (priority, notification_priority) = match notification.priority {
        Priority::High => ("high", "PRIORITY_HIGH"),
        Priority::Normal => ("normal", "PRIORITY_DEFAULT"),
    };
    Android {
        priority,
        ttl: format!("{}s", seconds_left(notification, now)),
        // Only where the caller wants it: FCM keeps four keys a device and throttles collapsible messages.
        collapse_key: notification.collapse_key.as_ref().map(|key| key.as_str()),
        notification: AndroidNotification {
            channel_id: &look.channel,
            sound: without_extension(&look.sound),
            notification_priority,
            tag,
        },
    }
}

/// The client looks the sound up in `res/raw`, where names have no extension
/// (firebase-android-sdk, `CommonNotificationBuilder.getSound`).
fn without_extension(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(name, _)| name)
}

fn apns<'a>(notification: &'a Notification, tag: &'a str, look: &'a Look) -> Apns<'a> {
    let apns_priority = match notification.priority {
        Priority::High => "10",
        Priority::Normal => "5",
    };
    let content = &notification.content;
    Apns {
        headers: ApnsHeaders {
            apns_priority,
            apns_expiration: notification.expires_at.timestamp().to_string(),
            apns_collapse_id: tag,
        },
        payload: ApnsPayload {
            aps: Aps {
                alert: ApsAlert {
                    title: content.title.as_str(),
                    body: content.body.as_str(),
                },
                sound: &look.sound,
                badge: look.badge,
            },
        },
    }
}

fn webpush<'a>(notification: &'a Notification, tag: &'a str, now: DateTime<Utc>) -> Webpush<'a> {
    let urgency = match notification.priority {
        Priority::High => "high",
        Priority::Normal => "normal",
    };
    Webpush {
        headers: WebpushHeaders {
            ttl: seconds_left(notification, now).to_string(),
            urgency,
        },
        notification: WebNotification {
            shown: shown(notification),
            tag,
        },
    }
}

#[cfg(test)]
mod tests;
