//! P3: of one collapse key only the newest is sent, wherever the older ones wait; and none after a newer one.

use push_tests::{Device, Key, Phone, Provider, Send, Stack, eventually};
use serde_json::{Value, json};

fn send(stack: &Stack, customer: i64) -> Send {
    stack.send(customer).with("collapseKey", "booking-456")
}

/// It ended because the other one took its place, and says so.
async fn overtaken(stack: &Stack, id: &str, by: &str) {
    let row = stack.settled(id).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str()),
        ("suppressed", "superseded"),
        "{row:?}"
    );
    let view = stack.notification(id).await;
    let entries = view["timeline"].as_array().unwrap().iter();
    let told: Vec<&Value> = entries
        .filter(|entry| entry["step"] == "superseded")
        .collect();
    assert_eq!(told.len(), 1, "{view}");
    assert!(told[0]["text"].as_str().unwrap().contains(by), "{view}");
}

/// The notifications that arrived at FCM for this phone, in the order in which it got them.
async fn arrived(stack: &Stack, phone: &Phone) -> Vec<String> {
    let requests = stack.sim.requests(Provider::Fcm, phone.fcm()).await;
    let id = |request: &Value| {
        let id = &request["body"]["message"]["data"]["notificationId"];
        id.as_str().unwrap().to_owned()
    };
    requests.iter().map(id).collect()
}

