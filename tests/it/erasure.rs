//! `DELETE customers/{id}`: nothing of a customer who is erased is sent any more, wherever it waits, and nothing is left of
//! what it said; the figures stay.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use push_tests::{Answer, Broker, Database, Device, Key, Phone, Provider, Send, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};

async fn erase(stack: &Stack, customer: &str) -> Answer {
    let path = format!("/api/Push/customers/{customer}");
    stack.api().call(Method::DELETE, &path).answer().await
}

async fn operation(stack: &Stack, id: &Value) -> Value {
    let path = format!("/api/Push/admin/operations/{}", id.as_str().unwrap());
    let answer = stack.api().get(&path).answer().await;
    answer.expect(200).json
}

async fn is_done(stack: &Stack, id: &Value) -> Value {
    eventually("all is emptied", async || {
        let operation = operation(stack, id).await;
        (operation["state"] == "done").then_some(operation)
    })
    .await
}

async fn lever(stack: &Stack, what: &str) {
    let path = format!("/api/Push/admin/providers/fcm/{what}");
    let call = stack.api().post(&path, &json!({}));
    assert_eq!(call.answer().await.status, 200);
}

async fn hour(database: &Database) -> String {
    let time = "SELECT DATE_FORMAT(UTC_TIMESTAMP() + INTERVAL 1 HOUR, '%Y-%m-%dT%H:%i:%sZ')";
    database.texts(time).await.remove(0)
}

/// Waits until the timeline tells of a step.
async fn told(stack: &Stack, id: &str, step: &str) {
    eventually(&format!("it tells of {step}"), async || {
        let view = stack.notification(id).await;
        let timeline = view["timeline"].as_array().unwrap().clone();
        let of = |entry: &Value| entry["step"] == step;
        timeline.iter().any(of).then_some(())
    })
    .await;
}

/// Quiet hours that have begun, and do not end before this test does.
async fn quiet(stack: &Stack, customer: i64) {
    let clock = |hours: i64| {
        format!("SELECT DATE_FORMAT(UTC_TIMESTAMP() + INTERVAL {hours} HOUR, '%H:%i')")
    };
    let start = stack.database.texts(&clock(-2)).await.remove(0);
    let end = stack.database.texts(&clock(2)).await.remove(0);
    let wants = json!({"pushEnabled": true, "types": {"offer": false}, "locale": "de-AT",
                       "quietHours": {"start": start, "end": end, "timeZone": "UTC"}});
    let path = format!("/api/Push/preferences/{customer}");
    let call = stack.api().call(Method::PUT, &path).json(&wants);
    assert_eq!(call.answer().await.status, 200);
}

/// What only this customer's notifications say.
const TITLE: &str = "Yttrium";
const BODY: &str = "Praseodymium for you";
const DATA: &str = "Dysprosium";
const PICTURE: &str = "https://pictures.example/Gadolinium.png";
const BOOKING: &str = "Holmium-77";

