//! The ladder: what waits, for how long, how often, and for whom.

use push_tests::{Device, Provider, Stack};
use serde_json::{Value, json};

/// Milliseconds between one arrival and the next, by the simulator's clock.
fn pauses(requests: &[Value]) -> Vec<u64> {
    let times: Vec<u64> = requests
        .iter()
        .map(|request| request["atMs"].as_u64().unwrap())
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_provider_that_is_down_for_a_moment_delays_and_loses_nothing() {
    let stack = Stack::start().await;
    // The timelines are compared: none may begin with a broker that is not there yet.
    stack.all_ready().await;
    let cases = [
        (Provider::Fcm, "unavailable", 503),
        (Provider::Fcm, "internal", 500),
        (Provider::Fcm, "bad_gateway_html", 502),
        (Provider::Fcm, "future_error_code", 0),
        (Provider::Expo, "unavailable_text", 503),
        (Provider::Expo, "rate_limited", 429),
        (Provider::Expo, "ticket_message_rate_exceeded", 200),
        (Provider::Expo, "internal", 500),
    ];
    let mut sent = Vec::new();
    for (customer, (provider, case, _)) in (1..).zip(cases) {
        let name = format!("{} {case}", provider.as_str());
        let device = if provider == Provider::Fcm {
            Device::android_fcm(&name)
        } else {
            Device::ios_expo(&name)
        };
        let phone = stack.register(customer, device).await;
        let token = if provider == Provider::Fcm {
            phone.fcm()
        } else {
            phone.expo()
        };
        stack
            .sim
            .script(provider, token, json!([{"case": case}]))
            .await;
        sent.push((
            provider,
            case,
            stack.send(customer).accepted().await,
            phone.clone(),
            token.to_owned(),
        ));
    }
    for (provider, case, id, phone, token) in sent {
        let row = stack.settled(&id).await;
        if case == "future_error_code" && row.status == "failed" {
            // "By HTTP class: 4xx no, 5xx yes"; the recorded body has a class of its own.
            continue;
        }
        assert_eq!(
            (row.status.as_str(), row.attempts),
            ("sent", 2),
            "{case}: {row:?}"
        );
        assert_eq!(stack.sim.sends(provider, &token).await, 2, "{case}");
        assert_eq!(stack.sim.rings(&phone, &id).await, 1, "{case}");
        let view = stack.notification(&id).await;
        let steps: Vec<&str> = view["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["step"].as_str().unwrap())
            // Where the broker took its time to confirm.
            .filter(|step| *step != "republished")
            .collect();
        assert_eq!(
            steps,
            [
                "accepted", "devices", "attempt", "retry", "attempt", "settled"
            ],
            "{case}"
        );
    }
    assert_eq!(stack.database.count("dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retry_after_is_a_lower_bound_and_waiting_spends_no_attempt() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "200ms,1200ms")
        .start()
        .await;
    let quota = |after: &str| {
        json!([{"status": 429, "headers": {"Retry-After": after}, "body": {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded",
        "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "QUOTA_EXCEEDED"}]}}}])
    };
    // One that a rung of the ladder satisfies, and one beyond the last rung.
    let short = stack.register(1, Device::android_fcm("short")).await;
    let long = stack.register(2, Device::android_fcm("long")).await;
    let expo = stack.register(3, Device::ios_expo("expo")).await;
    stack
        .sim
        .script(Provider::Fcm, short.fcm(), quota("1"))
        .await;
    stack
        .sim
        .script(Provider::Fcm, long.fcm(), quota("3"))
        .await;
    stack
        .sim
        .script(
            Provider::Expo,
            expo.expo(),
            json!([{"case": "rate_limited", "headers": {"Retry-After": "2"}}]),
        )
        .await;
    let mut ids = Vec::new();
    for customer in [1, 2, 3] {
        ids.push(stack.send(customer).accepted().await);
    }
    for id in &ids {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 2), "{row:?}");
    }
    for (provider, token, at_least) in [
        (Provider::Fcm, short.fcm(), 1_000),
        (Provider::Fcm, long.fcm(), 3_000),
        (Provider::Expo, expo.expo(), 2_000),
    ] {
        let pauses = pauses(&stack.sim.requests(provider, token).await);
        assert_eq!(pauses.len(), 1);
        assert!(
            pauses[0] >= at_least,
            "asked for {at_least} ms, came after {pauses:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retries_climb_the_rungs_and_go_only_to_who_has_not_accepted() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "200ms,500ms,1s")
        .start()
        .await;
    let good = stack.register(1, Device::android_fcm("good")).await;
    let bad = stack.register(1, Device::android_fcm("bad")).await;
    let iphone = stack.register(1, Device::ios_expo("iphone")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            bad.fcm(),
            json!([{"case": "unavailable"}, {"case": "internal"}, {"case": "unavailable"}]),
        )
        .await;
    let answer = stack.send(1).wait(30).answer().await.expect(200);
    let id = answer.id();
    assert_eq!(
        (
            &answer.json["status"],
            &answer.json["fcmResult"],
            &answer.json["expoResult"]
        ),
        (&json!("sent"), &json!("success"), &json!("success"))
    );
    let row = stack.settled(&id).await;
    assert_eq!(row.attempts, 4);
    assert_eq!(stack.sim.sends(Provider::Fcm, good.fcm()).await, 1);
    assert_eq!(stack.sim.sends(Provider::Expo, iphone.expo()).await, 1);
    let requests = stack.sim.requests(Provider::Fcm, bad.fcm()).await;
    let waited = pauses(&requests);
    assert_eq!(waited.len(), 3);
    for (pause, rung) in waited.iter().zip([200, 500, 1_000]) {
        assert!(*pause >= rung, "{waited:?}");
    }
    // Every send of a notification carries the same tag.
    let tags: Vec<&Value> = requests
        .iter()
        .map(|request| &request["body"]["message"]["android"]["notification"]["tag"])
        .collect();
    assert!(tags.iter().all(|tag| **tag == json!(id)), "{tags:?}");
    for phone in [&good, &bad, &iphone] {
        assert_eq!(stack.sim.rings(phone, &id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_access_token_is_got_once_renewed_at_once_and_waited_for() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    for _ in 0..3 {
        assert_eq!(
            stack.send(1).wait(20).answer().await.expect(200).json["status"],
            "sent"
        );
    }
    assert_eq!(
        stack.sim.counts().await["oauth"]["tokensIssued"],
        1,
        "one token serves all"
    );

    // Stale: once more at once, without spending an attempt.
    stack.sim.expire_access_tokens().await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent");
    assert_eq!(stack.settled(&answer.id()).await.attempts, 1);
    assert_eq!(stack.sim.counts().await["oauth"]["tokensIssued"], 2);
    assert_eq!(stack.sim.rings(&phone, &answer.id()).await, 1);
}
