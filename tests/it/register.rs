//! Registering and unregistering: one row is one device.

use push_tests::{Device, Key, Stack};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn registering_again_updates_instead_of_adding() {
    let stack = Stack::with().in_the_clear().start().await;
    let phone = stack.register(1, Device::android_both("pixel")).await;
    stack.register(1, phone.device.clone()).await;
    assert_eq!(stack.database.count("customer_push_tokens").await, 1);

    // By its deviceId: new tokens, one row.
    let renewed = stack.register(1, Device::android_both("pixel")).await;
    assert_eq!(stack.database.count("customer_push_tokens").await, 1);
    let tokens = stack
        .database
        .texts("SELECT CONCAT(fcm_token, ' ', expo_push_token) FROM customer_push_tokens")
        .await;
    assert_eq!(tokens, [format!("{} {}", renewed.fcm(), renewed.expo())]);

    // Without a deviceId, by either token.
    for field in ["fcmToken", "expoPushToken"] {
        let mut by_token = renewed.device.registration(1);
        by_token.as_object_mut().unwrap().remove("deviceId");
        let other = if field == "fcmToken" {
            "expoPushToken"
        } else {
            "fcmToken"
        };
        by_token.as_object_mut().unwrap().remove(other);
        assert_eq!(stack.register_as_is(&by_token).await.status, 200, "{field}");
        assert_eq!(
            stack.database.count("customer_push_tokens").await,
            1,
            "{field}"
        );
    }

    // Another device is another row, and both get what is sent.
    let tablet = stack.register(1, Device::ios_expo("tablet")).await;
    assert_eq!(stack.database.count("customer_push_tokens").await, 2);
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    assert_eq!(stack.sim.rings(&renewed, &id).await, 1);
    assert_eq!(stack.sim.rings(&tablet, &id).await, 1);
    assert_eq!(
        stack.sim.phone(&phone).await["arrivals"],
        1,
        "the phone has one name for all its tokens"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unregistering_is_idempotent_and_can_be_taken_back() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_both("pixel")).await;
    let unregister = async |body: serde_json::Value| {
        let answer = stack
            .api()
            .post("/api/Push/unregister", &body)
            .key(Key::Register)
            .answer()
            .await;
        assert_eq!(answer.json["success"], true, "{}", answer.text);
        assert!(answer.json["message"].is_string());
        assert_eq!(answer.status, 200);
    };
    let results = async || {
        let answer = stack.send(1).wait(20).answer().await.expect(200);
        (
            answer.json["fcmResult"].clone(),
            answer.json["expoResult"].clone(),
        )
    };

    // One token: the device is reached through the other.
    let by_token = json!({"userType": "customer", "id": 1, "fcmToken": phone.fcm()});
    for _ in 0..2 {
        unregister(by_token.clone()).await;
    }
    assert_eq!(results().await, (json!("not_sent"), json!("success")));

    // Another customer cannot unregister what is not theirs.
    stack.know_customer(2).await;
    unregister(json!({"userType": "customer", "id": 2, "expoPushToken": phone.expo()})).await;
    assert_eq!(results().await, (json!("not_sent"), json!("success")));

    // The device: nothing is left.
    for _ in 0..2 {
        unregister(json!({"userType": "customer", "id": 1, "deviceId": "pixel"})).await;
    }
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(answer.json["status"], "suppressed");
    let row = stack.settled(&answer.id()).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str(), row.attempts),
        ("suppressed", "no_active_device", 0)
    );
    assert_eq!(
        (row.fcm_result.as_str(), row.expo_result.as_str()),
        ("not_sent", "not_sent")
    );

    // What was never there.
    unregister(json!({"userType": "customer", "id": 1, "fcmToken": Device::fresh_fcm()})).await;

    // Registered again, it is back, in the same row.
    stack.register(1, phone.device.clone()).await;
    assert_eq!(stack.database.count("customer_push_tokens").await, 1);
    assert_eq!(results().await, (json!("success"), json!("not_sent")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_token_is_refused_and_told_what_a_real_one_looks_like() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let apns = "0123456789abcdef".repeat(4);
    let umlaut = format!("{}ü", Device::fresh_fcm());
    let spaced = format!("{} x", Device::fresh_fcm());
    let long = "a".repeat(501);
    let (fcm, expo) = (Device::fresh_fcm(), Device::fresh_expo());
    let cases: &[(&str, &str, &str)] = &[
        // The guide's own placeholders.
        ("fcmToken", "fcm_token_here", "getToken"),
        ("expoPushToken", "expo_token_here", "ExponentPushToken["),
        // Taken for each other.
        ("fcmToken", &expo, "expoPushToken"),
        (
            "fcmToken",
            "F5741A13-BCDA-434B-A316-5DC0E6FFA94F",
            "expoPushToken",
        ),
        ("expoPushToken", &fcm, "ExponentPushToken["),
        // An iPhone's own token.
        ("fcmToken", &apns, "APNs"),
        ("fcmToken", "", "getToken"),
        ("fcmToken", &umlaut, "getToken"),
        ("fcmToken", &spaced, "getToken"),
        ("fcmToken", &long, "getToken"),
        ("expoPushToken", "ExponentPushToken[]", "ExponentPushToken["),
        (
            "expoPushToken",
            "exponentpushtoken[yyyyyyyyyyyyyyyyyyyyyy]",
            "ExponentPushToken[",
        ),
    ];
    for (field, token, hint) in cases {
        let mut body = json!({"userType": "customer", "id": 1, "platform": "android"});
        body[*field] = (*token).into();
        let answer = stack.register_as_is(&body).await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (400, "invalid_input"),
            "{token}"
        );
        assert_eq!(answer.wrong_fields(), [*field]);
        assert!(answer.text.contains(hint), "{token}: {}", answer.text);
        assert!(
            token.len() < 20 || !answer.text.contains(token),
            "echoed: {}",
            answer.text
        );
    }

    // The database does not tell "d" from "d ".
    for name in ["d ", " d", " "] {
        let mut body = Device::android_fcm("pixel").registration(1);
        body["deviceId"] = name.into();
        let answer = stack.register_as_is(&body).await.expect(400);
        assert_eq!(answer.wrong_fields(), ["deviceId"], "{name:?}");
    }

    // All problems at once, and nothing is stored.
    let body = json!({"userType": "technician", "id": "one", "platform": "symbian", "fcmToken": "short", "expoPushToken": 7, "deviceId": ""});
    let answer = stack.register_as_is(&body).await.expect(400);
    assert_eq!(
        answer.wrong_fields(),
        [
            "deviceId",
            "expoPushToken",
            "fcmToken",
            "id",
            "platform",
            "userType"
        ]
    );
    let answer = stack.register_as_is(&json!({})).await.expect(400);
    assert!(answer.wrong_fields().len() >= 4, "{}", answer.text);
    assert_eq!(stack.database.count("customer_push_tokens").await, 0);

    // What is odd but real.
    let fid = "c".to_owned() + &"A".repeat(21);
    for (field, token) in [
        ("fcmToken", fid.as_str()),
        ("expoPushToken", "ExpoPushToken[a]"),
        ("expoPushToken", "F5741A13-BCDA-434B-A316-5DC0E6FFA94F"),
    ] {
        let mut body = json!({"userType": "customer", "id": 1, "platform": "ios", "unknown": true});
        body[field] = token.into();
        assert_eq!(stack.register_as_is(&body).await.status, 200, "{token}");
    }

    // An unknown customer.
    let answer = stack
        .register_as_is(&Device::android_fcm("x").registration(77))
        .await
        .expect(404);
    assert_eq!(answer.error_code(), "unknown_customer");
    assert_eq!(stack.database.count("customer_push_tokens").await, 3);
}