fn send(stack: &Stack, customer: i64) -> Send {
    stack
        .send(customer)
        .with("title", TITLE)
        .with("body", BODY)
        .with("data", json!({"what": DATA}))
        .with("imageUrl", PICTURE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wherever_it_waits_nothing_is_sent_and_nothing_is_left() {
    let mut stack = Stack::with()
        .env_worker("RETRY_DELAYS", "500ms,1s,2s,4s,8s,16s")
        .start()
        .await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let pad = stack.register(1, Device::ios_expo("tablet")).await;
    let others = stack.register(2, Device::android_fcm("other")).await;
    // Sent: one device got it, and the other one's is a dead letter.
    let mismatch = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), mismatch).await;
    let keyed = |stack: &Stack| send(stack, 1).header("idempotency-key", "k-1");
    let sent = keyed(&stack).accepted().await;
    assert_eq!(stack.settled(&sent).await.status, "sent");
    let letter = stack.database.dead_letters_of(&sent).await[0].id;
    let gone = json!({"userType": "customer", "id": 1, "deviceId": "tablet"});
    let unregister = stack.api().post("/api/Push/unregister", &gone);
    assert_eq!(unregister.answer().await.status, 200);
    let event = json!({"event": "status_changed", "customerId": 1, "bookingId": BOOKING, "trackId": DATA,
                       "technician": {"name": BODY}, "newStatus": "Reached"});
    let happened = stack.api().post("/api/Push/events", &event);
    let booked = happened.answer().await.expect(202).id();
    assert_eq!(stack.settled(&booked).await.status, "sent");
    // No jobs: one is recorded before, the other one comes up after; one names a notification, the other one nobody knows.
    stack.expect_errors("dead-lettered");
    let poison = [
        json!({"v": 9, "notificationId": sent, "title": TITLE}),
        json!({"v": 9, "customerId": 1, "notificationId": uuid::Uuid::nil(), "title": TITLE}),
    ]
    .map(|poison| poison.to_string().into_bytes());
    let strange = async |stack: &Stack, body: &[u8]| {
        let properties = BasicProperties::default();
        stack.broker.publish(Broker::JOBS, body, properties).await;
    };
    strange(&stack, &poison[0]).await;
    eventually("it has a row", async || {
        let letters = stack.database.dead_letters().await;
        let mut reasons = letters.iter().map(|letter| letter.reason.as_str());
        reasons.any(|reason| reason == "poison").then_some(())
    })
    .await;
    // Waiting: for its time, for the end of quiet hours, for its next try, for a provider, in the queue.
    let mut waiting = Vec::new();
    waiting.push(
        send(&stack, 1)
            .with("sendAt", hour(&stack.database).await)
            .with("collapseKey", BOOKING)
            .accepted()
            .await,
    );
    quiet(&stack, 1).await;
    let late = send(&stack, 1)
        .with("priority", "normal")
        .with("ttlSeconds", 200_000)
        .accepted()
        .await;
    told(&stack, &late, "quiet_hours").await;
    waiting.push(late);
    let busy = json!({"case": "unavailable"});
    stack.sim.always(Provider::Fcm, phone.fcm(), busy).await;
    let tried = send(&stack, 1)
        .with("collapseKey", "Erbium")
        .accepted()
        .await;
    told(&stack, &tried, "retry").await;
    lever(&stack, "pause").await;
    let held = send(&stack, 1).accepted().await;
    told(&stack, &held, "postponed").await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    strange(&stack, &poison[1]).await;
    waiting.extend([tried, held]);
    for _ in 0..3 {
        waiting.push(send(&stack, 1).accepted().await);
    }
    let of_another = stack.send(2).accepted().await;
    let sends = stack.sim.sends(Provider::Fcm, phone.fcm()).await;

    let answer = erase(&stack, "1").await.expect(202);
    let id = &answer.json["operationId"];
    assert_eq!(
        (&answer.json["state"], &answer.json["total"]),
        (&json!("running"), &json!(9))
    );
    assert_eq!(stack.database.count("customer_push_tokens").await, 1);
    assert_eq!(stack.database.count("notification_preferences").await, 0);
    let replay = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let refused = stack.api().post(&replay, &json!({}));
    let refused = refused.answer().await.expect(409);
    assert_eq!(refused.error_code(), "not_replayable");
    assert!(refused.json["message"].as_str().unwrap().contains("erased"));

    lever(&stack, "resume").await;
    stack.start_worker().await;
    let done = is_done(&stack, id).await;
    assert_eq!(
        (&done["done"], &done["failed"], &done["kind"]),
        (&json!(9), &json!(0), &json!("erase_customer"))
    );
    assert_eq!(done["createdBy"], "all");
    stack.all_settled().await;
    eventually("no copy is left", async || {
        (stack.broker.jobs().await == 0).then_some(())
    })
    .await;
    // The customer's data, and nobody else's.
    assert_eq!(stack.settled(&of_another).await.status, "sent");
    assert_eq!(stack.sim.rings(&others, &of_another).await, 1);
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, sends);
    for id in &waiting {
        let row = stack.settled(id).await;
        assert_eq!(
            (row.status.as_str(), row.reason.as_str()),
            ("suppressed", "erased")
        );
        for phone in [&phone, &pad] {
            assert_eq!(stack.sim.rings(phone, id).await, 0);
        }
    }
    for id in [&sent, &booked] {
        let view = stack.notification(id).await;
        assert_eq!(
            (&view["title"], &view["body"], &view["data"]),
            (&json!(""), &json!(""), &json!({}))
        );
        assert_eq!(view["timeline"][0]["step"], "erased");
        assert_eq!(view["status"], "sent", "as it was");
    }
    let again = keyed(&stack).answer().await.expect(202);
    assert_eq!(again.id(), sent, "its answer has no content");
    eventually("both are recorded", async || {
        let letters = stack.database.dead_letters().await;
        let poison = letters.iter().filter(|letter| letter.reason == "poison");
        (poison.count() == 2).then_some(())
    })
    .await;
    let poison = poison.map(|poison| STANDARD.encode(poison));
    nothing_is_left(&stack, &[&phone, &pad], &poison).await;
}

