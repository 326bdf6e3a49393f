//! P2, P8: who takes over from a worker that was interrupted knows that the push may have been sent; and what is lost is
//! told from what waits in a long queue.

use push_tests::{Broker, Device, Provider, Stack, eventually};
use serde_json::json;

/// As if the claims of whoever was killed had been over for a while.
async fn claims_end(stack: &Stack) {
    stack
        .database
        .execute("UPDATE notification_history SET claimed_until = NOW(3) WHERE claimed_until IS NOT NULL")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_killed_worker_may_have_sent_goes_to_no_other_provider() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.rings_twice();
    let phone = stack.register(1, Device::android_both("pixel")).await;
    // FCM takes it and says so too late; asked again it has lost the token.
    let script = json!([{"delayMs": 60_000}, {"case": "unregistered"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack.send(1).accepted().await;
    eventually("it is with the provider", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await == 1).then_some(())
    })
    .await;
    stack.kill_worker().await;
    stack.start_worker().await;
    claims_end(&stack).await;
    let row = stack.settled(&id).await;
    assert_eq!(row.status, "failed", "{row:?}");
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 2);
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 0);
    let view = stack.notification(&id).await;
    assert_eq!(view["reason"], "invalid_tokens");
    assert_eq!(view["deliveries"][0]["maybeDelivered"], true, "{view}");
    assert_eq!(view["timeline"][1]["step"], "interrupted", "{view}");
    let maybe = stack
        .metrics_of(&stack.workers[0])
        .await
        .sum("push_maybe_delivered_total", "fcm");
    assert_eq!(maybe, Some(1.0), "and counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_lost_is_found_behind_a_backlog_that_is_left_alone() {
    const BACKLOG: usize = 40;
    let mut stack = Stack::with()
        .env_api("RECONCILE_AFTER", "1s")
        .env_worker("RECONCILE_AFTER", "1s")
        .env_worker("PREFETCH", "1")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let lost = stack.send(1).accepted().await;
    let taken = eventually("its job is there", async || {
        stack.broker.take(Broker::JOBS).await
    })
    .await;
    assert_eq!(taken.1.message_id().as_ref().unwrap().as_str(), lost);
    let over = "SELECT COUNT(*) FROM notification_history WHERE due_at < NOW(3)";
    eventually("it is overdue", async || {
        (stack.database.number(over).await == 1).then_some(())
    })
    .await;
    let waiting = stack.send_many(1, BACKLOG).await;
    eventually("the others are overdue as well", async || {
        (stack.database.number(over).await == 1 + 40).then_some(())
    })
    .await;
    stack.sim.latency(Provider::Fcm, 400).await;
    stack.start_worker().await;
    let steps = async |id: &str| stack.notification(id).await["timeline"].to_string();
    eventually("what is lost is published again", async || {
        steps(&lost).await.contains("republished").then_some(())
    })
    .await;
    // Had it waited for an empty queue, or taken the others for lost, all of them would tell of it.
    assert!(stack.broker.depth(Broker::JOBS).await > 1);
    for id in &waiting {
        assert!(!steps(id).await.contains("republished"), "{id}");
    }
    stack.sim.latency(Provider::Fcm, 0).await;
    stack.all_settled().await;
    for id in waiting.iter().chain([&lost]) {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

/// Milliseconds since 1970; 0 where nobody has it in hand.
async fn claimed_until(stack: &Stack) -> i64 {
    let until = "SELECT COALESCE(CAST(UNIX_TIMESTAMP(MAX(claimed_until)) * 1000 AS SIGNED), 0) FROM notification_history";
    stack.database.number(until).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_copy_of_the_last_round_beside_the_next_one_takes_nothing_out_of_hand() {
    let mut stack = Stack::with()
        .env_worker("RETRY_DELAYS", "4s,4s")
        .env_worker("PROVIDER_TIMEOUT", "20s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let script = json!([{"case": "unavailable"}, {"delayMs": 18_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack.send(1).accepted().await;
    let take = async |stack: &Stack| {
        eventually("its job is there", async || {
            stack.broker.take(Broker::JOBS).await
        })
        .await
    };
    let first = take(&stack).await;
    let publish = async |stack: &Stack, job: &(Vec<u8>, _)| {
        let (body, properties): &(Vec<u8>, lapin::BasicProperties) = job;
        let properties = properties.clone();
        stack.broker.publish(Broker::JOBS, body, properties).await;
    };
    publish(&stack, &first).await;
    stack.start_worker().await;
    eventually("the first round is recorded", async || {
        let row = stack.database.history(&id).await?;
        (row.attempts == 1).then_some(())
    })
    .await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let next = take(&stack).await;

    // As after a broker that died before it heard the acknowledgement: both rounds come together.
    for _ in 0..10 {
        publish(&stack, &first).await;
    }
    publish(&stack, &next).await;
    for _ in 0..10 {
        publish(&stack, &first).await;
    }
    stack.start_worker().await;
    eventually("the next round is with the provider", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await == 2).then_some(())
    })
    .await;
    let since = claimed_until(&stack).await;
    eventually(
        "the claim is renewed while the provider takes its time",
        async || {
            let now = claimed_until(&stack).await;
            assert!(now > 0, "nobody has it in hand, and it is being sent");
            (now > since).then_some(())
        },
    )
    .await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}
