//! Expo's receipts: what became of what Expo took is asked for, however long it takes and whatever is lost, and acted on.

use push_tests::{
    Broker, Builder, Device, Phone, PrivateRabbit, Program, Provider, Servers, Stack, eventually,
};
use serde_json::{Value, json};

/// Receipts are asked for soon, and what is lost is looked for soon.
fn soon() -> Builder {
    Stack::with()
        .env_worker("RECEIPT_DELAY", "300ms")
        .env_worker("RECONCILE_AFTER", "1s")
}

const OPEN: &str = "SELECT COUNT(*) FROM expo_tickets";

/// Waits until nothing is asked for any more.
async fn all_receipts_are_in(stack: &Stack) {
    eventually("no receipt is outstanding", async || {
        (stack.database.number(OPEN).await == 0).then_some(())
    })
    .await;
}

/// A notification that Expo has taken. Its receipt may be there already.
async fn sent(stack: &Stack, customer: i64) -> String {
    let id = stack.send(customer).accepted().await;
    stack.settled(&id).await;
    let view = stack.notification(&id).await;
    let told = view["timeline"].to_string();
    assert!(told.contains("accepted as"), "{view}");
    id
}

/// Waits for the receipt of a notification's only Expo delivery: what it said, and all that is known then.
async fn receipt(stack: &Stack, id: &str) -> (String, Value) {
    let said = eventually("its receipt is recorded", async || {
        let view = stack.notification(id).await;
        let deliveries = view["deliveries"].as_array()?;
        let expo = deliveries.iter().find(|row| row["provider"] == "expo")?;
        expo["receipt"].as_str().map(str::to_owned)
    })
    .await;
    // Once more: an answer may have been begun before the record, and ended after it.
    (said, stack.notification(id).await)
}

fn steps(view: &Value) -> Vec<&str> {
    let timeline = view["timeline"].as_array().unwrap();
    timeline
        .iter()
        .filter_map(|entry| entry["step"].as_str())
        .collect()
}

/// The next push to this phone has such a receipt; what comes after that is delivered.
async fn bad_receipt(stack: &Stack, phone: &Phone, case: &str) {
    let answer = json!([{ "case": case }]);
    stack
        .sim
        .script(Provider::Receipts, phone.expo(), answer)
        .await;
}

/// What each kind of receipt comes to.
struct Case {
    case: &'static str,
    said: &'static str,
    status: &'static str,
    reason: &'static str,
    outcome: &'static str,
    /// Whether the token is still used.
    alive: bool,
    /// Why it is kept for a replay, if it is.
    letter: &'static str,
}

const fn refused(case: &'static str, said: &'static str) -> Case {
    Case {
        case,
        said,
        status: "failed",
        reason: "refused",
        outcome: "refused",
        alive: true,
        letter: "",
    }
}

const fn kept(case: &'static str, letter: &'static str) -> Case {
    Case {
        reason: "dead_lettered",
        outcome: "dead_lettered",
        letter,
        ..refused(case, case)
    }
}

