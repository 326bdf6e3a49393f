//! What an operator sees at one glance: what waits where, since when, who consumes, and how the providers' lanes stand.

use push_tests::{Broker, Device, Key, Provider, Stack, eventually};
use serde_json::{Value, json};

const PATH: &str = "/api/Push/admin/queues";

async fn look(stack: &Stack) -> Value {
    stack.api().get(PATH).answer().await.expect(200).json
}

/// Looks until it is so.
async fn until(stack: &Stack, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let seen = look(stack).await;
        is_so(&seen).then_some(seen)
    })
    .await
}

/// The entry of this name in a list.
fn named<'a>(seen: &'a Value, list: &str, key: &str, name: &str) -> &'a Value {
    let mut entries = seen[list].as_array().unwrap().iter();
    entries
        .find(|entry| entry[key] == name)
        .unwrap_or_else(|| panic!("no {name} in {seen}"))
}

fn queue<'a>(seen: &'a Value, name: &str) -> &'a Value {
    named(seen, "queues", "name", name)
}

fn lane(seen: &Value, provider: Provider) -> &Value {
    named(seen, "providers", "provider", provider.as_str())
}

fn names(seen: &Value) -> Vec<&str> {
    let queues = seen["queues"].as_array().unwrap().iter();
    queues
        .map(|queue| queue["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_who_consumes_and_for_how_long() {
    let mut stack = Stack::with().workers(0).start().await;
    stack.ready(&stack.apis[0]).await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.send_many(1, 3).await;
    let seen = until(&stack, "three wait for seconds", |seen| {
        let jobs = queue(seen, Broker::JOBS);
        jobs["depth"] == 3 && jobs["ageSeconds"].as_u64() >= Some(2)
    })
    .await;
    assert_eq!(queue(&seen, Broker::JOBS)["consumers"], 0);
    assert_eq!(
        *queue(&seen, Broker::DEAD),
        json!({"name": "push.dead", "depth": 0, "consumers": 0, "ageSeconds": null, "problem": null})
    );
    assert_eq!(names(&seen), ["push.dead", "push.jobs", "push.receipts"]);
    assert_eq!(
        seen["broker"],
        json!({"state": "connected", "reason": null, "unpublishedAgeSeconds": null})
    );
    let nobody = json!({"provider": "fcm", "state": null, "paused": false, "pausedBy": null, "pausedAt": null, "workers": []});
    assert_eq!(*lane(&seen, Provider::Fcm), nobody);

    eventually("the gauges tell it, too", async || {
        let metrics = stack.metrics_of(&stack.apis[0]).await;
        let jobs = |name| metrics.sum(name, "queue=\"push.jobs\"");
        let waits = jobs("push_queue_messages") == Some(3.0);
        let is_old = jobs("push_oldest_job_age_seconds") >= Some(1.0);
        (waits && is_old && jobs("push_queue_consumers") == Some(0.0)).then_some(())
    })
    .await;

    stack.start_worker().await;
    stack.start_worker().await;
    let seen = until(&stack, "two consume, and nothing waits", |seen| {
        let jobs = queue(seen, Broker::JOBS);
        let workers = lane(seen, Provider::Expo)["workers"].as_array();
        (&jobs["depth"], &jobs["consumers"]) == (&json!(0), &json!(2))
            && queue(seen, Broker::DEAD)["consumers"] == 2
            && queue(seen, Broker::RECEIPTS)["consumers"] == 2
            && workers.map(Vec::len) == Some(2)
    })
    .await;
    assert_eq!(queue(&seen, Broker::JOBS)["ageSeconds"], Value::Null);
    assert_eq!(
        names(&seen)[3..],
        [
            "push.retry.200ms",
            "push.retry.400ms",
            "push.retry.800ms",
            "push.receipts.15m",
            "push.receipts.1h"
        ]
    );
    for provider in [Provider::Fcm, Provider::Expo] {
        let lane = lane(&seen, provider);
        assert_eq!(lane["state"], "open");
        for worker in lane["workers"].as_array().unwrap() {
            assert_eq!(worker["state"], "open");
            assert!(worker["limit"].as_u64() > Some(0), "{worker}");
            assert!(worker["inFlight"].is_u64() && worker["reportAgeSeconds"].as_u64() <= Some(10));
        }
    }

    // Somebody has deleted one: that is told of it alone.
    stack.broker.delete_queue("push.retry.800ms").await;
    let seen = look(&stack).await;
    let deleted = queue(&seen, "push.retry.800ms");
    assert_eq!(deleted["depth"], Value::Null);
    assert!(
        deleted["problem"].as_str().unwrap().contains("no queue"),
        "{deleted}"
    );
    assert_eq!(queue(&seen, "push.retry.400ms")["depth"], 0);
    assert_eq!(seen["broker"]["state"], "connected");
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lane_that_is_paused_and_one_that_is_broken() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "2s,2500ms,3s,3s,3s,3s,3s,3s")
        .start()
        .await;
    for customer in 1..=20 {
        let phone = format!("phone {customer}");
        stack.register(customer, Device::android_fcm(&phone)).await;
    }
    let lever = async |what: &str| {
        let path = format!("/api/Push/admin/providers/fcm/{what}");
        stack
            .api()
            .post(&path, &json!({}))
            .answer()
            .await
            .expect(200)
    };
    let worker_is = |seen: &Value, provider: Provider, state: &str| {
        lane(seen, provider)["workers"][0]["state"] == state
    };
    until(&stack, "the worker has told", |seen| {
        worker_is(seen, Provider::Fcm, "open")
    })
    .await;
    let paused = lever("pause").await.json;
    // At once, whatever the worker has seen.
    let seen = look(&stack).await;
    let fcm = lane(&seen, Provider::Fcm);
    assert_eq!(
        (&fcm["state"], &fcm["paused"], &fcm["pausedBy"]),
        (&json!("paused"), &json!(true), &json!("all"))
    );
    assert_eq!(fcm["pausedAt"], paused["changedAt"]);
    let seen = until(&stack, "the worker obeys", |seen| {
        worker_is(seen, Provider::Fcm, "paused")
    })
    .await;
    assert_eq!(lane(&seen, Provider::Expo)["state"], "open");
    let waits = stack.send(1).accepted().await;
    until(&stack, "its job waits", |seen| {
        let mut queues = seen["queues"].as_array().unwrap().iter();
        queues.any(|queue| {
            let name = queue["name"].as_str().unwrap();
            name.starts_with("push.retry.") && queue["depth"] == 1
        })
    })
    .await;
    lever("resume").await;
    let seen = until(&stack, "it goes on", |seen| {
        lane(seen, Provider::Fcm)["state"] == "open"
    })
    .await;
    let fcm = lane(&seen, Provider::Fcm);
    assert_eq!(
        (&fcm["paused"], &fcm["pausedBy"], &fcm["pausedAt"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    assert_eq!(stack.settled(&waits).await.status, "sent");

    stack.sim.outage(Provider::Fcm, "503").await;
    for customer in 1..=20 {
        stack.send(customer).accepted().await;
    }
    let seen = until(&stack, "FCM's lane is broken", |seen| {
        lane(seen, Provider::Fcm)["state"] == "broken"
    })
    .await;
    assert!(worker_is(&seen, Provider::Fcm, "broken"), "{seen}");
    assert_eq!(lane(&seen, Provider::Fcm)["paused"], false);
    assert_eq!(lane(&seen, Provider::Expo)["state"], "open");
    stack.sim.outage(Provider::Fcm, "ok").await;
    stack.all_settled().await;
    until(&stack, "it is open again", |seen| {
        lane(seen, Provider::Fcm)["state"] == "open"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_broker_it_tells_what_the_database_knows() {
    let mut stack = Stack::with().workers(0).through_links().start().await;
    stack.ready(&stack.apis[0]).await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.send(1).accepted().await;
    until(&stack, "it is on its queue", |seen| {
        queue(seen, Broker::JOBS)["depth"] == 1
    })
    .await;
    stack.links().api_broker.cut();
    let seen = until(&stack, "the broker is away", |seen| {
        seen["broker"]["state"] == "disconnected"
    })
    .await;
    assert!(seen["broker"]["reason"].is_string(), "{seen}");
    let jobs = queue(&seen, Broker::JOBS);
    assert_eq!(
        (&jobs["depth"], &jobs["consumers"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(jobs["problem"], "the broker is away");
    assert!(jobs["ageSeconds"].is_u64(), "{jobs}");
    assert_eq!(seen["broker"]["unpublishedAgeSeconds"], Value::Null);
    stack.send(1).accepted().await;
    until(&stack, "one waits for the broker", |seen| {
        seen["broker"]["unpublishedAgeSeconds"].as_u64() >= Some(1)
    })
    .await;
    stack.links().restore();
    until(&stack, "the broker is back", |seen| {
        seen["broker"]["state"] == "connected" && queue(seen, Broker::JOBS)["depth"] == 1
    })
    .await;
    stack.start_worker().await;
    stack.all_settled().await;
    until(&stack, "all is published", |seen| {
        seen["broker"]["unpublishedAgeSeconds"].is_null()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_an_operator_looks() {
    let stack = Stack::with().workers(0).start().await;
    let call = || stack.api().get(PATH);
    let nobody = call().anonymous().answer().await.expect(401);
    assert_eq!(nobody.error_code(), "unauthorized");
    for key in [Key::Read, Key::Send, Key::Register] {
        let refused = call().key(key).answer().await.expect(403);
        assert_eq!(refused.error_code(), "forbidden");
    }
    assert_eq!(look(&stack).await["success"], true);
}