/// In no table, and in no queue.
async fn nothing_is_left(stack: &Stack, phones: &[&Phone], poison: &[String]) {
    let everything = stack.database.dump().await + &stack.broker.take_all().await;
    assert!(everything.contains("notification_history: "));
    assert!(everything.contains("customer_push_tokens: "), "another's");
    let mut secrets = vec![
        TITLE,
        "Praseodymium",
        DATA,
        "Gadolinium",
        BOOKING,
        "Erbium",
        "de-AT",
        "Reached",
        "pixel",
        "tablet",
    ];
    secrets.extend(poison.iter().map(String::as_str));
    for phone in phones {
        for token in [&phone.device.fcm, &phone.device.expo]
            .into_iter()
            .flatten()
        {
            secrets.push(token);
        }
    }
    for secret in secrets {
        let found = everything.lines().filter(|line| line.contains(secret));
        let found: Vec<_> = found.collect();
        assert!(found.is_empty(), "{secret}: {found:#?}");
    }
    // No masked token and no provider's id, but for the other customer.
    let traces = |line: &&str| line.contains('…') || line.contains("projects/");
    let traces: Vec<_> = everything.lines().filter(traces).collect();
    assert!(!traces.is_empty());
    assert!(
        traces.iter().all(|line| line.contains("|2|")),
        "{traces:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_dies_it_goes_on_and_it_cannot_be_stopped() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.know_customer(1).await;
    let many: Vec<_> = (0..600)
        .map(|_| json!({"id": 1, "title": TITLE, "body": BODY}))
        .collect();
    let batch = json!({"notifications": many});
    let batch = stack.api().post("/api/Push/sendBatch", &batch);
    assert_eq!(batch.answer().await.status, 202);
    stack.all_settled().await;
    let scheduled = send(&stack, 1).with("sendAt", hour(&stack.database).await);
    scheduled.accepted().await;
    // Some worker has it in hand, so that the operation cannot end.
    stack
        .database
        .execute(
            "UPDATE notification_history SET claimed_by = UNHEX(REPEAT('0', 32)), \
             claimed_until = NOW() + INTERVAL 1 HOUR WHERE status = 'pending'",
        )
        .await;
    let answer = erase(&stack, "1").await.expect(202);
    let id = &answer.json["operationId"];
    let path = format!("/api/Push/admin/operations/{}/cancel", id.as_str().unwrap());
    let refused = stack.api().post(&path, &json!({}));
    let refused = refused.answer().await.expect(409);
    assert_eq!(refused.error_code(), "not_cancellable");
    eventually("the others are emptied", async || {
        (operation(&stack, id).await["done"] == 600).then_some(())
    })
    .await;
    stack.kill_worker().await;
    assert_eq!(operation(&stack, id).await["state"], "running");
    let over = "UPDATE notification_history SET claimed_until = NULL WHERE status = 'pending'";
    stack.database.execute(over).await;
    stack.start_worker().await;
    let done = is_done(&stack, id).await;
    assert_eq!((&done["total"], &done["done"]), (&json!(601), &json!(601)));
    stack.all_settled().await;
    assert!(!stack.database.dump().await.contains(TITLE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_registers_again_begins_anew() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let before = send(&stack, 1).wait(20).answer().await.expect(200).id();
    assert_eq!(stack.sim.rings(&phone, &before).await, 1);
    let answer = erase(&stack, "1").await;
    assert!([200, 202].contains(&answer.status));
    let done = is_done(&stack, &answer.json["operationId"]).await;
    assert_eq!((&done["total"], &done["done"]), (&json!(1), &json!(1)));
    let none = send(&stack, 1).accepted().await;
    assert_eq!(stack.settled(&none).await.reason, "no_active_device");
    let phone = stack.register(1, phone.device).await;
    let after = send(&stack, 1).wait(20).answer().await.expect(200);
    assert_eq!(after.json["status"], "sent");
    assert_eq!(stack.sim.rings(&phone, &after.id()).await, 1);
    assert_eq!(stack.notification(&after.id()).await["title"], TITLE);
    // Once more, and of nobody.
    let answer = erase(&stack, "1").await;
    is_done(&stack, &answer.json["operationId"]).await;
    assert_eq!(erase(&stack, "1").await.json["total"], 0);
    stack.database.execute("DELETE FROM customers").await;
    assert!([200, 202].contains(&erase(&stack, "1").await.status));
    for nobody in ["77", "0", "x"] {
        let answer = erase(&stack, nobody).await.expect(404);
        assert_eq!(answer.error_code(), "unknown_customer");
    }
    let path = "/api/push/customers/1";
    for key in [Key::Read, Key::Send, Key::Register] {
        let call = stack.api().call(Method::DELETE, path).key(key);
        assert_eq!(call.answer().await.status, 403);
    }
}

/// A notification and bytes that nobody can open, and a table that is gone: the erasures behind them and retention go on all
/// the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_nothing_can_be_done_with_holds_up_no_other_and_no_retention() {
    let mut stack = Stack::with()
        .env_worker("RETENTION_DAYS", "7")
        .start()
        .await;
    stack.all_ready().await;
    for error in [
        "operations cannot go on",
        "what is over cannot be deleted",
        "dead-lettered",
        "the bytes of a dead letter cannot be published again",
    ] {
        stack.expect_errors(error);
    }
    stack.register(3, Device::android_fcm("pixel")).await;
    let old = stack.send(3).wait(20).answer().await.expect(200).id();
    let time = hour(&stack.database).await;
    let mut scheduled = Vec::new();
    for customer in [1, 1, 2] {
        stack.know_customer(customer).await;
        let send = send(&stack, customer).with("sendAt", time.as_str());
        scheduled.push(send.accepted().await);
    }
    let properties = BasicProperties::default();
    let jobs = Broker::JOBS;
    stack.broker.publish(jobs, b"no job", properties).await;
    eventually("it has a row", async || {
        let letters = stack.database.dead_letters().await;
        (letters.len() == 1).then_some(())
    })
    .await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let due =
        "UPDATE dead_letters SET bytes_due_at = NOW() - INTERVAL 1 MINUTE, raw = '$1$lost$AAAA'";
    stack.database.execute(due).await;
    let gone = "RENAME TABLE idempotency_keys TO elsewhere";
    stack.database.execute(gone).await;
    let first = "WHERE customer_id = 1 ORDER BY id LIMIT 1";
    let database = &stack.database;
    let lost = format!("UPDATE notification_history SET next_job = '$1$lost$AAAA' {first}");
    database.execute(&lost).await;
    database
        .execute(
            "UPDATE notification_history SET created_at = created_at - INTERVAL 8 DAY WHERE customer_id = 3",
        )
        .await;
    let first_erased = erase(&stack, "1").await.expect(202);
    let second = erase(&stack, "2").await.expect(202);
    let due = "UPDATE customer_erasures SET look_again_at = NOW()";
    stack.database.execute(due).await;
    stack.start_worker().await;
    is_done(&stack, &second.json["operationId"]).await;
    let id = &first_erased.json["operationId"];
    is_done(&stack, id).await;
    for erased in &scheduled {
        assert_eq!(stack.settled(erased).await.reason, "erased");
    }
    eventually("what is old is emptied", async || {
        (stack.notification(&old).await["title"] == "").then_some(())
    })
    .await;
    let back = "RENAME TABLE elsewhere TO idempotency_keys";
    stack.database.execute(back).await;
}
