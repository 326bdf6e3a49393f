//! `DELETE notifications/{id}`: what is taken back is not sent any more, wherever it waited; and what cannot be taken back
//! says so.

use push_tests::{Answer, Api, Device, Key, Phone, Provider, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

fn path(id: &str) -> String {
    format!("/api/Push/notifications/{id}")
}

async fn cancel(api: &Api, id: &str) -> Answer {
    api.call(Method::DELETE, &path(id))
        .key(Key::Send)
        .answer()
        .await
}

/// It is taken back, once and for all.
async fn is_cancelled(stack: &Stack, id: &str) {
    let first = cancel(&stack.api(), id).await.expect(200);
    assert_eq!(
        (
            &first.json["status"],
            &first.json["reason"],
            first.id().as_str()
        ),
        (&json!("suppressed"), &json!("cancelled"), id),
        "{}",
        first.text
    );
    let again = cancel(&stack.api(), id).await.expect(200);
    assert_eq!(again.text, first.text);
    let told = stack.notification(id).await;
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("suppressed"), &json!("cancelled"))
    );
    let timeline = told["timeline"].as_array().unwrap();
    let by = |entry: &&Value| entry["step"] == "cancelled";
    let by: Vec<_> = timeline.iter().filter(by).collect();
    assert_eq!(by.len(), 1);
    assert_eq!(by[0]["text"], "cancelled by booking");
}

async fn hour(stack: &Stack) -> String {
    let time = "SELECT DATE_FORMAT(UTC_TIMESTAMP() + INTERVAL 1 HOUR, '%Y-%m-%dT%H:%i:%sZ')";
    stack.database.texts(time).await.remove(0)
}

async fn lever(stack: &Stack, what: &str) {
    let path = format!("/api/Push/admin/providers/fcm/{what}");
    let call = stack.api().post(&path, &json!({}));
    assert_eq!(call.answer().await.status, 200);
}

async fn attempted(stack: &Stack, id: &str) {
    eventually("it was tried", async || {
        let row = stack.database.history(id).await?;
        (row.attempts > 0).then_some(())
    })
    .await;
}

async fn told(stack: &Stack, id: &str, step: &str) {
    eventually(&format!("it tells of {step}"), async || {
        let view = stack.notification(id).await;
        let timeline = view["timeline"].as_array().unwrap().clone();
        timeline
            .iter()
            .any(|entry| entry["step"] == step)
            .then_some(())
    })
    .await;
}

