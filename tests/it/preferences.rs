//! The customer decides what to get, and when.

use push_tests::{Answer, Key, Stack};
use serde_json::{Value, json};

fn path(customer: i64) -> String {
    format!("/api/Push/preferences/{customer}")
}

async fn put(stack: &Stack, customer: i64, preferences: &Value) -> Answer {
    let call = stack.api().call(reqwest::Method::PUT, &path(customer));
    call.key(Key::Register).json(preferences).answer().await
}

/// What is answered once they are set.
async fn set(stack: &Stack, customer: i64, preferences: &Value) -> Value {
    put(stack, customer, preferences).await.expect(200).json
}

async fn get(stack: &Stack, customer: i64) -> Answer {
    let call = stack.api().get(&path(customer));
    call.key(Key::Register).answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_said_last_is_told_as_a_whole() {
    let stack = Stack::with()
        .workers(0)
        .env_api("MANDATORY_TYPES", "security, cancelled")
        .start()
        .await;
    stack.know_customer(1).await;
    let everything = json!({
        "success": true, "message": "Preferences found", "customerId": 1, "pushEnabled": true, "types": {},
        "quietHours": null, "locale": null, "mandatoryTypes": ["cancelled", "security"],
    });
    assert_eq!(get(&stack, 1).await.expect(200).json, everything);

    let said = json!({
        "pushEnabled": false, "types": {"offer": false, "cancelled": false}, "locale": "zh-Hant-TW",
        "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "America/Argentina/Buenos_Aires"},
    });
    let saved = set(&stack, 1, &said).await;
    let mut told = get(&stack, 1).await.expect(200).json;
    for (field, value) in said.as_object().unwrap() {
        assert_eq!(&told[field], value, "{field}");
    }
    told["message"] = "Preferences saved".into();
    assert_eq!(saved, told);

    // What is not said is as if it had never been.
    let least = json!({"pushEnabled": true, "types": {}});
    set(&stack, 1, &least).await;
    assert_eq!(get(&stack, 1).await.expect(200).json, everything);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_wrong_is_told_at_once_and_changes_nothing() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let said = json!({"pushEnabled": false, "types": {}});
    set(&stack, 1, &said).await;
    let wrong = json!({
        "types": {"offer": 1, "No Type": true}, "locale": "de_DE",
        "quietHours": {"start": "9:00", "end": "24:00", "timeZone": "CEST"},
    });
    let answer = put(&stack, 1, &wrong).await.expect(400);
    assert_eq!(answer.error_code(), "invalid_input");
    assert_eq!(
        answer.wrong_fields(),
        [
            "locale",
            "pushEnabled",
            "quietHours.end",
            "quietHours.start",
            "quietHours.timeZone",
            "types",
            "types.offer"
        ]
    );
    assert_eq!(get(&stack, 1).await.json["pushEnabled"], false);
    for nobody in ["77", "0", "-1", "me", "9223372036854775808"] {
        let path = format!("/api/Push/preferences/{nobody}");
        let answer = stack.api().get(&path).answer().await.expect(404);
        assert_eq!(answer.error_code(), "unknown_customer", "{nobody}");
        let put = stack.api().call(reqwest::Method::PUT, &path).json(&said);
        let answer = put.answer().await.expect(404);
        assert_eq!(answer.error_code(), "unknown_customer", "{nobody}");
    }
    assert_eq!(stack.database.count("notification_preferences").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_become_known_has_preferences_before_anything_else() {
    let stack = Stack::with()
        .workers(0)
        .env_api("UNKNOWN_CUSTOMER", "create")
        .start()
        .await;
    assert_eq!(get(&stack, 5).await.expect(200).json["pushEnabled"], true);
    assert_eq!(
        stack.database.count("customers").await,
        0,
        "looking adds nobody"
    );
    let said = json!({"pushEnabled": false, "types": {}});
    set(&stack, 5, &said).await;
    assert_eq!(stack.database.count("customers").await, 1);
    assert_eq!(get(&stack, 5).await.expect(200).json["pushEnabled"], false);
}
