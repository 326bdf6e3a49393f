//! What lies on the broker: the topology, and a job with its envelope.

use lapin::types::AMQPValue;
use push_tests::{Broker, Device, Stack, eventually};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_topology_is_the_contracts() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "200ms,2s,1m")
        .start()
        .await;
    stack.all_ready().await;
    let queues = stack.broker.listed("queues").await;
    let queue = |name: &str| {
        queues
            .iter()
            .find(|queue| queue["name"] == name)
            .unwrap_or_else(|| panic!("no queue {name}"))
    };
    for listed in &queues {
        assert_eq!(
            (&listed["durable"], &listed["arguments"]["x-queue-type"]),
            (&json!(true), &json!("quorum")),
            "{}",
            listed["name"]
        );
    }
    let jobs = &queue("push.jobs")["arguments"];
    assert_eq!(
        (&jobs["x-delivery-limit"], &jobs["x-dead-letter-exchange"]),
        (&json!(20), &json!("push.dlx"))
    );
    assert_eq!(
        (&jobs["x-dead-letter-strategy"], &jobs["x-overflow"]),
        (&json!("at-least-once"), &json!("reject-publish"))
    );
    for (rung, milliseconds) in [("200ms", 200), ("2s", 2_000), ("1m", 60_000)] {
        let arguments = &queue(&format!("push.retry.{rung}"))["arguments"];
        assert_eq!(
            (
                &arguments["x-message-ttl"],
                &arguments["x-dead-letter-exchange"]
            ),
            (&json!(milliseconds), &json!("push")),
            "{rung}"
        );
        assert_eq!(
            arguments["x-dead-letter-strategy"], "at-least-once",
            "{rung}"
        );
    }
    queue("push.dead");
    queue("push.receipts");
    assert!(queues.iter().any(|queue| {
        queue["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("push.receipts."))
    }));
    let exchanges = stack.broker.listed("exchanges").await;
    for (name, kind) in [
        ("push", "direct"),
        ("push.dlx", "direct"),
        ("push.invalidate", "fanout"),
    ] {
        let exchange = exchanges
            .iter()
            .find(|exchange| exchange["name"] == name)
            .unwrap_or_else(|| panic!("no exchange {name}"));
        assert_eq!(
            (&exchange["type"], &exchange["durable"]),
            (&json!(kind), &json!(true)),
            "{name}"
        );
    }
    let bindings = stack.broker.listed("bindings").await;
    for (exchange, queue) in [("push", "push.jobs"), ("push.dlx", "push.dead")] {
        assert!(
            bindings
                .iter()
                .any(|binding| binding["source"] == exchange && binding["destination"] == queue),
            "{exchange} to {queue}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_is_versioned_self_contained_and_persistent() {
    let stack = Stack::with().start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let mut stack = stack;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let send = stack
        .send(1)
        .with("data", json!({"a": 1}))
        .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let wanted = send.body().clone();
    let id = send.accepted().await;
    let (body, properties) = eventually("the job is there", async || {
        stack.broker.take(Broker::JOBS).await
    })
    .await;
    let job: Value = serde_json::from_slice(&body).unwrap();
    for (field, value) in [
        ("v", json!(1)),
        ("notificationId", json!(id)),
        ("customerId", json!(1)),
        ("title", wanted["title"].clone()),
        ("body", wanted["body"].clone()),
        ("data", json!({"a": "1"})),
        ("type", json!("service_update")),
        ("priority", json!("high")),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
    assert_eq!(
        properties.message_id().as_ref().map(|id| id.as_str()),
        Some(id.as_str())
    );
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert!(properties.kind().is_some() && properties.timestamp().is_some());
    let headers = properties.headers().clone().unwrap_or_default();
    let Some(AMQPValue::LongString(parent)) = headers.inner().get("traceparent") else {
        panic!("no traceparent: {headers:?}");
    };
    let parent = String::from_utf8_lossy(parent.as_bytes()).into_owned();
    let parts: Vec<&str> = parent.split('-').collect();
    assert_eq!(
        (parts.len(), parts[0], parts[1]),
        (4, "00", trace),
        "the caller's trace goes on: {parent}"
    );

    // It was taken away by hand, and nobody published it again yet: it is found.
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NOW(3)")
        .await;
    stack.start_worker().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
}
