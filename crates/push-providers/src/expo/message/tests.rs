use std::sync::Arc;

use push_core::notification::{CollapseKey, ImageUrl};
use serde_json::{Value, json};

use super::*;
use crate::tests::golden::{fixture, golden, now, push};

const ID: &str = "01900000-0000-7000-8000-000000000001";

fn body(push: &Push) -> Value {
    serde_json::to_value(message(push, &Look::default(), now())).unwrap()
}

/// Where we differ from the official SDK's message on purpose; nothing else may.
fn our_differences(golden: &Value, normal: bool) -> Value {
    let mut ours = golden.clone();
    // Numbers and booleans become strings once, for both providers.
    for value in ours["data"].as_object_mut().unwrap().values_mut() {
        if !value.is_string() {
            *value = json!(value.to_string());
        }
    }
    // So that the app can report the opening, and replace what it shows itself.
    ours["data"]["notificationId"] = json!(ID);
    ours["data"]["tag"] = json!(ID);
    // The guide sends everything with high priority, even what it calls normal.
    if normal {
        ours["priority"] = json!("normal");
    }
    // The guide has none of these: "Default" for a channel, a month to live, two entries after a second sending.
    ours["channelId"] = json!("urgent");
    ours["ttl"] = json!(3_600);
    ours["badge"] = json!(1);
    ours["tag"] = json!(ID);
    ours
}

#[test]
fn every_golden_message_is_ours_but_for_the_deliberate_differences() {
    let golden = golden("expo");
    assert_eq!(golden.len(), 8, "all events");
    let mut normal = 0;
    for (file, golden) in golden {
        let push = push(&golden["input"]);
        let is_normal = push.notification.priority == Priority::Normal;
        normal += usize::from(is_normal);
        let messages = golden["wire"]["body"].as_array().unwrap();
        assert_eq!(messages.len(), 1, "{file}");
        assert_eq!(
            body(&push),
            our_differences(&messages[0], is_normal),
            "{file}"
        );
    }
    assert_eq!(normal, 2, "StartJourney and Cancelled");
}

#[test]
fn the_optional_parts_are_spelled_as_the_sdk_spells_them() {
    let mut push = push(&fixture("expo/technician_assigned.json")["input"]);
    let notification = Arc::make_mut(&mut push.notification);
    notification.collapse_key = Some(CollapseKey::parse("booking-456").unwrap());
    notification.content.image_url = Some(ImageUrl::parse("https://example.com/i.png").unwrap());
    let ours = body(&push);
    let sdk = &fixture("expo/all_fields_with_access_token.json")["wire"]["body"][0];
    for (key, value) in ours.as_object().unwrap() {
        if key != "data" {
            assert_eq!(sdk.get(key), Some(value), "{key}");
        }
    }
    assert_eq!(
        ours.as_object().unwrap().len(),
        12,
        "all that a message can have"
    );
}

#[test]
fn on_ios_a_second_sending_always_replaces_the_first() {
    let mut push = push(&fixture("expo/technician_assigned.json")["input"]);
    assert_eq!(
        body(&push).get("collapseId"),
        None,
        "Android: `tag` does it, without FCM's throttle"
    );
    push.platform = Platform::Ios;
    assert_eq!(body(&push)["collapseId"], ID);
}
