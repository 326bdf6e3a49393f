//! P6: each provider has a lane of its own. What a lane does not take waits in the broker, and that spends no attempt.

use push_tests::{Device, Key, Phone, Provider, Stack, eventually};
use serde_json::{Value, json};

/// One device for each of so many customers, from `first` on.
async fn devices(
    stack: &Stack,
    first: i64,
    count: i64,
    device: impl Fn(&str) -> Device,
) -> Vec<Phone> {
    let mut phones = Vec::new();
    for customer in first..first + count {
        let device = device(&format!("phone {customer}"));
        phones.push(stack.register(customer, device).await);
    }
    phones
}

/// One notification to each of so many customers.
async fn send_to_each(stack: &Stack, first: i64, count: i64) -> Vec<String> {
    let mut ids = Vec::new();
    for customer in first..first + count {
        ids.push(stack.send(customer).accepted().await);
    }
    ids
}

/// The sum of a metric of the only worker's.
async fn metric(stack: &Stack, name: &str, label: &str) -> f64 {
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    metrics.sum(name, label).unwrap_or(0.0)
}

async fn lane_is(stack: &Stack, provider: Provider, state: &str) {
    let label = format!("provider=\"{}\",state=\"{state}\"", provider.as_str());
    eventually(&format!("{} is {state}", provider.as_str()), async || {
        (metric(stack, "push_lane_state", &label).await > 0.0).then_some(())
    })
    .await;
}

/// Messages that arrived at a provider, whatever became of them.
async fn arrived(stack: &Stack, provider: Provider) -> u64 {
    stack.sim.counts().await[provider.as_str()]["requests"]
        .as_u64()
        .unwrap()
}

