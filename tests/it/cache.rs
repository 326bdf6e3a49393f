//! P4, P5: workers remember devices, and never act on what is no longer so: on every worker, at once, whether the broker
//! told them or not.

use push_tests::{Device, Key, Phone, Provider, Stack, eventually};
use serde_json::json;

/// The name of the exchange in the contract.
const CHANGES: &str = "push.invalidate";

/// What all workers count together.
async fn counted(stack: &Stack, name: &str, label: &str) -> f64 {
    let mut sum = 0.0;
    for worker in &stack.workers {
        sum += of_one(stack, worker, name, label).await;
    }
    sum
}

async fn of_one(stack: &Stack, worker: &push_tests::Program, name: &str, label: &str) -> f64 {
    let metrics = stack.metrics_of(worker).await;
    metrics.sum(name, label).unwrap_or(0.0)
}

/// Waits until so many messages about changes were heard, by all workers together.
async fn heard(stack: &Stack, what: &str, times: f64) {
    eventually("it is heard", async || {
        let heard = counted(stack, "push_changes_heard_total", what).await;
        (heard >= times).then_some(())
    })
    .await;
}

/// Waits until every worker listens.
async fn all_listen(stack: &Stack) {
    stack.all_ready().await;
    for worker in &stack.workers {
        eventually("it listens", async || {
            let gaps = of_one(stack, worker, "push_changes_heard_total", "gap").await;
            (gaps > 0.0).then_some(())
        })
        .await;
    }
}

/// Sends to the customer until every worker has a copy, and has used it.
async fn remembered_by_all(stack: &Stack, customer: i64) {
    let result = ("push_cache_requests_total", "hit");
    for worker in &stack.workers {
        let before = of_one(stack, worker, result.0, result.1).await;
        eventually("the worker has used its copy", async || {
            let answer = stack.send(customer).wait(20).answer().await.expect(200);
            assert_eq!(answer.json["success"], true);
            let now = of_one(stack, worker, result.0, result.1).await;
            (now > before).then_some(())
        })
        .await;
    }
}

