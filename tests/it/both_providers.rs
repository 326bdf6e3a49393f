//! The guide's answer: two devices of one customer, one at FCM and one at Expo.

use push_tests::{Device, Key, Provider, Stack};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_devices_one_fcm_one_expo_give_the_guides_answer() {
    let stack = Stack::start().await;
    let android = stack
        .register(123, Device::android_fcm("Android of customer 123"))
        .await;
    let iphone = stack
        .register(123, Device::ios_expo("iPhone of customer 123"))
        .await;

    // The guide's example, word for word.
    let example = json!({
        "id": 123, "title": "Technician Assigned! 🚗",
        "body": "John has been assigned to your booking BID123. They will contact you soon.",
        "data": {"type": "technician_assigned", "bookingId": "456", "trackId": "BID123", "techName": "John", "priority": "high"},
    });
    let call = stack
        .api()
        .post("/api/Push/sendToCustomer", &example)
        .key(Key::Send);
    let answer = call.header("prefer", "wait=20").answer().await.expect(200);
    let id = answer.id();
    assert_eq!(
        answer.json,
        json!({"success": true, "message": "Push notification sent successfully", "notificationId": id,
               "status": "sent", "fcmResult": "success", "expoResult": "success"})
    );
    for phone in [&android, &iphone] {
        let shown = stack.sim.shown(phone).await;
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0]["title"], example["title"]);
        assert_eq!(shown[0]["body"], example["body"]);
        assert_eq!(stack.sim.rings(phone, &id).await, 1);
    }
    let row = stack.settled(&id).await;
    assert_eq!(
        (
            row.status.as_str(),
            row.customer_id,
            row.notification_type.as_str()
        ),
        ("sent", 123, "technician_assigned")
    );

    // One call tells the whole story.
    let view = stack.notification(&id).await;
    for (field, value) in [
        ("success", json!(true)),
        ("customerId", json!(123)),
        ("type", json!("technician_assigned")),
        ("status", json!("sent")),
        ("reason", json!(null)),
        ("fcmResult", json!("success")),
        ("expoResult", json!("success")),
        ("attempts", json!(1)),
        ("priority", json!("high")),
        ("collapseKey", json!(null)),
        ("openedAt", json!(null)),
        ("data", example["data"].clone()),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
    for field in ["createdAt", "expiresAt", "completedAt"] {
        let time = view[field].as_str().unwrap_or_default();
        let has_shape = time.len() == 24
            && time.ends_with('Z')
            && time.as_bytes()[10] == b'T'
            && time.as_bytes()[19] == b'.';
        assert!(
            has_shape,
            "{field} is RFC 3339 in UTC with milliseconds: {time:?}"
        );
    }
    let deliveries = view["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 2);
    for (provider, platform, token) in [
        ("fcm", "android", android.fcm()),
        ("expo", "ios", iphone.expo()),
    ] {
        let delivery = deliveries
            .iter()
            .find(|delivery| delivery["provider"] == provider)
            .unwrap();
        assert_eq!(
            (&delivery["platform"], &delivery["outcome"]),
            (&json!(platform), &json!("accepted"))
        );
        assert_eq!(
            (&delivery["attempts"], &delivery["maybeDelivered"]),
            (&json!(1), &json!(false))
        );
        assert!(
            delivery["providerId"]
                .as_str()
                .is_some_and(|id| !id.is_empty())
        );
        assert!(delivery["at"].is_string());
        let (_, shown) = delivery["token"].as_str().unwrap().split_once('…').unwrap();
        assert!(
            shown.trim_end_matches(']').len() <= 4 && token.ends_with(shown),
            "masked: {shown}"
        );
    }
    let text = view.to_string();
    assert!(!text.contains(android.fcm()) && !text.contains(iphone.expo()));
    let timeline = view["timeline"].as_array().unwrap();
    assert!(
        timeline.len() >= 4,
        "accepted, devices, two attempts, the end: {timeline:?}"
    );
    assert_eq!(timeline[0]["step"], "accepted");
    assert_eq!(timeline.last().unwrap()["step"], "settled");
    for entry in timeline {
        assert!(
            entry["at"].is_string() && entry["text"].as_str().is_some_and(|text| !text.is_empty()),
            "{entry}"
        );
    }
    // A worker of the next version writes beside us.
    let line = r#"{"at":"2030-01-01T00:00:00.000Z","step":"teleported","text":"new"}"#;
    let append = format!(
        "UPDATE notification_history SET timeline = CONCAT(timeline, '{line}\n') WHERE notification_id = UNHEX('{}')",
        id.replace('-', "")
    );
    stack.database.execute(&append).await;
    let view = stack.notification(&id).await;
    let last = view["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["step"], &last["text"]),
        (&json!("teleported"), &json!("new"))
    );

    // The test endpoint.
    let call = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": 123}))
        .key(Key::Send);
    let answer = call.header("prefer", "wait=20").answer().await.expect(200);
    assert_eq!(
        answer.json,
        json!({"success": true, "message": "Test notification sent", "notificationId": answer.id(),
               "status": "sent", "fcmResult": "success", "expoResult": "success"})
    );
    let view = stack.notification(&answer.id()).await;
    assert_eq!(view["title"], "Test Push Notification");
    assert_eq!(
        view["body"],
        "This is a test notification to verify the system is working."
    );
    assert_eq!(
        (&view["data"]["type"], &view["data"]["test"]),
        (&json!("test"), &json!("true"))
    );
    assert!(view["data"]["timestamp"].is_string());
    let answer = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": 123}))
        .key(Key::Send)
        .answer()
        .await
        .expect(202);
    assert_eq!(
        (&answer.json["status"], &answer.json["fcmResult"]),
        (&json!("pending"), &json!("queued"))
    );
    let wrong = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": "123"}))
        .answer()
        .await
        .expect(400);
    assert_eq!(wrong.wrong_fields(), ["customerId"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wait_that_runs_out_gives_the_202_and_the_notification_goes_on() {
    let stack = Stack::with()
        .env_worker("PROVIDER_TIMEOUT", "30s")
        .start()
        .await;
    stack.register(1, Device::android_fcm("slow")).await;
    stack.sim.latency(Provider::Fcm, 12_000).await;
    let answer = stack.send(1).wait(1).answer().await.expect(202);
    assert_eq!(answer.json["status"], "pending");
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("queued"), &json!("queued"))
    );
    let row = stack.settled(&answer.id()).await;
    assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));

    // A wish that makes no sense is ignored, one that is too large is clamped, none is refused.
    stack.sim.latency(Provider::Fcm, 0).await;
    for (prefer, status) in [
        ("wait=soon", 202),
        ("wait=-1", 202),
        ("wait=0", 202),
        ("wait=9999", 200),
        ("respond-async, wait=20", 200),
    ] {
        let answer = stack.send(1).header("prefer", prefer).answer().await;
        assert_eq!(answer.status, status, "{prefer}: {}", answer.text);
    }
}
