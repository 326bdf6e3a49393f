//! What lies on the broker: the topology, and a job with its envelope.

use lapin::types::AMQPValue;
use push_tests::{Broker, Device, Provider, Stack, eventually};
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
        let name = listed["name"].as_str().unwrap();
        if name.starts_with("push.invalidate.") {
            // A worker's own, to hear of changes: it ends with its connection.
            assert_eq!(
                (&listed["exclusive"], &listed["auto_delete"]),
                (&json!(true), &json!(true)),
                "{name}"
            );
            continue;
        }
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
    let stack = Stack::with().in_the_clear().start().await;
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
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    assert_eq!(metrics.sum("push_republished_total", ""), Some(1.0));
}

/// Jobs as the first released version wrote them.
const V1: &str = include_str!("../../crates/push-core/golden/job_v1.json");

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn jobs_that_an_older_version_wrote_are_delivered() {
    let mut stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let registration = stack
        .database
        .number("SELECT CAST(id AS SIGNED) FROM customer_push_tokens")
        .await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let mut old: Vec<Value> = serde_json::from_str(V1).unwrap();
    // A first job and a retry: those after them are not for the work queue as they stand.
    old.truncate(2);
    let mut ids = Vec::new();
    for job in &mut old {
        let id = stack.send(1).accepted().await;
        eventually("its own job is there", async || {
            stack.broker.take(Broker::JOBS).await
        })
        .await;
        job["notificationId"] = json!(id);
        job["customerId"] = json!(1);
        job["expiresAt"] = json!("2126-01-02T04:04:05.678Z");
        ids.push(id);
    }
    // The other target of the retry has gone meanwhile.
    old[1]["targets"][0]["registration"] = json!(registration);
    for (queue, job) in [Broker::JOBS, "push.retry.200ms"].into_iter().zip(&old) {
        let body = job.to_string();
        let bare = lapin::BasicProperties::default().with_delivery_mode(2);
        stack.broker.publish(queue, body.as_bytes(), bare).await;
    }
    let mut newer = old[0].clone();
    newer["v"] = json!(2);
    stack.expect_errors("is no job: dead-lettered");
    let bare = lapin::BasicProperties::default();
    let body = newer.to_string();
    stack
        .broker
        .publish(Broker::JOBS, body.as_bytes(), bare)
        .await;
    stack.start_worker().await;
    for (id, job) in ids.iter().zip(&old) {
        let row = stack.settled(id).await;
        assert_eq!(row.status, "sent", "{row:?}");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
        let requests = stack.sim.requests(Provider::Fcm, phone.fcm()).await;
        let titles = requests.iter().map(|request| request["body"].to_string());
        let title = job["title"].as_str().unwrap();
        assert!(titles.filter(|body| body.contains(title)).count() == 1);
    }
    let letters = eventually("what nobody can read yet is kept", async || {
        let letters = stack.database.dead_letters().await;
        let found = letters.iter().filter(|letter| letter.reason == "poison");
        (found.count() == 1).then_some(letters)
    })
    .await;
    let given_up = letters.iter().filter(|letter| letter.has_job);
    assert_eq!(given_up.count(), 1, "as the older version had recorded");
}