/// Whoever comes after them on the way is sent, and they are not.
async fn others_are_sent(stack: &Stack, phone: &Phone, cancelled: &[String]) {
    let other = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&other).await.status, "sent");
    stack.all_settled().await;
    eventually("no copy is left", async || {
        (stack.broker.jobs().await == 0).then_some(())
    })
    .await;
    for id in cancelled {
        assert_eq!(stack.sim.rings(phone, id).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wherever_it_waits_it_is_taken_back() {
    let mut stack = Stack::with()
        .workers(0)
        .env_worker("RETRY_DELAYS", "200ms")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let mut cancelled = Vec::new();
    // For its time, and in the queue.
    let hour = hour(&stack).await;
    cancelled.push(stack.send(1).with("sendAt", hour).accepted().await);
    cancelled.push(stack.send(1).accepted().await);
    for id in &cancelled {
        is_cancelled(&stack, id).await;
    }
    let scheduled = stack
        .database
        .number("SELECT COUNT(*) FROM notification_history WHERE unpublished")
        .await;
    assert_eq!(scheduled, 0);
    // For a provider that is paused.
    lever(&stack, "pause").await;
    stack.start_worker().await;
    stack.all_ready().await;
    let id = stack.send(1).accepted().await;
    told(&stack, &id, "postponed").await;
    is_cancelled(&stack, &id).await;
    cancelled.push(id);
    lever(&stack, "resume").await;
    others_are_sent(&stack, &phone, &cancelled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn between_two_tries_it_is_taken_back_and_what_a_device_has_stays() {
    let stack = Stack::with().env_worker("RETRY_DELAYS", "2s").start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let busy = json!([{"case": "unavailable"}]);
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), busy.clone())
        .await;
    let id = stack.send(1).accepted().await;
    attempted(&stack, &id).await;
    is_cancelled(&stack, &id).await;
    assert_eq!(stack.notification(&id).await["fcmResult"], "failed");
    let sends = stack.sim.sends(Provider::Fcm, phone.fcm()).await;

    // One of two devices has got it.
    let first = stack.register(2, Device::android_fcm("first")).await;
    let second = stack.register(2, Device::android_fcm("second")).await;
    stack.sim.script(Provider::Fcm, second.fcm(), busy).await;
    let half = stack.send(2).accepted().await;
    attempted(&stack, &half).await;
    let answer = cancel(&stack.api(), &half).await.expect(200);
    assert_eq!(
        (&answer.json["status"], &answer.json["fcmResult"]),
        (&json!("sent"), &json!("success"))
    );
    assert!(
        answer.json["message"]
            .as_str()
            .unwrap()
            .contains("others had accepted it"),
        "{}",
        answer.text
    );
    assert_eq!(
        cancel(&stack.api(), &half).await.expect(200).text,
        answer.text
    );

    others_are_sent(&stack, &phone, &[id]).await;
    // The first notification was tried once, and the others once.
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, sends + 1);
    assert_eq!(stack.sim.rings(&first, &half).await, 1);
    assert_eq!(stack.sim.rings(&second, &half).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_in_a_workers_hands_or_has_ended_says_so() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "200ms")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 6_000).await;
    let id = stack.send(1).accepted().await;
    eventually("FCM is asked", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await > 0).then_some(())
    })
    .await;
    let answer = cancel(&stack.api(), &id).await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (409, "in_delivery")
    );
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(stack.settled(&id).await.status, "sent");
    stack.sim.latency(Provider::Fcm, 0).await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    let answer = cancel(&stack.api(), &id).await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (409, "too_late")
    );
    assert!(
        answer.json["message"]
            .as_str()
            .unwrap()
            .contains("was sent"),
        "{}",
        answer.text
    );

    let nobody = "00000000-0000-7000-8000-000000000000";
    for unknown in [nobody, "no-uuid"] {
        let answer = cancel(&stack.api(), unknown).await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (404, "unknown_notification")
        );
    }
    let read = stack.api().call(Method::DELETE, &path(&id)).key(Key::Read);
    assert_eq!(read.answer().await.status, 403);
}

/// P2, P8: it is sent or it is taken back, and never both.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_race_between_sending_and_cancelling_has_one_winner() {
    let stack = Stack::with().apis(2).workers(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 5).await;
    let races = (0..120).map(async |index: usize| {
        let id = stack.api_at(index % 2).send(1).accepted().await;
        // More or less at the moment when a worker takes it.
        tokio::time::sleep(std::time::Duration::from_millis(index as u64 % 30)).await;
        let answer = cancel(&stack.api_at((index + 1) % 2), &id).await;
        (id, answer)
    });
    let answers = futures::future::join_all(races).await;
    stack.all_settled().await;
    // Nothing is under way that might still ring.
    eventually("no copy is left", async || {
        (stack.broker.jobs().await == 0).then_some(())
    })
    .await;
    let (mut cancelled, mut too_late) = (0, 0);
    for (id, answer) in answers {
        let row = stack.settled(&id).await;
        let rings = stack.sim.rings(&phone, &id).await;
        match answer.status {
            200 => {
                cancelled += 1;
                assert_eq!(
                    (row.status.as_str(), row.reason.as_str(), rings),
                    ("suppressed", "cancelled", 0)
                );
            }
            409 => {
                too_late += 1;
                assert_eq!((row.status.as_str(), rings), ("sent", 1), "{}", answer.text);
            }
            other => panic!("{other} {}", answer.text),
        }
    }
    let books = stack.database.by_status().await;
    let booked = |status: &str| books.get(status).copied().unwrap_or_default();
    assert_eq!(
        (booked("suppressed"), booked("sent")),
        (cancelled, too_late),
        "{books:?}"
    );
    assert_eq!(cancelled + too_late, 120);
}