/// What the timeline says in entries of this kind.
async fn told(stack: &Stack, id: &str, step: &str) -> Vec<String> {
    let view = stack.notification(id).await;
    let entries = view["timeline"].as_array().unwrap().iter();
    entries
        .filter(|entry| entry["step"] == step)
        .map(|entry| entry["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Pauses a provider, or has it go on.
async fn lever(stack: &Stack, provider: Provider, what: &str) -> Value {
    let path = format!("/api/Push/admin/providers/{}/{what}", provider.as_str());
    let call = stack.api().post(&path, &json!({}));
    call.answer().await.expect(200).json
}

/// Far more jobs wait for a provider that hangs than the worker may have in hand.
async fn one_that_hangs_fills_only_its_lane(hanging: Provider) {
    let stack = Stack::with()
        .env_worker("PREFETCH", "20")
        .env_worker("PROVIDER_TIMEOUT", "25s")
        .env_worker("RETRY_DELAYS", "500ms,1s,2s,3s")
        .start()
        .await;
    let (android, iphone) = (Device::android_fcm("android"), Device::ios_expo("iphone"));
    let (troubled, healthy) = match hanging {
        Provider::Expo => (iphone, android),
        Provider::Fcm | Provider::Oauth | Provider::Receipts => (android, iphone),
    };
    stack.register(1, troubled).await;
    stack.register(2, healthy).await;
    stack.sim.outage(hanging, "hang").await;
    let stuck = stack.send_many(1, 100).await;
    eventually("the lane takes no more", async || {
        let full = metric(&stack, "push_postponed_total", "reason=\"full\"").await;
        (full >= 20.0).then_some(())
    })
    .await;
    for _ in 0..5 {
        let answer = stack.send(2).wait(20).answer().await;
        assert_eq!(
            answer.status, 200,
            "it waits for the other: {}",
            answer.text
        );
        assert_eq!(answer.json["status"], "sent");
    }
    let mut untried = 0;
    for id in &stuck {
        let row = stack.database.history(id).await.unwrap();
        assert_ne!(row.status, "sent");
        untried += usize::from(row.attempts == 0);
    }
    assert!(untried >= 50, "waiting spends no attempt: {untried} of 100");
    stack.sim.outage(hanging, "ok").await;
    for id in &stuck {
        let row = stack.settled(id).await;
        assert_eq!(row.status, "sent", "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fcm_that_hangs_fills_only_its_lane() {
    one_that_hangs_fills_only_its_lane(Provider::Fcm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn expo_that_hangs_fills_only_its_lane() {
    one_that_hangs_fills_only_its_lane(Provider::Expo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slow_provider_has_half_of_what_the_worker_may_have_in_hand() {
    let stack = Stack::with()
        .env_worker("PREFETCH", "40")
        .env_worker("RETRY_DELAYS", "500ms,1s,2s,3s")
        .start()
        .await;
    stack.register(1, Device::android_fcm("android")).await;
    stack.register(2, Device::ios_expo("iphone")).await;
    stack.sim.latency(Provider::Fcm, 2_500).await;
    let slow = stack.send_many(1, 60).await;
    eventually("FCM has its half under way", async || {
        let under_way = metric(&stack, "push_lane_in_flight", "fcm").await;
        (under_way >= 20.0).then_some(())
    })
    .await;
    assert_eq!(
        stack.send(2).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
    stack.sim.latency(Provider::Fcm, 0).await;
    for id in &slow {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lane_that_fails_for_many_breaks_is_probed_by_few_and_delivers_all_in_the_end() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "600ms,1200ms,2s,2s,2s,2s,2s,2s")
        .start()
        .await;
    devices(&stack, 1, 20, Device::android_fcm).await;
    let both = devices(&stack, 101, 1, Device::android_both).await;
    stack.register(200, Device::android_fcm("android")).await;
    let iphone = stack.register(200, Device::ios_expo("iphone")).await;
    stack.sim.outage(Provider::Fcm, "503").await;
    let failed = send_to_each(&stack, 1, 20).await;
    lane_is(&stack, Provider::Fcm, "broken").await;

    // A device with another token goes there, and is told so.
    let answer = stack.send(101).wait(20).answer().await.expect(200);
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("not_sent"), &json!("success"))
    );
    assert_eq!(stack.sim.rings(&both[0], &answer.id()).await, 1);
    let failover = told(&stack, &answer.id(), "failover").await;
    assert_eq!(failover.len(), 1, "{failover:?}");

    // A customer with a device at each: Expo's is served and recorded, FCM's waits.
    let mixed = stack.send(200).accepted().await;
    eventually("Expo's part is recorded", async || {
        let row = stack.database.history(&mixed).await?;
        (row.expo_result == "success" && row.status == "pending").then_some(())
    })
    .await;
    assert_eq!(stack.sim.rings(&iphone, &mixed).await, 1);

    // Many wait and come again, few go out.
    let before = arrived(&stack, Provider::Fcm).await;
    let waiting = send_to_each(&stack, 1, 20).await;
    eventually("all came again, and some tried it", async || {
        let postponed = metric(&stack, "push_postponed_total", "reason=\"broken\"").await;
        (postponed >= 80.0 && arrived(&stack, Provider::Fcm).await > before).then_some(())
    })
    .await;
    let probes = arrived(&stack, Provider::Fcm).await - before;
    assert!(probes <= 10, "{probes} went out");

    stack.sim.outage(Provider::Fcm, "ok").await;
    for id in failed.iter().chain(&waiting).chain([&mixed]) {
        let row = stack.settled(id).await;
        assert_eq!(row.status, "sent", "{row:?}");
    }
    lane_is(&stack, Provider::Fcm, "open").await;
    let log = &stack.logs()[1];
    let lines = |text: &str| {
        log.lines()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    };
    assert_eq!(lines("fails for many targets"), 1, "one line a change");
    let openings = metric(&stack, "push_lane_breaker_openings_total", "fcm").await;
    assert!((openings - 1.0).abs() < f64::EPSILON, "{openings}");
    assert_eq!(lines("lane is open again"), 1);
    assert_eq!(stack.database.count("dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_may_have_been_delivered_stays_with_its_provider_also_when_that_breaks() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "2s,2s,2s,2s,2s,2s,2s,2s")
        .start()
        .await;
    devices(&stack, 1, 20, Device::android_fcm).await;
    let phone = stack.register(101, Device::android_both("both")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            phone.fcm(),
            json!([{"case": "ok_not_json", "accepted": true}]),
        )
        .await;
    stack.rings_twice();
    let maybe = stack.send(101).accepted().await;
    eventually("nobody knows whether it was delivered", async || {
        let view = stack.notification(&maybe).await;
        (view["deliveries"][0]["maybeDelivered"] == Value::Bool(true)).then_some(())
    })
    .await;
    stack.sim.outage(Provider::Fcm, "503").await;
    let more = send_to_each(&stack, 1, 20).await;
    lane_is(&stack, Provider::Fcm, "broken").await;
    eventually("it waits for FCM", async || {
        (!told(&stack, &maybe, "postponed").await.is_empty()).then_some(())
    })
    .await;
    stack.sim.outage(Provider::Fcm, "ok").await;
    for id in more.iter().chain([&maybe]) {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_provider_that_asks_for_less_is_left_alone_and_the_other_goes_on() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "200ms,400ms,800ms")
        .start()
        .await;
    let first = stack.register(1, Device::android_fcm("first")).await;
    let phones = devices(&stack, 11, 10, Device::android_fcm).await;
    stack.register(2, Device::ios_expo("iphone")).await;
    let quota = json!([{"status": 429, "headers": {"Retry-After": "4"}, "body": {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded",
        "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "QUOTA_EXCEEDED"}]}}}]);
    stack.sim.script(Provider::Fcm, first.fcm(), quota).await;
    let refused = stack.send(1).accepted().await;
    eventually("FCM asked for less", async || {
        (stack.sim.sends(Provider::Fcm, first.fcm()).await == 1).then_some(())
    })
    .await;
    lane_is(&stack, Provider::Fcm, "throttled").await;
    let waiting = send_to_each(&stack, 11, 10).await;
    assert_eq!(
        stack.send(2).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
    for id in &waiting {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
    }
    let at = |request: &Value| request["atMs"].as_u64().unwrap();
    let asked = at(&stack.sim.requests(Provider::Fcm, first.fcm()).await[0]);
    for phone in &phones {
        let sent = at(&stack.sim.requests(Provider::Fcm, phone.fcm()).await[0]);
        assert!(sent >= asked + 4_000, "{} ms", sent - asked);
    }
    assert_eq!(stack.settled(&refused).await.status, "sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_an_operator_pauses_waits_on_every_worker_and_over_restarts() {
    let mut stack = Stack::with()
        .workers(2)
        .env_worker("RETRY_DELAYS", "300ms,600ms,1s")
        .start()
        .await;
    let both = devices(&stack, 1, 10, Device::android_both).await;
    stack.register(20, Device::ios_expo("iphone")).await;
    stack.all_ready().await;
    let paused = lever(&stack, Provider::Fcm, "pause").await;
    assert_eq!(
        (&paused["provider"], &paused["paused"], &paused["changedBy"]),
        (&json!("fcm"), &json!(true), &json!("all"))
    );
    let again = lever(&stack, Provider::Fcm, "pause").await;
    assert_eq!(again["changedAt"], paused["changedAt"], "as it was");
    eventually("both workers have seen it", async || {
        let seen = |log: &push_tests::Log| log.says("an operator paused the provider");
        (stack.logs()[1..].iter().filter(|log| seen(log)).count() == 2).then_some(())
    })
    .await;
    let waiting = send_to_each(&stack, 1, 10).await;
    // What is past its time while it waits is not sent.
    let brief = stack.send(1).with("ttlSeconds", 2).accepted().await;
    let row = stack.settled(&brief).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str()),
        ("suppressed", "expired")
    );
    assert_eq!(
        stack.send(20).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );

    assert_eq!(stack.terminate_worker().await, Some(0));
    assert_eq!(stack.terminate_worker().await, Some(0));
    stack.start_worker().await;
    let more = send_to_each(&stack, 1, 10).await;
    eventually("it waits after the restart, too", async || {
        let postponed = metric(&stack, "push_postponed_total", "reason=\"paused\"").await;
        (postponed >= 20.0).then_some(())
    })
    .await;
    assert_eq!(arrived(&stack, Provider::Fcm).await, 0);
    for phone in &both {
        // Paused is not broken: nobody goes elsewhere.
        assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 0);
    }
    for id in waiting.iter().chain(&more) {
        assert_eq!(stack.database.history(id).await.unwrap().attempts, 0);
        let postponed = told(&stack, id, "postponed").await;
        assert!(
            postponed.len() <= 1,
            "once, not for each look: {postponed:?}"
        );
    }

    let resumed = lever(&stack, Provider::Fcm, "resume").await;
    assert_eq!(resumed["paused"], false);
    for id in waiting.iter().chain(&more) {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_an_operator_moves_the_levers_of_the_providers_that_there_are() {
    let stack = Stack::with().workers(0).start().await;
    for what in ["pause", "resume"] {
        let call = |provider: &str| {
            let path = format!("/api/Push/admin/providers/{provider}/{what}");
            stack.api().post(&path, &json!({}))
        };
        let nobody = call("fcm").anonymous().answer().await.expect(401);
        assert_eq!(nobody.error_code(), "unauthorized");
        for key in [Key::Read, Key::Send, Key::Register] {
            let refused = call("fcm").key(key).answer().await.expect(403);
            assert_eq!(refused.error_code(), "forbidden");
        }
        let unknown = call("apns").answer().await.expect(404);
        assert_eq!(unknown.error_code(), "unknown_provider");
        let any_case = call("Expo").answer().await.expect(200);
        assert_eq!(any_case.json["provider"], "expo");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_operator_whose_levers_nobody_can_read_is_told() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    // Those that are read before the first push, are.
    lane_is(&stack, Provider::Fcm, "open").await;
    stack.expect_errors("the switches of the providers cannot be read");
    let rename = |from: &str, to: &str| format!("RENAME TABLE {from} TO {to}");
    let (table, elsewhere) = ("provider_switches", "not_there");
    stack.database.execute(&rename(table, elsewhere)).await;
    eventually("it is told", async || {
        let log = &stack.workers[0].log;
        log.says("the switches of the providers cannot be read")
            .then_some(())
    })
    .await;
    stack.database.execute(&rename(elsewhere, table)).await;
    lever(&stack, Provider::Fcm, "pause").await;
    lane_is(&stack, Provider::Fcm, "paused").await;
}
