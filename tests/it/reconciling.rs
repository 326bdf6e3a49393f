//! Who publishes again what no queue knows: one worker at a time, one that can, and owners first.

use push_tests::{Broker, Device, PrivateRabbit, Provider, Servers, Stack, eventually};
use serde_json::json;

/// Waits until the running workers have published so many again, and sees that it were no more. (The timeline tells of
/// it only where it was not delivered before that could be written.)
async fn have_republished(stack: &Stack, workers: &[usize], count: usize) {
    let sum = async || {
        let mut sum = 0.0;
        for worker in workers {
            let metrics = stack.metrics_of(&stack.workers[*worker]).await;
            sum += metrics.sum("push_republished_total", "").unwrap_or(0.0);
        }
        sum
    };
    let found = eventually("all are published again", async || {
        let found = sum().await;
        (found > count as f64 - 0.5).then_some(found)
    })
    .await;
    assert!(found < count as f64 + 0.5, "{found} instead of {count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_cannot_publish_or_is_killed_leaves_reconciling_to_another() {
    let mut stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    // The API publishes nothing: whatever arrives was published again.
    stack.links().api_broker.cut();
    eventually("the API knows", async || {
        (stack.readiness(&stack.apis[0]).await.json["status"] == "degraded").then_some(())
    })
    .await;
    let first = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&first).await.status, "sent");
    have_republished(&stack, &[0], 1).await;

    let past_links = stack.broker.url_through(None);
    stack.start_worker_but(&[("AMQP_URL", past_links)]).await;
    stack.ready(&stack.workers[1]).await;
    stack.links().worker_broker.cut();
    let second = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&second).await.status, "sent");
    have_republished(&stack, &[1], 1).await;

    stack.workers.swap(0, 1);
    stack.kill_worker().await;
    stack.links().worker_broker.restore();
    let third = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&third).await.status, "sent");
    // The first and the third.
    have_republished(&stack, &[0], 2).await;
    stack.links().restore();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_wiped_broker_forgot_is_published_again_once_each() {
    const WAITING: i64 = 20;
    const MEANWHILE: i64 = 5;
    let mut rabbit = PrivateRabbit::start().await;
    let servers = Servers {
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    let stack = Stack::with()
        .on(servers, false)
        .workers(2)
        .env_worker("PREFETCH", "1")
        .env_worker("RETRY_DELAYS", "5s")
        .start()
        .await;
    stack.all_ready().await;
    let mut phones = Vec::new();
    for customer in 1..=WAITING + MEANWHILE {
        let device = Device::android_fcm(&format!("phone {customer}"));
        phones.push(stack.register(customer, device).await);
    }
    let lever = async |what: &str| {
        let path = format!("/api/Push/admin/providers/fcm/{what}");
        let call = stack.api().post(&path, &json!({}));
        assert_eq!(call.answer().await.status, 200);
    };
    lever("pause").await;
    eventually("both workers obey", async || {
        let seen = |worker: &push_tests::Program| worker.log.says("an operator paused");
        stack.workers.iter().all(seen).then_some(())
    })
    .await;
    let mut ids = Vec::new();
    for customer in 1..=WAITING {
        ids.push(stack.send(customer).accepted().await);
    }
    let number = async |of: &str, wanted: i64| {
        let count = format!("SELECT COUNT(*) FROM notification_history WHERE {of}");
        eventually(of, async || {
            (stack.database.number(&count).await == wanted).then_some(())
        })
        .await;
    };
    // Each waits on its rung, or comes back from there.
    number("round > 0", WAITING).await;
    rabbit.kill().await;
    rabbit.wipe();
    for customer in WAITING + 1..=WAITING + MEANWHILE {
        ids.push(stack.send(customer).accepted().await);
    }
    number("claimed_until IS NOT NULL", 0).await;
    lever("resume").await;
    // So long that the queue is looked at several times before it is empty.
    stack.sim.latency(Provider::Fcm, 500).await;
    // Minutes pass for what waits to be looked for.
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NOW(3) - INTERVAL 1 SECOND")
        .await;
    rabbit.up().await;
    for (id, phone) in ids.iter().zip(&phones) {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
        assert_eq!(stack.sim.displays(phone).await, json!({id.as_str(): 1}));
        let told = stack.notification(id).await["timeline"].to_string();
        assert!(told.matches("\"republished\"").count() <= 1, "{told}");
    }
    have_republished(&stack, &[0, 1], ids.len()).await;
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_an_outage_of_the_database_owners_record_first() {
    let mut stack = Stack::with()
        .through_links()
        .env_worker("PREFETCH", "1")
        .env_worker("PROVIDER_TIMEOUT", "60s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let script = json!([{"delayMs": 10_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let sent = stack.send(1).accepted().await;
    eventually("it is with the provider", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await == 1).then_some(())
    })
    .await;
    // Another worker, which loses the database as well, and has it back before the first one.
    let other = stack
        .database
        .url_through(Some(stack.links().api_database.address()));
    let own = [("DATABASE_URL", other), ("RUST_LOG", "debug".to_owned())];
    stack.start_worker_but(&own).await;
    stack.ready(&stack.workers[1]).await;
    let lost = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&lost).await.status, "sent", "by the other");
    stack.links().cut_database();
    let log = stack.workers[1].log.clone();
    eventually("the other's reconciler knows", async || {
        log.says("owners record first").then_some(())
    })
    .await;
    eventually("the first one waits for its record", async || {
        stack.workers[0]
            .log
            .says("work in hand waits")
            .then_some(())
    })
    .await;
    // So long that the claim is over, and the notification overdue; another one was surely not published.
    stack
        .database
        .execute(
            "UPDATE notification_history SET due_at = NOW(3) - INTERVAL 1 SECOND, \
             claimed_until = NOW(3) - INTERVAL 1 SECOND WHERE status = 'pending'",
        )
        .await;
    stack.links().api_broker.cut();
    stack.links().api_database.restore();
    stack.ready_or_degraded(&stack.apis[0]).await;
    let unpublished = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&unpublished).await.status, "sent");
    let pending = stack.database.history(&sent).await.unwrap();
    assert_eq!(pending.status, "pending", "nobody else took it");
    stack.links().restore();
    let row = stack.settled(&sent).await;
    assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
    assert_eq!(stack.sim.rings(&phone, &sent).await, 1);
    let told = stack.notification(&sent).await["timeline"].to_string();
    assert!(!told.contains("republished"), "{told}");
}

