//! P4: a token belongs to one customer at a time.

use push_tests::{Broker, Device, Stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_moves_to_who_registers_it_last() {
    let stack = Stack::start().await;
    let phone = stack
        .register(1, Device::android_both("family phone"))
        .await;
    let first = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(stack.sim.rings(&phone, &first.id()).await, 1);

    // Signed in as another customer on the same phone; the app sends another deviceId, or none.
    for (old, new, with_device_id) in [(1, 2, true), (2, 3, false)] {
        let mut device = phone.device.clone();
        device.with_device_id = with_device_id;
        stack.register(new, device).await;
        let refused = stack.send(old).wait(20).answer().await.expect(200);
        assert_eq!(
            refused.json["status"], "suppressed",
            "customer {old} lost the phone to {new}"
        );
        assert_eq!(stack.sim.rings(&phone, &refused.id()).await, 0);
        let accepted = stack.send(new).wait(20).answer().await.expect(200);
        assert_eq!(stack.sim.rings(&phone, &accepted.id()).await, 1);
        let alive = "SELECT COUNT(*) FROM customer_push_tokens WHERE is_active";
        assert_eq!(stack.database.number(alive).await, 1);
    }

    // One token only: the phone is in other hands all the same, so the other token must not ring there.
    let mut half = phone.device.clone();
    half.expo = None;
    half.with_device_id = false;
    stack.register(4, half).await;
    let fcm = stack.send(4).wait(20).answer().await.expect(200);
    assert_eq!(
        (&fcm.json["fcmResult"], &fcm.json["expoResult"]),
        (&"success".into(), &"not_sent".into())
    );
    let expo = stack.send(3).wait(20).answer().await.expect(200);
    assert_eq!(expo.json["status"], "suppressed", "{}", expo.text);
    assert_eq!(stack.sim.rings(&phone, &expo.id()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_waits_does_not_follow_the_token_to_its_new_owner() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "10m")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("family phone")).await;
    stack
        .sim
        .script(
            push_tests::Provider::Fcm,
            phone.fcm(),
            serde_json::json!([{"case": "unavailable"}]),
        )
        .await;
    let id = stack.send(1).accepted().await;
    let waiting = push_tests::eventually("it waits for its next attempt", async || {
        stack.broker.take("push.retry.10m").await
    })
    .await;
    stack.register(2, phone.device.clone()).await;
    // Ten minutes pass.
    let (job, properties) = waiting;
    stack.broker.publish(Broker::JOBS, &job, properties).await;
    let row = stack.settled(&id).await;
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("failed", 1),
        "{row:?}"
    );
    assert_eq!(
        stack.sim.rings(&phone, &id).await,
        0,
        "the phone is customer 2's now"
    );
}