async fn tries(stack: &Stack, id: &str) -> u32 {
    stack
        .database
        .history(id)
        .await
        .map_or(0, |row| row.attempts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_newer_one_overtakes_those_that_wait_in_the_queue() {
    let mut stack = Stack::with().apis(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let mut old = Vec::new();
    for n in 0..5 {
        let api = stack.api_at(n % 2);
        let send = api.send(1).with("collapseKey", "booking-456");
        old.push(send.accepted().await);
    }
    let other = stack.send(1).with("collapseKey", "booking-457");
    let other = other.accepted().await;
    let newest = send(&stack, 1).accepted().await;
    stack.start_worker().await;
    assert_eq!(stack.settled(&newest).await.status, "sent");
    assert_eq!(stack.settled(&other).await.status, "sent");
    for id in &old {
        overtaken(&stack, id, &newest).await;
    }
    let mut arrived = arrived(&stack, &phone).await;
    arrived.sort_unstable();
    assert_eq!(arrived, [other, newest]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_newer_one_overtakes_one_that_waits_on_the_ladder_or_for_a_paused_provider() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "2s,4s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let script = json!([{"case": "unavailable"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let old = send(&stack, 1).accepted().await;
    eventually("it waits for its next try", async || {
        (tries(&stack, &old).await == 1).then_some(())
    })
    .await;
    let new = send(&stack, 1).wait(20).answer().await.expect(200).id();
    overtaken(&stack, &old, &new).await;
    assert_eq!(arrived(&stack, &phone).await, [old.clone(), new.clone()]);
    let results = stack.notification(&old).await;
    assert_eq!(results["fcmResult"], "failed", "it was tried: {results}");

    let lane_is = async |state: &str| {
        let label = format!("provider=\"fcm\",state=\"{state}\"");
        eventually("the lever is pulled", async || {
            let metrics = stack.metrics_of(&stack.workers[0]).await;
            (metrics.sum("push_lane_state", &label)? > 0.0).then_some(())
        })
        .await;
    };
    let lever = async |what: &str| {
        let path = format!("/api/Push/admin/providers/fcm/{what}");
        let call = stack.api().post(&path, &json!({})).key(Key::All);
        drop(call.answer().await.expect(200));
    };
    lever("pause").await;
    lane_is("paused").await;
    let paused = send(&stack, 1).accepted().await;
    eventually("it waits for the provider", async || {
        let view = stack.notification(&paused).await;
        view["timeline"]
            .to_string()
            .contains("postponed")
            .then_some(())
    })
    .await;
    let last = send(&stack, 1).accepted().await;
    overtaken(&stack, &paused, &last).await;
    lever("resume").await;
    assert_eq!(stack.settled(&last).await.status, "sent");
    assert_eq!(arrived(&stack, &phone).await, [old, new, last]);
}

/// The provider takes its time for the older one; workers have both in their hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_newer_one_is_not_shown_before_an_older_one_that_is_on_its_way() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "300ms,600ms")
        .workers(2)
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    for delay in [300, 2_500] {
        let script = json!([{"delayMs": delay}]);
        stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
        let before = arrived(&stack, &phone).await.len();
        let old = send(&stack, 1).accepted().await;
        eventually("it is on its way", async || {
            (arrived(&stack, &phone).await.len() > before).then_some(())
        })
        .await;
        let new = send(&stack, 1).accepted().await;
        assert_eq!(stack.settled(&new).await.status, "sent");
        let order = "SELECT COUNT(*) FROM notification_history old JOIN notification_history new \
                     WHERE old.notification_id = UNHEX('{old}') AND new.notification_id = UNHEX('{new}') \
                     AND old.status = 'sent' AND old.completed_at <= new.completed_at";
        let order = order
            .replace("{old}", &old.replace('-', ""))
            .replace("{new}", &new.replace('-', ""));
        assert_eq!(stack.database.number(&order).await, 1);
        assert_eq!(arrived(&stack, &phone).await[before..], [old, new.clone()]);
        let shown = stack.sim.shown(&phone).await;
        assert_eq!(shown[0]["notificationId"], new.as_str(), "{shown:?}");
    }
}

/// Its worker has it in hand, and cannot send it yet, since Google's token endpoint is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_that_is_in_a_workers_hands_does_not_go_out_when_it_is_overtaken() {
    let stack = Stack::with()
        .access_tokens_through_link()
        .env_worker("RETRY_DELAYS", "300ms,600ms")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    eventually("it listens", async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        let gaps = metrics.sum("push_changes_heard_total", "gap")?;
        (gaps > 0.0).then_some(())
    })
    .await;
    stack.access_tokens_link().stall();
    let old = send(&stack, 1).accepted().await;
    let in_hand = "SELECT COUNT(*) FROM notification_history WHERE claimed_until > NOW(3)";
    eventually("it is in hand", async || {
        (stack.database.number(in_hand).await == 1).then_some(())
    })
    .await;
    let new = send(&stack, 1).accepted().await;
    let told = "the worker has heard of it";
    eventually(told, async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        let heard = metrics.sum("push_changes_heard_total", "change")?;
        (heard > 0.0).then_some(())
    })
    .await;
    stack.access_tokens_link().restore();
    overtaken(&stack, &old, &new).await;
    assert_eq!(stack.settled(&new).await.status, "sent");
    assert_eq!(arrived(&stack, &phone).await, [new]);
}

/// Its worker was killed: the key is free when that one's claim must be over.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_was_killed_keeps_no_key_for_ever() {
    let mut stack = Stack::with()
        .env_worker("PROVIDER_TIMEOUT", "10s")
        .env_worker("RETRY_DELAYS", "500ms")
        .env_worker("RECONCILE_AFTER", "2s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let script = json!([{"delayMs": 60_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let old = send(&stack, 1).accepted().await;
    eventually("it is on its way", async || {
        (!arrived(&stack, &phone).await.is_empty()).then_some(())
    })
    .await;
    stack.kill_worker().await;
    let new = send(&stack, 1).accepted().await;
    stack.start_worker().await;
    eventually("the new one waits", async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        let behind = metrics.sum("push_jobs_total", "behind")?;
        (behind > 0.0).then_some(())
    })
    .await;
    // As if the killed one's claims were over.
    for table in ["notification_history", "collapse_heads"] {
        let over =
            format!("UPDATE {table} SET claimed_until = NOW(3) WHERE claimed_until IS NOT NULL");
        stack.database.execute(&over).await;
    }
    assert_eq!(stack.settled(&new).await.status, "sent");
    overtaken(&stack, &old, &new).await;
    assert_eq!(arrived(&stack, &phone).await, [old, new]);
}
