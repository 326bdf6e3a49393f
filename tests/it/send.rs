//! `sendToCustomer`: what is accepted, how it is answered, and what is stored.

use push_tests::{Device, Key, Stack};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_accepted_notification_is_answered_to_the_letter_and_stored_as_it_came() {
    let stack = Stack::with().in_the_clear().start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;

    let answer = stack.send(1).answer().await.expect(202);
    let id = answer.id();
    assert_eq!(uuid_shape(&id), "8-4-4-4-12");
    let message = answer.json["message"].clone();
    assert!(message.is_string());
    assert_eq!(
        answer.json,
        json!({"success": true, "message": message, "notificationId": id, "status": "pending",
               "fcmResult": "queued", "expoResult": "queued"})
    );
    let row = stack.settled(&id).await;
    assert_eq!(row.status, "sent");
    assert_eq!(
        (
            row.notification_type.as_str(),
            row.priority.as_str(),
            row.ttl_seconds
        ),
        ("service_update", "high", 86_400)
    );
    assert_eq!(
        (
            row.fcm_result.as_str(),
            row.expo_result.as_str(),
            row.attempts
        ),
        ("success", "not_sent", 1)
    );

    // Emoji and all of Unicode survive to the device and to the history; data become strings.
    let title = "Geschafft 🎉👩🏽‍🔧 — сделано, 完了";
    let body = "line one\nline \"two\" \\ \u{202e}\u{200f} עברית 🇮🇳 \u{0000A0}end";
    let data = json!({"type": "completed", "count": 3, "ratio": 1.5, "flag": true, "nothing": null, "größe": "🚗"});
    let sent = stack
        .send(1)
        .with("title", title)
        .with("body", body)
        .with("data", data)
        .with("priority", "normal");
    let answer = sent
        .with("collapseKey", "booking-1")
        .with("ttlSeconds", 600)
        .wait(20)
        .answer()
        .await
        .expect(200);
    let row = stack.settled(&answer.id()).await;
    assert_eq!((row.title.as_str(), row.body.as_str()), (title, body));
    let stored =
        json!({"type": "completed", "count": "3", "ratio": "1.5", "flag": "true", "größe": "🚗"});
    assert_eq!(row.data, stored);
    assert_eq!(
        (row.notification_type.as_str(), row.priority.as_str()),
        ("completed", "normal")
    );
    assert_eq!(
        (row.collapse_key.as_str(), row.ttl_seconds),
        ("booking-1", 600)
    );
    let entry = stack.sim.shown(&phone).await.remove(0);
    assert_eq!(
        (entry["title"].as_str(), entry["body"].as_str()),
        (Some(title), Some(body))
    );
    let request = stack
        .sim
        .requests(push_tests::Provider::Fcm, phone.fcm())
        .await
        .pop()
        .unwrap();
    for (key, value) in stored.as_object().unwrap() {
        assert_eq!(&request["body"]["message"]["data"][key], value, "{key}");
    }
    let view = stack.notification(&answer.id()).await;
    for (field, value) in [
        ("title", json!(title)),
        ("body", json!(body)),
        ("data", stored),
    ] {
        assert_eq!(view[field], value, "{field}");
    }

    // Where type, priority and time to live come from.
    for (fields, wanted) in [
        (
            json!({"type": "promo", "data": {"type": "other"}}),
            ("promo", "high", 86_400),
        ),
        (
            json!({"data": {"priority": "normal"}}),
            ("service_update", "normal", 86_400),
        ),
        (
            json!({"data": {"priority": "normal"}, "priority": "high"}),
            ("service_update", "high", 86_400),
        ),
        (
            json!({"data": {"type": "technician_assigned"}}),
            ("technician_assigned", "high", 3_600),
        ),
        (json!({"type": "reached"}), ("reached", "high", 3_600)),
        (
            json!({"ttlSeconds": 2_419_200}),
            ("service_update", "high", 2_419_200),
        ),
        (
            json!({"unknownField": [1, 2]}),
            ("service_update", "high", 86_400),
        ),
    ] {
        let mut send = stack.send(1);
        for (name, value) in fields.as_object().unwrap() {
            send = send.with(name, value.clone());
        }
        let row = stack.settled(&send.accepted().await).await;
        assert_eq!(
            (
                row.notification_type.as_str(),
                row.priority.as_str(),
                row.ttl_seconds
            ),
            wanted,
            "{fields}"
        );
    }
}

