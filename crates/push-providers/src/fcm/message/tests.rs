use std::sync::Arc;

use chrono::TimeDelta;
use push_core::notification::{CollapseKey, ImageUrl};
use serde_json::{Value, json};

use super::*;
use crate::tests::golden::{fixture, golden, now, push};

const ID: &str = "01900000-0000-7000-8000-000000000001";

fn body(push: &Push) -> Value {
    let ids = Ids::of(&push.notification);
    serde_json::to_value(request(push, &ids, &Look::default(), now())).unwrap()
}

/// Where we differ from the official SDK's message on purpose; nothing else may.
fn our_differences(golden: &Value, normal: bool) -> Value {
    let mut ours = golden.clone();
    let message = &mut ours["message"];
    let (title, body) = (
        message["notification"]["title"].clone(),
        message["notification"]["body"].clone(),
    );
    // So that the app can report the opening, and replace what it shows itself.
    message["data"]["notificationId"] = json!(ID);
    message["data"]["tag"] = json!(ID);
    // The guide has none: a message could come four weeks late.
    message["android"]["ttl"] = json!("3600s");
    // A second sending replaces the first.
    message["android"]["notification"]["tag"] = json!(ID);
    // With the extension, Android does not find the sound.
    message["android"]["notification"]["sound"] = json!("notificationtone");
    // The guide sends everything with high priority, even what it calls normal.
    if normal {
        message["android"]["priority"] = json!("normal");
        message["android"]["notification"]["notification_priority"] = json!("PRIORITY_DEFAULT");
    }
    // The same for iOS.
    message["apns"]["headers"] = json!({
        "apns-priority": if normal { "5" } else { "10" },
        "apns-expiration": "1767326645",
        "apns-collapse-id": ID,
    });
    message["apns"]["payload"]["aps"]["alert"] = json!({"title": title, "body": body});
    ours
}

#[test]
fn every_golden_message_is_ours_but_for_the_deliberate_differences() {
    let golden = golden("fcm");
    assert_eq!(golden.len(), 9, "all events, for Android and iOS");
    let mut normal = 0;
    for (file, golden) in golden {
        let push = push(&golden["input"]);
        let is_normal = push.notification.priority == Priority::Normal;
        normal += usize::from(is_normal);
        assert_eq!(
            body(&push),
            our_differences(&golden["wire"]["body"], is_normal),
            "{file}"
        );
    }
    assert_eq!(normal, 2, "StartJourney and Cancelled");
}

/// With everything that a notification can have, for a browser.
fn with_everything() -> Push {
    let mut push = push(&fixture("fcm/technician_assigned.json")["input"]);
    let notification = Arc::make_mut(&mut push.notification);
    notification.collapse_key = Some(CollapseKey::parse("booking-456").unwrap());
    notification.content.image_url = Some(ImageUrl::parse("https://example.com/i.png").unwrap());
    push.platform = Platform::Web;
    push
}

#[test]
fn the_optional_parts_are_spelled_as_the_sdk_spells_them() {
    let ours = body(&with_everything());
    let sdk = &fixture("fcm/all_options.json")["wire"]["body"];
    for path in [
        "/message/notification",
        "/message/android/priority",
        "/message/android/ttl",
        "/message/android/collapse_key",
        "/message/android/notification/sound",
        "/message/android/notification/tag",
        "/message/android/notification/channel_id",
        "/message/android/notification/notification_priority",
        "/message/apns/headers/apns-priority",
        "/message/apns/headers/apns-collapse-id",
        "/message/apns/payload/aps/alert",
        "/message/webpush/headers",
    ] {
        assert_eq!(ours.pointer(path), sdk.pointer(path), "{path}");
        assert!(ours.pointer(path).is_some(), "{path}");
    }
    let mut web = sdk["message"]["webpush"]["notification"].clone();
    web["image"] = json!("https://example.com/i.png");
    assert_eq!(ours["message"]["webpush"]["notification"], web);
}

#[test]
fn ttl_is_what_is_left_and_within_what_fcm_takes() {
    let mut push = push(&fixture("fcm/technician_assigned.json")["input"]);
    let mut ttl = |expires_at| {
        Arc::make_mut(&mut push.notification).expires_at = expires_at;
        body(&push)["message"]["android"]["ttl"].clone()
    };
    assert_eq!(ttl(now() + TimeDelta::milliseconds(90_900)), "90s");
    assert_eq!(ttl(now() - TimeDelta::hours(1)), "0s");
    assert_eq!(ttl(now() + TimeDelta::days(400)), "2419200s");
}

#[test]
fn what_we_send_is_valid_by_the_schema_of_the_service() {
    let schema = fixture("fcm/message_schema.json");
    let golden = golden("fcm")
        .into_iter()
        .map(|(_, file)| push(&file["input"]));
    for push in golden.chain([with_everything()]) {
        check(&schema["types"], "SendMessageRequest", &body(&push));
    }
}

/// Names of fields and nested messages; an unknown name is what the service refuses.
fn check(types: &Value, name: &str, value: &Value) {
    let fields = types[name]
        .as_object()
        .unwrap_or_else(|| panic!("type {name}"));
    for (key, value) in value
        .as_object()
        .unwrap_or_else(|| panic!("{name} is an object"))
    {
        let known = fields
            .iter()
            .find(|(field, rule)| *field == key || rule["json_alias"] == key.as_str());
        let (_, rule) = known.unwrap_or_else(|| panic!("{name} has no field {key}"));
        if let Some(message) = rule["message"].as_str() {
            check(types, message, value);
        } else if rule["type"] == "map<string,string>" {
            assert!(
                value.as_object().unwrap().values().all(Value::is_string),
                "{name}.{key}"
            );
        } else if let Some(spellings) = rule["enum"].as_array() {
            let value = json!(value.as_str().unwrap().to_uppercase());
            assert!(spellings.contains(&value), "{name}.{key}");
        }
    }
}