const CASES: &[Case] = &[
    Case {
        status: "sent",
        reason: "",
        outcome: "accepted",
        ..refused("ok", "ok")
    },
    Case {
        reason: "invalid_tokens",
        outcome: "token_dead",
        alive: false,
        ..refused("DeviceNotRegistered", "DeviceNotRegistered")
    },
    refused("MessageTooBig", "MessageTooBig"),
    refused("DeveloperError", "DeveloperError"),
    refused("no_details", "unknown_error"),
    kept("MismatchSenderId", "operator_must_act"),
    kept("InvalidCredentials", "operator_must_act"),
    kept("MessageRateExceeded", "retries_exhausted"),
    kept("ExpoError", "retries_exhausted"),
    kept("ProviderError", "retries_exhausted"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_receipt_is_acted_on() {
    let stack = soon().start().await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act");
    let mut sent_to = Vec::new();
    for (customer, case) in (1..).zip(CASES) {
        let phone = stack.register(customer, Device::ios_expo(case.case)).await;
        bad_receipt(&stack, &phone, case.case).await;
        sent_to.push((sent(&stack, customer).await, phone));
    }
    for ((customer, (id, phone)), case) in (1..).zip(&sent_to).zip(CASES) {
        let (said, view) = receipt(&stack, id).await;
        let name = case.case;
        assert_eq!(said, case.said, "{name}");
        let row = stack.settled(id).await;
        assert_eq!(
            (row.status.as_str(), row.reason.as_str()),
            (case.status, case.reason),
            "{name}"
        );
        let result = if case.status == "sent" {
            "success"
        } else {
            "failed"
        };
        assert_eq!(view["expoResult"], result, "{name}");
        let delivery = &view["deliveries"][0];
        assert_eq!(delivery["outcome"], case.outcome, "{name}");
        let code = delivery["error"]["code"].as_str().unwrap_or("ok");
        assert_eq!(code, case.said, "{name}");
        assert!(steps(&view).contains(&"receipt"), "{view}");
        let letters = stack.database.dead_letters_of(id).await;
        let reasons: Vec<_> = letters
            .iter()
            .map(|letter| letter.reason.as_str())
            .collect();
        assert_eq!(reasons.concat(), case.letter, "{name}");
        assert!(letters.iter().all(|letter| letter.has_job), "{name}");
        // And the next one?
        let next = stack.send(customer).accepted().await;
        stack.settled(&next).await;
        let used = stack.sim.sends(Provider::Expo, phone.expo()).await;
        assert_eq!(used, 1 + usize::from(case.alive), "{name}");
    }
    all_receipts_are_in(&stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_an_operator_has_mended_can_be_replayed() {
    let stack = soon().start().await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act");
    // The simulated Expo shows what it takes, whatever its receipt says.
    stack.rings_twice();
    let phone = stack.register(1, Device::ios_expo("iphone")).await;
    bad_receipt(&stack, &phone, "InvalidCredentials").await;
    let id = sent(&stack, 1).await;
    let (_, failed) = receipt(&stack, &id).await;
    assert_eq!(failed["reason"], "dead_lettered");
    let letter = stack.database.dead_letters_of(&id).await.remove(0);
    let path = format!("/api/Push/admin/deadLetters/{}/replay", letter.id);
    drop(
        stack
            .api()
            .post(&path, &json!({}))
            .answer()
            .await
            .expect(202),
    );
    let view = eventually("it is sent, and has a receipt of its own", async || {
        let view = stack.notification(&id).await;
        (view["deliveries"][0]["receipt"] == "ok").then_some(view)
    })
    .await;
    assert_eq!(view["status"], "sent");
    assert_eq!(view["deliveries"][0]["outcome"], "accepted");
    assert_ne!(
        view["deliveries"][0]["providerId"], failed["deliveries"][0]["providerId"],
        "another ticket"
    );
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 2);
    assert_eq!(stack.database.number(OPEN).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_another_device_has_got_stays_sent() {
    let stack = soon().start().await;
    stack.all_ready().await;
    let gone = stack.register(1, Device::ios_expo("gone")).await;
    stack.register(1, Device::ios_expo("here")).await;
    let other = stack.register(2, Device::ios_expo("other")).await;
    stack.register(2, Device::android_fcm("android")).await;
    for phone in [&gone, &other] {
        bad_receipt(&stack, phone, "DeviceNotRegistered").await;
    }
    for (customer, expo) in [(1, "success"), (2, "failed")] {
        let id = sent(&stack, customer).await;
        all_receipts_are_in(&stack).await;
        let view = stack.notification(&id).await;
        assert_eq!(
            (&view["status"], &view["expoResult"], &view["reason"]),
            (&json!("sent"), &json!(expo), &Value::Null)
        );
        let deliveries = view["deliveries"].as_array().unwrap();
        let outcomes = deliveries
            .iter()
            .map(|row| row["outcome"].as_str().unwrap());
        let mut outcomes: Vec<_> = outcomes.collect();
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["accepted", "token_dead"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_receipt_that_is_not_there_is_asked_for_again_until_23_hours_are_over() {
    let stack = soon().env_worker("RECONCILE_AFTER", "2m").start().await;
    stack.all_ready().await;
    let late = stack.register(1, Device::ios_expo("late")).await;
    let never = stack.register(2, Device::ios_expo("never")).await;
    let absent = json!({"case": "absent"});
    stack
        .sim
        .script(Provider::Receipts, late.expo(), json!([absent, absent]))
        .await;
    stack
        .sim
        .always(Provider::Receipts, never.expo(), absent)
        .await;
    let first = sent(&stack, 1).await;
    let second = sent(&stack, 2).await;
    assert_eq!(receipt(&stack, &first).await.0, "ok");
    assert!(stack.sim.receipts_asked().await.len() >= 3);
    assert_eq!(stack.database.number(OPEN).await, 1);
    stack
        .database
        .execute("UPDATE expo_tickets SET accepted_at = NOW(3) - INTERVAL 23 HOUR")
        .await;
    let (said, view) = receipt(&stack, &second).await;
    assert_eq!(
        (said.as_str(), &view["status"]),
        ("no_receipt", &json!("sent"))
    );
    assert_eq!(view["deliveries"][0]["outcome"], "accepted");
    assert_eq!(steps(&view).last(), Some(&"receipt"));
    assert_eq!(stack.database.number(OPEN).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_that_fails_is_repeated() {
    let stack = soon().env_worker("RECONCILE_AFTER", "2m").start().await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act for receipts");
    stack.register(1, Device::ios_expo("iphone")).await;
    let answers = [
        "rate_limited",
        "unauthorized",
        "unauthorized",
        "not_json_200",
    ];
    let answers: Vec<_> = answers.map(|case| json!({ "case": case })).to_vec();
    let asked = answers.len();
    stack
        .sim
        .script_all(Provider::Receipts, json!(answers))
        .await;
    let id = sent(&stack, 1).await;
    assert_eq!(receipt(&stack, &id).await.0, "ok");
    assert!(stack.sim.receipts_asked().await.len() > asked);
    let told = stack.workers[0].log.lines();
    let told = told
        .iter()
        .filter(|line| line.contains("must act for receipts"));
    assert_eq!(told.count(), 1, "once, not each time");
    // Away altogether, for a while.
    for outage in ["503", "down"] {
        stack.sim.outage(Provider::Receipts, outage).await;
        let before = stack.sim.counts().await["receipts"]["requests"].as_u64();
        let id = sent(&stack, 1).await;
        eventually("it was asked in vain", async || {
            let asked = stack.sim.counts().await["receipts"]["requests"].as_u64();
            (asked > before).then_some(())
        })
        .await;
        assert_eq!(stack.database.number(OPEN).await, 1);
        stack.sim.outage(Provider::Receipts, "ok").await;
        assert_eq!(receipt(&stack, &id).await.0, "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_receipts_are_asked_for_in_few_requests_by_whoever_comes_next() {
    const DEVICES: usize = 25;
    const SENT: usize = 48;
    let mut stack = soon().env_worker("RECONCILE_AFTER", "2m").start().await;
    stack.all_ready().await;
    for n in 0..DEVICES {
        stack
            .register(1, Device::ios_expo(&format!("iphone {n}")))
            .await;
    }
    // Not answered: a question that hangs is no reason to stay, and is given back.
    stack.sim.outage(Provider::Receipts, "hang").await;
    for id in stack.send_many(1, SENT).await {
        assert_eq!(stack.settled(&id).await.status, "sent");
    }
    assert_eq!(stack.terminate_worker().await, Some(0));
    let open = i64::try_from(DEVICES * SENT).unwrap();
    assert_eq!(stack.database.number(OPEN).await, open);
    eventually("all wait to be fetched", async || {
        let waiting = stack.broker.depth("push.receipts.300ms").await;
        let ready = stack.broker.depth(Broker::RECEIPTS).await;
        (waiting == 0 && ready > 0).then_some(())
    })
    .await;
    let before = stack.sim.receipts_asked().await.len();
    stack.sim.outage(Provider::Receipts, "ok").await;
    stack.sim.latency(Provider::Receipts, 300).await;
    stack.start_worker().await;
    all_receipts_are_in(&stack).await;
    let asked = stack.sim.receipts_asked().await.split_off(before);
    assert_eq!(asked.iter().sum::<usize>(), DEVICES * SENT, "{asked:?}");
    assert!(
        asked.len() <= 10 && asked.iter().all(|ids| *ids <= 1_000),
        "{asked:?}"
    );
    let good = "SELECT COUNT(*) FROM notification_deliveries WHERE receipt = 'ok'";
    assert_eq!(stack.database.number(good).await, open);
    let at_once = &stack.sim.counts().await["receipts"]["maxConcurrent"];
    assert_eq!(at_once, 1, "most of the six are left for sending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_receipt_that_comes_twice_counts_once() {
    let mut stack = soon().env_worker("RECONCILE_AFTER", "2m").start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::ios_expo("iphone")).await;
    bad_receipt(&stack, &phone, "ProviderError").await;
    stack.sim.outage(Provider::Receipts, "hang").await;
    let id = sent(&stack, 1).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    eventually("it waits to be fetched", async || {
        (stack.broker.depth(Broker::RECEIPTS).await == 1).then_some(())
    })
    .await;
    stack.broker.multiply(Broker::RECEIPTS, 3).await;
    stack.sim.outage(Provider::Receipts, "ok").await;
    stack.start_worker().await;
    let noted = eventually("all copies are taken", async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        let taken = metrics.sum("push_receipts_total", "")?;
        (taken >= 4.0).then_some(metrics)
    })
    .await;
    assert_eq!(noted.sum("push_receipts_total", "stale"), Some(3.0));
    let back = noted.sum("push_notifications_taken_back_total", "sent");
    assert_eq!(back, Some(1.0));
    let view = stack.notification(&id).await;
    let steps = steps(&view);
    let count = |step: &str| steps.iter().filter(|told| **told == step).count();
    assert_eq!((count("receipt"), count("settled")), (1, 2), "{steps:?}");
    assert_eq!(stack.database.count("dead_letters").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_that_was_registered_again_since_stays_on() {
    let stack = soon().start().await;
    stack.all_ready().await;
    stack.sim.receipts_appear_after(3_600_000).await;
    let mut ids = Vec::new();
    let mut phones = Vec::new();
    for customer in [1, 2, 3] {
        let phone = stack.register(customer, Device::ios_expo("iphone")).await;
        bad_receipt(&stack, &phone, "DeviceNotRegistered").await;
        ids.push(sent(&stack, customer).await);
        phones.push(phone);
    }
    // The app of the first was started again; the second's phone changed hands.
    stack.register(1, phones[0].device.clone()).await;
    stack.register(20, phones[1].device.clone()).await;
    stack.sim.receipts_appear_after(0).await;
    for id in &ids {
        let (said, view) = receipt(&stack, id).await;
        assert_eq!(
            (said.as_str(), &view["status"]),
            ("DeviceNotRegistered", &json!("failed"))
        );
    }
    for (customer, status) in [
        (1, "sent"),
        (20, "sent"),
        (2, "suppressed"),
        (3, "suppressed"),
    ] {
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], status, "customer {customer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_token_that_a_receipt_finds_dead_is_not_used_by_a_round_that_is_under_way() {
    let stack = soon().start().await;
    stack.all_ready().await;
    stack.sim.receipts_appear_after(3_600_000).await;
    let phone = stack.register(1, Device::android_both("pixel")).await;
    bad_receipt(&stack, &phone, "DeviceNotRegistered").await;
    // FCM refuses both, the second one late.
    let refused = "too_big_android";
    let script = json!([{"case": refused}, {"case": refused, "delayMs": 8_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let first = sent(&stack, 1).await;
    let second = stack.send(1).accepted().await;
    eventually("it is with FCM", async || {
        (stack.sim.counts().await["fcm"]["inFlight"] == 1).then_some(())
    })
    .await;
    stack.sim.receipts_appear_after(0).await;
    assert_eq!(receipt(&stack, &first).await.0, "DeviceNotRegistered");
    assert_eq!(stack.settled(&second).await.status, "failed");
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_is_killed_before_it_could_queue_them_loses_no_receipts() {
    let mut stack = soon().through_links().start().await;
    stack.all_ready().await;
    stack.register(1, Device::ios_expo("iphone")).await;
    stack.sim.latency(Provider::Expo, 1_500).await;
    let id = stack.send(1).accepted().await;
    eventually("it is with Expo", async || {
        (stack.sim.counts().await["expo"]["inFlight"] == 1).then_some(())
    })
    .await;
    // Recorded, and not published.
    stack.links().worker_broker.stall();
    assert_eq!(stack.settled(&id).await.status, "sent");
    stack.kill_worker().await;
    stack.links().restore();
    stack.sim.latency(Provider::Expo, 0).await;
    assert_eq!(stack.broker.depth("push.receipts.300ms").await, 0);
    stack.start_worker().await;
    assert_eq!(receipt(&stack, &id).await.0, "ok");
    assert!(stack.workers[0].log.says("receipts that no queue knew"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_loses_its_disk_loses_no_receipts() {
    let mut rabbit = PrivateRabbit::start().await;
    let servers = Servers {
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    let builder = soon().env_worker("RECEIPT_DELAY", "1h").on(servers, false);
    let stack = builder.start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::ios_expo("iphone")).await;
    bad_receipt(&stack, &phone, "MessageTooBig").await;
    let id = sent(&stack, 1).await;
    eventually("it waits on its queue", async || {
        (stack.broker.depth("push.receipts.1h").await == 1).then_some(())
    })
    .await;
    rabbit.kill().await;
    rabbit.wipe();
    rabbit.up().await;
    stack.all_ready().await;
    // More than an hour passes.
    let passes = "UPDATE expo_tickets SET due_at = NOW(3)";
    stack.database.execute(passes).await;
    assert_eq!(receipt(&stack, &id).await.0, "MessageTooBig");
    assert_eq!(stack.settled(&id).await.status, "failed");
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backlog_is_left_alone_and_what_is_lost_is_asked_for_again() {
    let mut stack = soon().start().await;
    stack.all_ready().await;
    stack.register(1, Device::ios_expo("iphone")).await;
    stack.sim.outage(Provider::Receipts, "hang").await;
    let id = sent(&stack, 1).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let overdue = "SELECT COUNT(*) FROM expo_tickets WHERE due_at < NOW(3)";
    eventually("it is overdue, and waits to be fetched", async || {
        let ready = stack.broker.depth(Broker::RECEIPTS).await;
        (ready == 1 && stack.database.number(overdue).await == 1).then_some(())
    })
    .await;
    // A worker that reconciles, and does not fetch: it has no Expo.
    let mut settings = stack.worker_settings();
    settings.push(("PROVIDERS".to_owned(), "fcm".to_owned()));
    let mut reconciling = Program::start("push-worker", "without Expo", &settings).await;
    // Jobs come first: when the second one is found, receipts have been looked at after the first.
    for _ in 0..2 {
        stack
            .database
            .execute(
                "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, due_at, expires_at) \
                 VALUES (UNHEX(REPLACE(UUID(), '-', '')), 99, 'x', 'x', 'x', NOW(3), NOW(3) + INTERVAL 1 HOUR)",
            )
            .await;
        // Whoever inserts one counts it.
        stack
            .database
            .execute(
                "INSERT INTO notification_counter_changes (changes) VALUES (CONCAT('[{\"hour\":', \
                 UNIX_TIMESTAMP() DIV 3600, ',\"type\":\"x\",\"counts\":{\"accepted\":1}}]'))",
            )
            .await;
        stack.all_settled().await;
    }
    assert_eq!(
        stack.broker.depth(Broker::RECEIPTS).await,
        1,
        "no second one"
    );
    assert!(!reconciling.log.says("receipts that no queue knew"));
    stack.broker.delete_queue(Broker::RECEIPTS).await;
    eventually("it is asked for again", async || {
        (stack.broker.depth(Broker::RECEIPTS).await >= 1).then_some(())
    })
    .await;
    assert!(reconciling.log.says("receipts that no queue knew"));
    assert_eq!(reconciling.terminate().await, Some(0));
    stack.sim.outage(Provider::Receipts, "ok").await;
    stack.start_worker().await;
    assert_eq!(receipt(&stack, &id).await.0, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_message_about_receipts_blocks_nobody() {
    let stack = soon().start().await;
    stack.all_ready().await;
    stack.expect_errors("a message on the receipts' queue is none");
    stack.register(1, Device::ios_expo("iphone")).await;
    let newer = br#"{"v":2,"tickets":[]}"#.as_slice();
    for body in [b"\xff\x00garbage".as_slice(), newer] {
        let properties = lapin::BasicProperties::default();
        stack
            .broker
            .publish(Broker::RECEIPTS, body, properties)
            .await;
    }
    // Well formed, and of a stranger.
    let stranger = json!({"v": 1, "tickets": [{"notification": "0196f2d4-1b6e-7c3a-9a55-3f1f6f0a1b2c",
        "registration": 7, "ticket": "unheard-of", "acceptedAt": "2026-01-02T03:04:05Z"}]});
    let properties = lapin::BasicProperties::default();
    let bytes = stranger.to_string().into_bytes();
    stack
        .broker
        .publish(Broker::RECEIPTS, &bytes, properties)
        .await;
    let id = sent(&stack, 1).await;
    assert_eq!(receipt(&stack, &id).await.0, "ok");
    eventually("what cannot be read is kept", async || {
        (stack.database.count("dead_letters").await == 2).then_some(())
    })
    .await;
    eventually("nothing is left", async || {
        (stack.broker.depth(Broker::RECEIPTS).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_row_that_cannot_be_read_holds_up_no_other_receipt() {
    let stack = soon().env_worker("RECEIPT_DELAY", "1h").start().await;
    stack.all_ready().await;
    stack.expect_errors("a receipt cannot be recorded");
    stack.register(1, Device::ios_expo("one")).await;
    stack.register(2, Device::ios_expo("two")).await;
    let bad = sent(&stack, 1).await;
    let good = sent(&stack, 2).await;
    // An outcome that there is not.
    let outcome = async |outcome: &str| {
        let row = format!(
            "UPDATE notification_deliveries SET outcome = '{outcome}' WHERE customer_id = 1"
        );
        stack.database.execute("SET SESSION sql_mode = ''").await;
        stack.database.execute(&row).await;
    };
    outcome("odd").await;
    // More than an hour passes: both are asked for together.
    let passes = "UPDATE expo_tickets SET due_at = NOW(3)";
    stack.database.execute(passes).await;
    assert_eq!(receipt(&stack, &good).await.0, "ok");
    eventually("it is told", async || {
        let told = stack.workers[0].log.says("a receipt cannot be recorded");
        told.then_some(())
    })
    .await;
    assert_eq!(stack.database.number(OPEN).await, 1, "and not given up");
    outcome("accepted").await;
    stack.database.execute(passes).await;
    assert_eq!(receipt(&stack, &bad).await.0, "ok");
}
