//! P7: tokens are masked, titles, bodies and data never appear, whatever level is logged. Every test looks for what it
//! used; this one makes the programs talk as much as they can.

use push_tests::{Broker, Device, Provider, Stack};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_most_talkative_log_tells_no_token_no_content_and_no_key() {
    let stack = Stack::with()
        .env_api("RUST_LOG", "trace")
        .env_worker("RUST_LOG", "trace")
        .start()
        .await;
    stack.expect_errors("");
    let phone = stack.register(1, Device::android_both("pixel")).await;
    let dead = stack.register(1, Device::android_fcm("dead")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            phone.fcm(),
            json!([{"case": "unavailable"}, {"case": "sender_id_mismatch"}]),
        )
        .await;
    stack
        .sim
        .script(
            Provider::Fcm,
            dead.fcm(),
            json!([{"case": "invalid_token"}]),
        )
        .await;
    let data = json!({"bookingId": "booking-S3CRET-1", "techName": "Ravi S3CRET Kumar"});
    let answer = stack
        .send(1)
        .with("data", data.clone())
        .wait(20)
        .answer()
        .await
        .expect(200);
    assert_eq!(answer.json["status"], "sent");
    // Refused content and garbage on the queue are content, too.
    let refused = json!({"id": 1, "title": "A refused S3CRET title", "body": "", "data": data});
    assert_eq!(
        stack
            .api()
            .post("/api/Push/sendToCustomer", &refused)
            .answer()
            .await
            .status,
        400
    );
    let garbage = "{\"v\":1,\"title\":\"Garbage S3CRET on the queue\"";
    stack.keep_secret("Garbage S3CRET on the queue");
    stack
        .broker
        .publish(
            Broker::JOBS,
            garbage.as_bytes(),
            lapin::BasicProperties::default(),
        )
        .await;
    push_tests::eventually("the garbage has its row", async || {
        (stack.database.count("dead_letters").await == 1).then_some(())
    })
    .await;
    assert!(stack.logs().iter().all(|log| {
        log.lines()
            .iter()
            .any(|line| line.contains("TRACE") || line.contains("DEBUG"))
    }));
}