fn uuid_shape(id: &str) -> String {
    let lengths: Vec<String> = id.split('-').map(|part| part.len().to_string()).collect();
    lengths.join("-")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_input_gets_every_problem_at_once_and_nothing_is_stored() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let post = async |body: Value| {
        stack
            .api()
            .post("/api/Push/sendToCustomer", &body)
            .key(Key::Send)
            .answer()
            .await
    };

    let everything = json!({
        "id": "one", "title": "", "body": "  ", "data": {"nested": {"a": 1}, "from": "x", "google.a": "x", "gcm.notification.b": "x", "notificationId": "x"},
        "type": "Not Lower", "priority": "urgent", "ttlSeconds": -1, "collapseKey": "two words", "imageUrl": "http://insecure.example/a.png",
    });
    let answer = post(everything).await.expect(400);
    assert_eq!(answer.error_code(), "invalid_input");
    let fields = answer.wrong_fields();
    for wanted in [
        "id",
        "title",
        "body",
        "type",
        "priority",
        "ttlSeconds",
        "collapseKey",
        "imageUrl",
    ] {
        assert!(
            fields.iter().any(|field| field == wanted),
            "{wanted} in {fields:?}"
        );
    }
    for key in [
        "nested",
        "from",
        "google.a",
        "gcm.notification.b",
        "notificationId",
    ] {
        let named = fields
            .iter()
            .any(|field| field.starts_with("data") && field.contains(key));
        assert!(named, "{key} in {fields:?}");
    }
    assert_eq!(
        post(json!({})).await.expect(400).wrong_fields(),
        ["body", "id", "title"]
    );

    // Each alone, at its limit and beyond.
    let many = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("k{n}"), json!("v")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let text = |bytes: usize| "é".repeat(bytes / 2);
    for (field, good, bad) in [
        ("title", json!("é".repeat(200)), json!("é".repeat(201))),
        ("title", json!("x"), json!(7)),
        ("body", json!(text(3_496)), json!(text(3_500))),
        ("data", many(64), many(65)),
        ("data", json!({}), json!([])),
        ("data", json!({"data": "x"}), json!({"tag": "x"})),
        ("data", json!({"a": "x"}), json!({"click_action": "x"})),
        ("data", json!({"a": "x"}), json!({"message_type": "x"})),
        ("data", json!({"a": 1}), json!({"a": [1]})),
        ("data", json!({"a": null}), json!({"tag": null})),
        (
            "data",
            json!({"orderId": 2_023_112_712_345_678_901_u64}),
            json!({"orderId": 2.023_112_712_345_679e19}),
        ),
        (
            "data",
            json!({"type": "a.b-c_d9"}),
            json!({"type": "has space"}),
        ),
        ("type", json!("x".repeat(50)), json!("x".repeat(51))),
        ("ttlSeconds", json!(2_419_200), json!(2_419_201)),
        ("ttlSeconds", json!(1), json!("60")),
        (
            "imageUrl",
            json!("https://example.com/ü.png".replace('ü', "u")),
            json!("ftp://example.com/u.png"),
        ),
        ("priority", json!("normal"), json!(1)),
        ("id", json!(1), json!(0)),
    ] {
        let body = |value: &Value| {
            let mut body = json!({"id": 1, "title": "T", "body": "B"});
            body[field] = value.clone();
            body
        };
        let before = stack.database.count("notification_history").await;
        let refused = post(body(&bad)).await;
        assert_eq!(refused.status, 400, "{field} {bad}: {}", refused.text);
        assert!(!refused.wrong_fields().is_empty());
        assert_eq!(
            stack.database.count("notification_history").await,
            before,
            "{field} {bad}"
        );
        assert_eq!(post(body(&good)).await.status, 202, "{field} {good}");
    }
    let count = stack.database.count("notification_history").await;

    // An unknown customer; nothing is stored for it either.
    let answer = post(json!({"id": 4711, "title": "T", "body": "B"}))
        .await
        .expect(404);
    assert_eq!(answer.error_code(), "unknown_customer");
    let answer = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": 4711}))
        .answer()
        .await
        .expect(404);
    assert_eq!(answer.error_code(), "unknown_customer");
    assert_eq!(stack.database.count("notification_history").await, count);
    assert_eq!(
        stack
            .database
            .number("SELECT COUNT(*) FROM customers")
            .await,
        1
    );
    // No worker runs in this story.
    stack.leaves_pending();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_customer_can_be_created_instead() {
    let stack = Stack::with()
        .env_api("UNKNOWN_CUSTOMER", "create")
        .start()
        .await;
    let registered = stack
        .register_as_is(&Device::android_fcm("new").registration(500))
        .await;
    assert_eq!(registered.status, 200, "{}", registered.text);
    let sent = stack.send(500).wait(20).answer().await.expect(200);
    assert_eq!(sent.json["status"], "sent");
    let other = stack.send(501).wait(20).answer().await.expect(200);
    assert_eq!(other.json["status"], "suppressed");
    assert_eq!(stack.database.count("customers").await, 2);

    // The backend's own table, where it counts in INT: what cannot be there is unknown.
    stack
        .database
        .execute("ALTER TABLE customers MODIFY id INT NOT NULL AUTO_INCREMENT")
        .await;
    let large = 1_i64 << 40;
    let registered = Device::android_fcm("large").registration(large);
    let registered = stack.register_as_is(&registered).await.expect(404);
    assert_eq!(registered.error_code(), "unknown_customer");
    let sent = stack.send(large).answer().await.expect(404);
    assert_eq!(sent.error_code(), "unknown_customer");
    assert_eq!(stack.database.count("customers").await, 2);
}
