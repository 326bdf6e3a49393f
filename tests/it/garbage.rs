//! Anything on `push.jobs`, whoever put it there, must not crash or block a worker.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use push_tests::{Broker, Device, Provider, Stack, eventually};
use serde_json::{Value, json};

/// A job as it lies in the queue, for a notification of this id.
fn job(id: &str, customer: i64) -> Value {
    json!({
        "v": 1, "notificationId": id, "customerId": customer, "type": "service_update", "title": "T", "body": "B", "data": {},
        "priority": "high", "createdAt": "2026-01-02T03:04:05.678Z", "expiresAt": "2099-01-02T04:04:05.678Z", "round": 1,
        "progress": {"results": {"fcm": "queued", "expo": "queued"}, "refused": false},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn garbage_is_dead_lettered_at_once_and_alone() {
    let stack = Stack::with().in_the_clear().start().await;
    // Someone must look at it.
    stack.expect_errors("dead-lettered");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let unknown = "0196f2d4-1b6e-7c3a-9a55-3f1f6f0a1b2c";
    let without = |field: &str| {
        let mut less = job(unknown, 1);
        less.as_object_mut().unwrap().remove(field);
        less.to_string().into_bytes()
    };
    let mut future = job(unknown, 1);
    future["v"] = 99.into();
    let huge = format!("{{\"v\":1,\"junk\":\"{}\"}}", "x".repeat(3 * 1024 * 1024)).into_bytes();
    let deep = "[".repeat(200_000).into_bytes();
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("no JSON", b"\xff\x00\xfe not json".to_vec()),
        ("no object", b"[1,2,3]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("a future version", future.to_string().into_bytes()),
        ("a version that is no number", b"{\"v\":\"one\"}".to_vec()),
        ("no customer", without("customerId")),
        ("no title", without("title")),
        (
            "no progress of another type",
            json!({"v": 1, "notificationId": 7, "round": "x"})
                .to_string()
                .into_bytes(),
        ),
        ("very large", huge),
        ("very deep", deep),
    ];
    for (_, body) in &garbage {
        stack
            .broker
            .publish(Broker::JOBS, body, BasicProperties::default())
            .await;
        // In between, all is well.
        let answer = stack.send(1).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent");
    }
    let letters = eventually("each piece of garbage has its row", async || {
        let letters = stack.database.dead_letters().await;
        (letters.len() == garbage.len()).then_some(letters)
    })
    .await;
    for (name, body) in &garbage {
        let found = letters
            .iter()
            .find(|letter| letter.raw_bytes == u32::try_from(body.len()).ok());
        let letter = found.unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(letter.reason, "poison", "{name}");
        assert!(!letter.has_job, "{name}");
        let kept = STANDARD.decode(&letter.raw).unwrap();
        assert!(body.starts_with(&kept), "{name}: the bytes, as they were");
        assert!(
            kept.len() == body.len() || kept.len() >= 16 * 1024,
            "{name}: bounded, but not to nothing"
        );
        assert!(kept.len() <= 1024 * 1024, "{name}: bounded");
    }

    // A job that can be read, for a notification that does not exist: not ours to send.
    let properties = BasicProperties::default()
        .with_message_id("strange".into())
        .with_type("not a push.job".into())
        .with_content_type("text/html".into())
        .with_priority(9);
    let mut headers = FieldTable::default();
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString("00-zz-nonsense".into()),
    );
    headers.insert("x-death".into(), AMQPValue::Boolean(true));
    // Headers come in one frame, however large: as large as the broker lets anybody send them.
    let padding = "x".repeat(100_000);
    headers.insert("padding".into(), AMQPValue::LongString(padding.into()));
    let properties = properties.with_headers(headers);
    stack
        .broker
        .publish(
            Broker::JOBS,
            job(unknown, 1).to_string().as_bytes(),
            properties,
        )
        .await;
    let letter = eventually("the stranger's job has its row", async || {
        let letters = stack.database.dead_letters_of(unknown).await;
        letters.into_iter().find(|letter| letter.has_job)
    })
    .await;
    assert_eq!(letter.reason, "unprocessable");
    assert_eq!(stack.sim.rings(&phone, unknown).await, 0, "it was not sent");
    assert_eq!(
        stack.send(1).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    assert_eq!(metrics.sum("push_dead_letters_total", "poison"), Some(11.0));
    assert_eq!(stack.broker.depth(Broker::DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_is_there_several_times_rings_once() {
    copies_ring_once(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_several_workers_have_at_once_rings_once() {
    copies_ring_once(3).await;
}

async fn copies_ring_once(workers: usize) {
    let mut stack = Stack::with()
        .workers(workers)
        .env_worker("PREFETCH", "2")
        .start()
        .await;
    stack.copies_under_way();
    let phones = [
        stack.register(1, Device::android_fcm("android")).await,
        stack.register(1, Device::ios_expo("iphone")).await,
    ];
    // Copies side by side: as after a publish whose confirm was lost.
    for _ in 0..workers {
        assert_eq!(stack.terminate_worker().await, Some(0));
    }
    stack.sim.latency(Provider::Fcm, 300).await;
    stack.sim.latency(Provider::Expo, 300).await;
    let ids = stack.send_many(1, 5).await;
    stack.broker.multiply(Broker::JOBS, 2).await;
    for _ in 0..workers {
        stack.start_worker().await;
    }
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
    eventually("the copies are gone", async || {
        (stack.broker.depth(Broker::JOBS).await == 0).then_some(())
    })
    .await;
    // A copy that comes late, when all is over.
    for id in &ids {
        let mut copy = job(id, 1);
        copy["title"] = "a copy".into();
        stack
            .broker
            .publish(
                Broker::JOBS,
                copy.to_string().as_bytes(),
                BasicProperties::default(),
            )
            .await;
    }
    assert_eq!(
        stack.send(1).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
    for _ in 0..workers {
        assert_eq!(stack.terminate_worker().await, Some(0));
    }
    for phone in &phones {
        for id in &ids {
            assert_eq!(stack.sim.rings(phone, id).await, 1, "{}", phone.device.name);
        }
    }
    assert_eq!(stack.database.count("dead_letters").await, 0);
}
