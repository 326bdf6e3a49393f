//! The customer decides what to get, and when.

use std::time::{SystemTime, UNIX_EPOCH};

use push_tests::{Answer, Device, Key, Phone, Provider, Row, Stack, eventually};
use serde_json::{Value, json};

fn path(customer: i64) -> String {
    format!("/api/Push/preferences/{customer}")
}

async fn put(stack: &Stack, customer: i64, preferences: &Value) -> Answer {
    let call = stack.api().call(reqwest::Method::PUT, &path(customer));
    call.key(Key::Register).json(preferences).answer().await
}

/// What is answered once they are set.
async fn set(stack: &Stack, customer: i64, preferences: &Value) -> Value {
    put(stack, customer, preferences).await.expect(200).json
}

async fn get(stack: &Stack, customer: i64) -> Answer {
    let call = stack.api().get(&path(customer));
    call.key(Key::Register).answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_said_last_is_told_as_a_whole() {
    let stack = Stack::with()
        .workers(0)
        .env_api("MANDATORY_TYPES", "security, cancelled")
        .start()
        .await;
    stack.know_customer(1).await;
    let everything = json!({
        "success": true, "message": "Preferences found", "customerId": 1, "pushEnabled": true, "types": {},
        "quietHours": null, "locale": null, "mandatoryTypes": ["cancelled", "security"],
    });
    assert_eq!(get(&stack, 1).await.expect(200).json, everything);

    let said = json!({
        "pushEnabled": false, "types": {"offer": false, "cancelled": false}, "locale": "zh-Hant-TW",
        "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "America/Argentina/Buenos_Aires"},
    });
    let saved = set(&stack, 1, &said).await;
    let mut told = get(&stack, 1).await.expect(200).json;
    for (field, value) in said.as_object().unwrap() {
        assert_eq!(&told[field], value, "{field}");
    }
    told["message"] = "Preferences saved".into();
    assert_eq!(saved, told);

    // What is not said is as if it had never been.
    let least = json!({"pushEnabled": true, "types": {}});
    set(&stack, 1, &least).await;
    assert_eq!(get(&stack, 1).await.expect(200).json, everything);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_wrong_is_told_at_once_and_changes_nothing() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let said = json!({"pushEnabled": false, "types": {}});
    set(&stack, 1, &said).await;
    let wrong = json!({
        "types": {"offer": 1, "No Type": true}, "locale": "de_DE",
        "quietHours": {"start": "9:00", "end": "24:00", "timeZone": "CEST"},
    });
    let answer = put(&stack, 1, &wrong).await.expect(400);
    assert_eq!(answer.error_code(), "invalid_input");
    assert_eq!(
        answer.wrong_fields(),
        [
            "locale",
            "pushEnabled",
            "quietHours.end",
            "quietHours.start",
            "quietHours.timeZone",
            "types",
            "types.offer"
        ]
    );
    assert_eq!(get(&stack, 1).await.json["pushEnabled"], false);
    for nobody in ["77", "0", "-1", "me", "9223372036854775808"] {
        let path = format!("/api/Push/preferences/{nobody}");
        let answer = stack.api().get(&path).answer().await.expect(404);
        assert_eq!(answer.error_code(), "unknown_customer", "{nobody}");
        let put = stack.api().call(reqwest::Method::PUT, &path).json(&said);
        let answer = put.answer().await.expect(404);
        assert_eq!(answer.error_code(), "unknown_customer", "{nobody}");
    }
    assert_eq!(stack.database.count("notification_preferences").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_become_known_has_preferences_before_anything_else() {
    let stack = Stack::with()
        .workers(0)
        .env_api("UNKNOWN_CUSTOMER", "create")
        .start()
        .await;
    assert_eq!(get(&stack, 5).await.expect(200).json["pushEnabled"], true);
    assert_eq!(
        stack.database.count("customers").await,
        0,
        "looking adds nobody"
    );
    let said = json!({"pushEnabled": false, "types": {}});
    set(&stack, 5, &said).await;
    assert_eq!(stack.database.count("customers").await, 1);
    assert_eq!(get(&stack, 5).await.expect(200).json["pushEnabled"], false);
}

fn types(types: Value) -> Value {
    json!({"pushEnabled": true, "types": types})
}

fn off() -> Value {
    json!({"pushEnabled": false, "types": {}})
}

/// The clock in Greenwich, so many minutes from now.
fn clock(minutes: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs() / 60).unwrap() + minutes;
    let minute = now.rem_euclid(24 * 60);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Quiet from so many minutes before now to so many after it, by a clock that is two hours ahead all year.
fn quiet(before: i64, after: i64) -> Value {
    let hours = json!({
        "start": clock(120 - before), "end": clock(120 + after), "timeZone": "Africa/Johannesburg",
    });
    json!({"pushEnabled": true, "types": {}, "quietHours": hours})
}

/// A customer with a phone.
async fn with_phone(stack: &Stack, customer: i64) -> Phone {
    let device = Device::android_fcm(&format!("phone of {customer}"));
    stack.register(customer, device).await
}

fn reason(row: &Row) -> (&str, &str, u32) {
    (&row.status, &row.reason, row.attempts)
}

async fn steps(stack: &Stack, id: &str) -> Vec<String> {
    let told = stack.notification(id).await["timeline"].clone();
    let step = |entry: &Value| entry["step"].as_str().unwrap().to_owned();
    told.as_array().unwrap().iter().map(step).collect()
}

/// Waits until its timeline says that it waits for the end of quiet hours.
async fn waits(stack: &Stack, id: &str) {
    eventually("it waits for the end of quiet hours", async || {
        let told = steps(stack, id).await;
        (told.last().map(String::as_str) == Some("quiet_hours")).then_some(())
    })
    .await;
    assert_eq!(stack.notification(id).await["status"], "pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_switched_off_is_not_sent_unless_it_is_mandatory() {
    let stack = Stack::with()
        .env_worker("MANDATORY_TYPES", "security,cancelled")
        .start()
        .await;
    let phone = with_phone(&stack, 1).await;
    let send = async |kind: &str| {
        let send = stack.send(1).with("type", kind).wait(20);
        let answer = send.answer().await.expect(200);
        (answer.json["status"].clone(), answer.id())
    };
    for (preferences, suppressed, sent) in [
        (
            types(json!({"offer": false, "security": false, "reached": true})),
            &["offer"][..],
            &["reached", "other", "security"][..],
        ),
        (
            off(),
            &["offer", "reached"][..],
            &["security", "cancelled"][..],
        ),
        (types(json!({})), &[][..], &["offer", "reached"][..]),
    ] {
        set(&stack, 1, &preferences).await;
        for kind in suppressed {
            let (status, id) = send(kind).await;
            assert_eq!(status, "suppressed", "{kind}: {preferences}");
            let row = stack.settled(&id).await;
            assert_eq!(reason(&row), ("suppressed", "opted_out", 0));
            assert_eq!(stack.sim.rings(&phone, &id).await, 0);
            assert_eq!(
                steps(&stack, &id).await,
                ["accepted", "preference", "settled"]
            );
        }
        for kind in sent {
            let (status, id) = send(kind).await;
            assert_eq!(status, "sent", "{kind}: {preferences}");
            assert_eq!(stack.sim.rings(&phone, &id).await, 1);
        }
    }
    eventually(
        "the worker has counted three that it suppressed",
        async || {
            let worker = stack.metrics_of(&stack.workers[0]).await;
            let suppressed = worker.sum("push_jobs_total", "decision=\"suppressed\"");
            (suppressed == Some(3.0)).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn in_quiet_hours_what_is_urgent_passes_and_the_rest_waits_until_they_end() {
    let stack = Stack::with()
        .env_worker("MANDATORY_TYPES", "security")
        .start()
        .await;
    let phone = with_phone(&stack, 1).await;
    set(&stack, 1, &quiet(60, 120)).await;
    let high = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(high.json["status"], "sent");
    let normal = stack.send(1).with("priority", "normal").accepted().await;
    let mandatory = stack
        .send(1)
        .with("priority", "normal")
        .with("type", "security");
    let mandatory = mandatory.accepted().await;
    let short = stack
        .send(1)
        .with("priority", "normal")
        .with("ttlSeconds", 3600);
    let short = short.wait(20).answer().await.expect(200);
    assert_eq!(short.json["status"], "suppressed");
    let row = stack.settled(&short.id()).await;
    assert_eq!(reason(&row), ("suppressed", "quiet_hours", 0));
    for id in [&normal, &mandatory] {
        waits(&stack, id).await;
        assert_eq!(stack.sim.rings(&phone, id).await, 0);
    }
    assert_eq!(
        stack.database.number("SELECT COUNT(*) FROM notification_history WHERE due_at > NOW() + INTERVAL 90 MINUTE").await,
        2,
        "until the end, and in no queue"
    );

    // Another change of mind leaves them waiting.
    let mut other = quiet(30, 120);
    other["types"]["offer"] = false.into();
    set(&stack, 1, &other).await;
    for id in [&normal, &mandatory] {
        eventually("it was looked at, and waits", async || {
            let told = steps(&stack, id).await.join(" ");
            told.ends_with("quiet_hours preference quiet_hours quiet_hours")
                .then_some(())
        })
        .await;
    }
    // Not in quiet hours any more: at once.
    set(&stack, 1, &quiet(-60, 120)).await;
    for id in [&normal, &mandatory] {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    assert_eq!(stack.database.count("quiet_hours_waits").await, 0);
    let now = stack.send(1).with("priority", "normal").wait(20);
    assert_eq!(now.answer().await.expect(200).json["status"], "sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_and_is_switched_off_meanwhile_is_not_sent() {
    let stack = Stack::start().await;
    let phone = with_phone(&stack, 1).await;
    set(&stack, 1, &quiet(60, 120)).await;
    let id = stack.send(1).with("priority", "normal").accepted().await;
    waits(&stack, &id).await;
    set(&stack, 1, &off()).await;
    assert_eq!(
        reason(&stack.settled(&id).await),
        ("suppressed", "opted_out", 0)
    );
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_switches_it_off_after_a_try_does_not_get_another_one() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "3s,3s,3s")
        .start()
        .await;
    let phone = with_phone(&stack, 1).await;
    let unavailable = json!([{"case": "unavailable"}]);
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), unavailable)
        .await;
    let id = stack.send(1).accepted().await;
    eventually("it was tried", async || {
        let told = steps(&stack, &id).await;
        told.contains(&"retry".to_owned()).then_some(())
    })
    .await;
    set(&stack, 1, &off()).await;
    assert_eq!(
        reason(&stack.settled(&id).await),
        ("suppressed", "opted_out", 1)
    );
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replay_of_what_is_no_longer_wanted_sends_nothing() {
    let stack = Stack::start().await;
    stack.expect_errors("an operator must act");
    let phone = with_phone(&stack, 1).await;
    let mismatch = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), mismatch).await;
    let id = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&id).await.reason, "dead_lettered");
    set(&stack, 1, &off()).await;
    let letter = stack.database.dead_letters_of(&id).await[0].id;
    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let replayed = stack.api().post(&path, &json!({})).answer().await;
    assert_eq!(replayed.status, 202);
    let row = eventually("it has ended again", async || {
        let row = stack.settled(&id).await;
        (row.reason != "dead_lettered").then_some(row)
    })
    .await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str()),
        ("suppressed", "opted_out")
    );
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
}

/// Turns everything off and on again while both workers remember what was before; nothing is sent after the answer.
async fn changes_of_mind_hold_at_once(stack: &Stack, phone: &Phone) {
    let everything = types(json!({}));
    for round in 0..6 {
        let (preferences, status, rings) = match round % 2 {
            0 => (off(), "suppressed", 0),
            _ => (everything.clone(), "sent", 1),
        };
        set(stack, 1, &preferences).await;
        let sent = (0..6).map(|_| stack.send(1).wait(20).answer());
        for answer in futures::future::join_all(sent).await {
            assert_eq!(answer.json["status"], status);
            assert_eq!(stack.sim.rings(phone, &answer.id()).await, rings);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_said_holds_on_every_worker_at_once_also_when_nobody_tells() {
    let stack = Stack::with().workers(2).start().await;
    stack.all_ready().await;
    let phone = with_phone(&stack, 1).await;
    changes_of_mind_hold_at_once(&stack, &phone).await;
    // The exchange by which workers are told.
    stack.broker.deafen("push.invalidate").await;
    changes_of_mind_hold_at_once(&stack, &phone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_in_hand_when_it_is_switched_off_does_not_go_out() {
    let stack = Stack::with()
        .access_tokens_through_link()
        .env_worker("PROVIDER_TIMEOUT", "60s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = with_phone(&stack, 1).await;
    let heard = async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        metrics
            .sum("push_changes_heard_total", "change")
            .unwrap_or(0.0)
    };
    let first = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(first.json["status"], "sent");
    // It waits for an access token in the worker's hand.
    stack.access_tokens_link().stall();
    stack.sim.expire_access_tokens().await;
    let id = stack.send(1).accepted().await;
    let held = "SELECT COUNT(*) FROM notification_history WHERE claimed_until IS NOT NULL";
    eventually("it is in hand", async || {
        (stack.database.number(held).await == 1).then_some(())
    })
    .await;
    let before = heard().await;
    set(&stack, 1, &off()).await;
    eventually("the worker hears of it", async || {
        (heard().await > before).then_some(())
    })
    .await;
    stack.access_tokens_link().restore();
    assert_eq!(
        reason(&stack.settled(&id).await),
        ("suppressed", "opted_out", 0)
    );
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
}
