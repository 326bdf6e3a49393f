//! The golden payloads beside the workspace's tests: what the official SDKs send for the guide's events.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::{
    Body, Content, Data, Notification, NotificationType, Priority, Title,
};
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken, Token};
use serde_json::Value;

use crate::push::Push;

/// 2026-01-02T03:04:05Z.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_045, 0).unwrap()
}

pub(crate) fn fixture(path: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(path)).unwrap()).unwrap()
}

/// Every file of a folder that has an input and the one message that it becomes.
pub(crate) fn golden(provider: &str) -> Vec<(String, Value)> {
    let files = fs::read_dir(folder().join(provider)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.ends_with(".json") && name != "sdk_validation.json"); // holds half an emoji: no JSON for Rust
    let files = names.map(|name| (name.clone(), fixture(&format!("{provider}/{name}"))));
    files
        .filter(|(_, file)| file["input"].is_object() && !file["wire"]["body"].is_null())
        .collect()
}

/// The push that a golden input means, accepted at [`now`] with an hour to live.
pub(crate) fn push(input: &Value) -> Push {
    let text = |key: &str| input[key].as_str();
    let data = Data::parse(input["data"].as_object().unwrap()).unwrap();
    let normal = data.get("priority") == Some("normal");
    let token = match (text("fcmToken"), text("expoPushToken")) {
        (Some(token), _) => Token::Fcm(FcmToken::parse(token).unwrap()),
        (None, token) => Token::Expo(ExpoToken::parse(token.unwrap()).unwrap()),
    };
    let notification = Notification {
        id: NotificationId::from(uuid::Uuid::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0001,
        )),
        customer: CustomerId::try_from(input["id"].as_i64().unwrap()).unwrap(),
        kind: NotificationType::parse(data.get("type").unwrap()).unwrap(),
        content: Content {
            title: Title::parse(text("title").unwrap()).unwrap(),
            body: Body::parse(text("body").unwrap()).unwrap(),
            data,
            image_url: None,
        },
        priority: if normal {
            Priority::Normal
        } else {
            Priority::High
        },
        collapse_key: None,
        created_at: now(),
        send_at: None,
        expires_at: now() + TimeDelta::hours(1),
    };
    let platform = Platform::from_spelling(text("platform").unwrap()).unwrap();
    Push {
        notification: Arc::new(notification),
        token,
        platform,
        still_wanted: Arc::new(()),
    }
}

/// A push for one of the providers, accepted just now.
pub(crate) fn push_now(provider: &str) -> Push {
    let mut push = push(&fixture(&format!("{provider}/technician_assigned.json"))["input"]);
    let notification = Arc::make_mut(&mut push.notification);
    notification.created_at = Utc::now();
    notification.expires_at = Utc::now() + TimeDelta::hours(1);
    push
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/providers")
}
