//! The app tells that a notification was opened.

use push_tests::{Answer, Device, Key, Provider, Stack};
use serde_json::json;

async fn opened(stack: &Stack, body: serde_json::Value) -> Answer {
    stack
        .api()
        .post("/api/Push/opened", &body)
        .key(Key::Register)
        .answer()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_first_opening_counts_and_is_told() {
    let stack = Stack::with().apis(2).start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("phone")).await;
    stack.know_customer(2).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let at = stack.notification(&id).await["completedAt"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"notificationId": id, "openedAt": at, "customerId": 1});

    // Not of somebody else's, nor of none; and not in the future.
    let foreign = opened(&stack, json!({"notificationId": id, "customerId": 2})).await;
    assert_eq!(foreign.expect(404).error_code(), "unknown_notification");
    let none = opened(
        &stack,
        json!({"notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"}),
    )
    .await;
    assert_eq!(none.expect(404).error_code(), "unknown_notification");
    for wrong in ["2099-01-01T00:00:00Z", "yesterday"] {
        let told = opened(&stack, json!({"notificationId": id, "openedAt": wrong})).await;
        assert_eq!(told.expect(400).wrong_fields(), ["openedAt"], "{wrong}");
    }
    let told = opened(&stack, json!({})).await.expect(400);
    assert_eq!(told.wrong_fields(), ["notificationId"]);
    assert_eq!(stack.notification(&id).await["openedAt"], json!(null));

    // Many at once, at both replicas.
    let calls = (0..8).map(|number| {
        let api = stack.api_at(number % 2);
        let body = body.clone();
        async move {
            api.post("/api/Push/opened", &body)
                .key(Key::Register)
                .answer()
                .await
                .expect(200)
        }
    });
    let answers = futures::future::join_all(calls).await;
    let first = answers
        .iter()
        .filter(|answer| answer.json["first"] == true)
        .count();
    assert_eq!(first, 1);
    let later = opened(&stack, json!({"notificationId": id}))
        .await
        .expect(200);
    assert_eq!(
        (&later.json["first"], &later.json["openedAt"]),
        (&json!(false), &json!(at))
    );
    let view = stack.notification(&id).await;
    assert_eq!(view["openedAt"], json!(at));
    let steps = view["timeline"].as_array().unwrap().iter();
    assert_eq!(steps.filter(|entry| entry["step"] == "opened").count(), 1);
    let send_only = stack
        .api()
        .post("/api/Push/opened", &body)
        .key(Key::Send)
        .answer()
        .await;
    assert_eq!(send_only.status, 403);
}

/// Nobody heard that it had arrived, but it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_has_failed_and_was_opened_counts_as_well() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("phone")).await;
    stack
        .sim
        .always(Provider::Fcm, phone.fcm(), json!({"case": "unregistered"}))
        .await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let told = opened(&stack, json!({"notificationId": id}))
        .await
        .expect(200);
    assert_eq!(told.json["first"], true);
    let stats = stack
        .api()
        .get("/api/Push/stats")
        .answer()
        .await
        .expect(200)
        .json;
    assert_eq!(
        (&stats["totals"]["opened"], &stats["totals"]["failed"]),
        (&json!(1), &json!(1))
    );
}