/// As [`PREFETCH`](https://www.rabbitmq.com/docs/consumer-prefetch) of whoever keeps dead letters: the rest lies in the queue.
const IN_HAND: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backlog_of_dead_letters_is_left_alone() {
    let stack = Stack::with()
        .env_api("RECONCILE_AFTER", "1s")
        .env_worker("RECONCILE_AFTER", "1s")
        .start()
        .await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let refuse = json!({"case": "sender_id_mismatch"});
    stack.sim.always(Provider::Fcm, phone.fcm(), refuse).await;
    // Nobody can keep them.
    let lock = stack.database.lock_table("dead_letters").await;
    stack.send_many(1, IN_HAND + 10).await;
    let due = async |when: &str| {
        let count = format!("SELECT COUNT(*) FROM notification_history WHERE due_at {when} NOW(3)");
        stack.database.number(&count).await
    };
    eventually("all are overdue, and some lie in the queue", async || {
        let ready = stack.broker.depth(Broker::DEAD).await;
        (due("<").await == 60 && ready >= 10).then_some(())
    })
    .await;
    // All but those that wait for the table, which are locked.
    eventually("they were looked at", async || {
        (due(">").await >= 10).then_some(())
    })
    .await;
    lock.release().await;
    stack.all_settled().await;
    assert_eq!(stack.database.count("dead_letters").await, 60);
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    let republished = metrics.sum("push_republished_total", "").unwrap_or(0.0);
    assert!(republished < 0.1, "{republished}");
}
