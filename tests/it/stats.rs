//! The figures.

use push_tests::{Answer, Device, Key, Provider, Stack};
use serde_json::{Value, json};

async fn stats(stack: &Stack, query: &str) -> Value {
    let answer = stack
        .api()
        .get(&format!("/api/Push/stats?{query}"))
        .key(Key::Read)
        .answer()
        .await;
    answer.expect(200).json
}

/// What the rows say is compared at the end of every test.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_became_of_notifications_is_told_by_hour_and_day_and_in_groups() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("good")).await;
    let bad = stack.register(2, Device::android_fcm("bad")).await;
    stack
        .sim
        .always(Provider::Fcm, bad.fcm(), json!({"case": "unregistered"}))
        .await;
    stack.know_customer(3).await;
    let mut first = String::new();
    for (customer, kind) in [(1, "a"), (1, "b"), (1, "b"), (2, "a"), (3, "b")] {
        let sent = stack
            .send(customer)
            .with("type", kind)
            .wait(20)
            .answer()
            .await
            .expect(200);
        first = if first.is_empty() { sent.id() } else { first };
    }
    let opened = json!({"notificationId": first});
    let opened = stack.api().post("/api/Push/opened", &opened).answer().await;
    assert_eq!(opened.status, 200);
    assert_eq!(stack.terminate_worker().await, Some(0));
    let pending = stack.send(1).with("type", "a").accepted().await;

    let told = stats(&stack, "interval=day&groupBy=type").await;
    let totals = &told["totals"];
    for (field, value) in [
        ("accepted", json!(6)),
        ("sent", json!(3)),
        ("failed", json!(1)),
        ("suppressed", json!(1)),
        ("pending", json!(1)),
        ("opened", json!(1)),
        ("successRate", json!(0.75)),
        ("openRate", json!(0.3333)),
        ("failedByReason", json!({"invalid_tokens": 1})),
        ("suppressedByReason", json!({"no_active_device": 1})),
    ] {
        assert_eq!(totals[field], value, "{field}: {totals}");
    }
    let fcm = &totals["providers"]["fcm"];
    assert_eq!(
        (
            &fcm["success"],
            &fcm["failed"],
            &fcm["deliveryTimeMs"]["count"]
        ),
        (&json!(3), &json!(1), &json!(3))
    );
    let times = &totals["deliveryTimeMs"];
    let time = |name: &str| times[name].as_u64().unwrap();
    assert!(
        time("count") == 3
            && 0 < time("p50")
            && time("p50") <= time("p95")
            && time("p95") <= time("p99"),
        "{times}"
    );
    assert_eq!(
        told["buckets"].as_array().unwrap().len(),
        30,
        "also where there is nothing"
    );
    let count = |told: &Value, key: &str| {
        let groups = told["totals"]["groups"].as_array().unwrap();
        groups
            .iter()
            .find(|group| group["key"] == key)
            .map(|group| group["count"].clone())
    };
    assert_eq!(
        (count(&told, "a"), count(&told, "b")),
        (Some(json!(3)), Some(json!(3)))
    );
    for (by, key, expected) in [
        ("status", "pending", 1),
        ("reason", "invalid_tokens", 1),
        ("provider", "fcm", 3),
        ("type", "b", 3),
    ] {
        let told = stats(&stack, &format!("groupBy={by}")).await;
        assert_eq!(count(&told, key), Some(json!(expected)), "{by}: {told}");
        let buckets = told["buckets"].as_array().unwrap();
        assert_eq!((buckets.len(), &buckets[0]["accepted"]), (24, &json!(0)));
        let sum: u64 = buckets
            .iter()
            .filter_map(|bucket| bucket["accepted"].as_u64())
            .sum();
        assert_eq!(sum, 6);
    }
    // Later on it is told of the hour in which it was accepted.
    stack.start_worker().await;
    assert_eq!(stack.settled(&pending).await.status, "sent");
    let told = stats(&stack, "").await;
    assert_eq!(
        (&told["totals"]["sent"], &told["totals"]["pending"]),
        (&json!(4), &json!(0))
    );
    let before = stats(&stack, "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").await;
    assert_eq!(before["totals"]["accepted"], 0);
    assert_eq!(before["totals"]["successRate"], Value::Null);

    let call = |query: &str| stack.api().get(&format!("/api/Push/stats?{query}"));
    let wrong: Answer = call("interval=week&groupBy=x&from=x")
        .answer()
        .await
        .expect(400);
    assert_eq!(wrong.wrong_fields(), ["from", "groupBy", "interval"]);
    let too_long = call("from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z")
        .answer()
        .await;
    assert_eq!(too_long.expect(400).wrong_fields(), ["to"]);
    assert_eq!(call("").key(Key::Register).answer().await.status, 403);
}