/// Some more notifications, on whichever worker: exactly these phones ring.
async fn exactly(stack: &Stack, customer: i64, ringing: &[&Phone], silent: &[&Phone]) {
    for _ in 0..4 {
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        let expected = if ringing.is_empty() {
            "suppressed"
        } else {
            "sent"
        };
        assert_eq!(answer.json["status"], expected, "customer {customer}");
        for phone in ringing {
            assert_eq!(stack.sim.rings(phone, &answer.id()).await, 1);
        }
        for phone in silent {
            assert_eq!(stack.sim.rings(phone, &answer.id()).await, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_remembered_needs_no_look_at_the_devices() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let other = stack.register(2, Device::android_fcm("other")).await;
    remembered_by_all(&stack, 1).await;
    let lock = stack.database.lock_table("customer_push_tokens").await;
    let ids = stack.send_many(1, 5).await;
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
    let stranger = stack.send(2).accepted().await;
    stack.database.statement_waits("customer_push_tokens").await;
    lock.release().await;
    assert_eq!(stack.settled(&stranger).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &ids[0]).await, 1);
    assert_eq!(stack.sim.rings(&other, &stranger).await, 1);
    let worker = &stack.workers[0];
    assert_eq!(
        of_one(&stack, worker, "push_cache_customers", "").await,
        2.0
    );
    let asked = async |result| of_one(&stack, worker, "push_cache_requests_total", result).await;
    assert_eq!((asked("miss").await, asked("stale").await), (2.0, 0.0));
}

/// Every kind of change, while both workers remember what was before.
async fn changes_show_at_once(stack: &Stack) {
    let first = stack.register(1, Device::android_fcm("first")).await;
    remembered_by_all(stack, 1).await;
    exactly(stack, 1, &[&first], &[]).await;

    // Another device.
    let second = stack.register(1, Device::android_fcm("second")).await;
    exactly(stack, 1, &[&first, &second], &[]).await;

    // Signed out.
    let gone = json!({"userType": "customer", "id": 1, "fcmToken": first.fcm()});
    let unregister = stack.api().post("/api/Push/unregister", &gone);
    drop(unregister.key(Key::Register).answer().await.expect(200));
    exactly(stack, 1, &[&second], &[&first]).await;

    // In other hands.
    remembered_by_all(stack, 1).await;
    stack.register(2, second.device.clone()).await;
    exactly(stack, 1, &[], &[&first, &second]).await;
    exactly(stack, 2, &[&second], &[]).await;

    // Dead: one worker is told so by the provider.
    let third = stack.register(2, Device::android_fcm("third")).await;
    remembered_by_all(stack, 2).await;
    let before = stack.sim.sends(Provider::Fcm, third.fcm()).await;
    let unregistered = json!({"case": "unregistered"});
    stack
        .sim
        .always(Provider::Fcm, third.fcm(), unregistered)
        .await;
    exactly(stack, 2, &[&second], &[&third]).await;
    let sends = stack.sim.sends(Provider::Fcm, third.fcm()).await;
    assert_eq!(sends, before + 1, "a dead token is used once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_worker_sees_every_change_at_once() {
    let stack = Stack::with().workers(2).start().await;
    all_listen(&stack).await;
    changes_show_at_once(&stack).await;
    // Five registrations and sign-outs; one that concerned two customers; one token that died.
    heard(&stack, "change", 2.0 * 6.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_worker_sees_every_change_also_when_nobody_tells() {
    let stack = Stack::with().workers(2).start().await;
    all_listen(&stack).await;
    stack.broker.deafen(CHANGES).await;
    changes_show_at_once(&stack).await;
    assert_eq!(
        counted(&stack, "push_changes_heard_total", "change").await,
        0.0
    );
    let stale = counted(&stack, "push_cache_requests_total", "stale").await;
    assert!(stale >= 4.0, "copies were there, and not used: {stale}");
}

/// A phone of customer 1's, who is remembered; and a notification to it that is in the worker's hand, where it waits for
/// an access token.
async fn in_hand(stack: &Stack) -> (Phone, String) {
    all_listen(stack).await;
    let phone = stack.register(1, Device::android_fcm("family phone")).await;
    remembered_by_all(stack, 1).await;
    stack.access_tokens_link().stall();
    stack.sim.expire_access_tokens().await;
    let id = stack.send(1).accepted().await;
    let held = "SELECT COUNT(*) FROM notification_history WHERE claimed_until IS NOT NULL";
    eventually("it is in hand", async || {
        (stack.database.number(held).await == 1).then_some(())
    })
    .await;
    (phone, id)
}

/// The phone is customer 2's by now, and does not ring for customer 1.
async fn nobody_else_is_rung(stack: &Stack, phone: &Phone, id: &str) {
    stack.access_tokens_link().restore();
    let row = stack.settled(id).await;
    assert_ne!(row.status, "sent", "{row:?}");
    assert_eq!(stack.sim.rings(phone, id).await, 0);
    let theirs = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(stack.sim.rings(phone, &theirs.id()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_in_hand_hears_that_the_token_has_moved() {
    let stack = Stack::with()
        .access_tokens_through_link()
        // Longer than this takes: so late would the database be asked.
        .env_worker("PROVIDER_TIMEOUT", "60s")
        .start()
        .await;
    let (phone, id) = in_hand(&stack).await;
    heard(&stack, "change", 1.0).await;
    stack.register(2, phone.device.clone()).await;
    heard(&stack, "change", 2.0).await;
    nobody_else_is_rung(&stack, &phone, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_in_hand_is_compared_with_the_database_when_nobody_tells() {
    let stack = Stack::with()
        .access_tokens_through_link()
        .env_worker("PROVIDER_TIMEOUT", "10s")
        .start()
        .await;
    let (phone, id) = in_hand(&stack).await;
    stack.broker.deafen(CHANGES).await;
    stack.register(2, phone.device.clone()).await;
    // Claims are renewed, then compared: after the second renewal the first comparison is over.
    let until = "SELECT CAST(UNIX_TIMESTAMP(MAX(claimed_until)) * 1000 AS SIGNED) FROM notification_history";
    for _ in 0..2 {
        let before = stack.database.number(until).await;
        eventually("the claims are renewed", async || {
            (stack.database.number(until).await > before).then_some(())
        })
        .await;
    }
    nobody_else_is_rung(&stack, &phone, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_an_outage_of_the_broker_what_is_in_hand_is_compared() {
    let stack = Stack::with()
        .through_links()
        .access_tokens_through_link()
        .env_worker("PROVIDER_TIMEOUT", "60s")
        .start()
        .await;
    let (phone, id) = in_hand(&stack).await;
    stack.links().cut_broker();
    // That the broker is away neither fails nor delays a registration.
    stack.register(2, phone.device.clone()).await;
    stack.links().restore();
    heard(&stack, "gap", 2.0).await;
    nobody_else_is_rung(&stack, &phone, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_that_a_receipt_reports_as_dead_is_told_to_every_worker() {
    let stack = Stack::with()
        .workers(2)
        .env_worker("RECEIPT_DELAY", "300ms")
        .start()
        .await;
    all_listen(&stack).await;
    let phone = stack.register(1, Device::ios_expo("iphone")).await;
    let changes = async |worker| {
        let worker = &stack.workers[worker];
        of_one(&stack, worker, "push_changes_heard_total", "change").await
    };
    heard(&stack, "change", 2.0).await;
    let before = [changes(0).await, changes(1).await];
    let dead = json!([{ "case": "DeviceNotRegistered" }]);
    stack
        .sim
        .script(Provider::Receipts, phone.expo(), dead)
        .await;
    let id = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    for (worker, before) in before.into_iter().enumerate() {
        eventually("it hears of it", async || {
            (changes(worker).await > before).then_some(())
        })
        .await;
    }
    exactly(&stack, 1, &[], &[&phone]).await;
}
