//! Many dead letters at a time: by filter, at a pace, and exactly on from where it stood, whatever is killed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use lapin::BasicProperties;
use push_tests::{Answer, Broker, Device, Phone, Provider, Stack, eventually};
use serde_json::{Value, json};

/// So many notifications to one phone, all given up for a reason that an operator has mended since.
async fn given_up(stack: &Stack, customer: i64, count: usize) -> (Phone, Vec<String>) {
    stack.expect_errors("an operator must act");
    let name = format!("phone-{customer}");
    let phone = stack.register(customer, Device::android_fcm(&name)).await;
    let refuse = json!({"case": "sender_id_mismatch"});
    stack.sim.always(Provider::Fcm, phone.fcm(), refuse).await;
    let ids = stack.send_many(customer, count).await;
    stack.all_settled().await;
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), json!([]))
        .await;
    (phone, ids)
}

async fn post(stack: &Stack, path: &str, body: &Value) -> Answer {
    let path = format!("/api/Push/admin/{path}");
    stack.api().post(&path, body).answer().await
}

async fn get(stack: &Stack, path: &str) -> Value {
    let path = format!("/api/Push/admin/{path}");
    stack.api().get(&path).answer().await.expect(200).json
}

async fn start(stack: &Stack, body: &Value) -> String {
    let answer = post(stack, "deadLetters/replay", body).await.expect(202);
    answer.json["operationId"].as_str().unwrap().to_owned()
}

async fn operation(stack: &Stack, id: &str) -> Value {
    get(stack, &format!("operations/{id}")).await
}

async fn ended(stack: &Stack, id: &str) -> Value {
    eventually("the operation has ended", async || {
        let told = operation(stack, id).await;
        (told["state"] != "running").then_some(told)
    })
    .await
}

/// Waits until so many letters were handled.
async fn under_way(stack: &Stack, id: &str, done: u64) {
    eventually("the operation is under way", async || {
        let told = operation(stack, id).await;
        assert_eq!(told["state"], "running", "{told}");
        (told["done"].as_u64().unwrap() >= done).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_are_counted_listed_replayed_and_discarded_by_filter() {
    let stack = Stack::start().await;
    let (phone, ids) = given_up(&stack, 1, 30).await;
    let (other, _) = given_up(&stack, 2, 5).await;
    let all = get(&stack, "deadLetters?limit=200").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 35);
    assert_eq!(all["nextCursor"], Value::Null);
    // Page by page, the newest first.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&stack, &format!("deadLetters?customerId=1&reason=operator_must_act&provider=fcm&replayed=false&limit=7{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_u64().unwrap()));
        assert!(
            items
                .iter()
                .all(|item| item["customerId"] == 1 && item["state"] == "open")
        );
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 30);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    for (query, field) in [
        ("limit=201", "limit"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("reason=x", "reason"),
        ("replayed=1", "replayed"),
    ] {
        let path = format!("/api/Push/admin/deadLetters?{query}");
        let answer = stack.api().get(&path).answer().await.expect(400);
        assert_eq!(answer.wrong_fields(), [field]);
    }

    let filter = json!({"customerId": 1, "reason": "operator_must_act"});
    let dry = post(
        &stack,
        "deadLetters/replay",
        &json!({"filter": filter, "dryRun": true}),
    )
    .await;
    assert_eq!(dry.expect(200).json["count"], 30);
    for wrong in [
        json!({"perSecond": 5}),
        json!({"filter": {"customerId": "x"}}),
        json!({"filter": {"replayed": true}}),
        json!({"filter": {}, "perSecond": 1001}),
    ] {
        let answer = post(&stack, "deadLetters/replay", &wrong).await.expect(400);
        assert_eq!(answer.wrong_fields().len(), 1, "{wrong}");
    }
    let id = start(&stack, &json!({"filter": filter, "perSecond": 200})).await;
    let told = ended(&stack, &id).await;
    assert_eq!(
        (
            &told["state"],
            &told["total"],
            &told["done"],
            &told["failed"]
        ),
        (&json!("done"), &json!(30), &json!(30), &json!(0)),
        "{told}"
    );
    assert_eq!(
        (&told["createdBy"], &told["kind"]),
        (&json!("all"), &json!("replay_dead_letters"))
    );
    assert_eq!(told["filter"]["customerId"], 1);
    stack.all_settled().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    let detail = get(&stack, &format!("deadLetters/{}", seen[0])).await;
    assert_eq!(
        (&detail["state"], &detail["replayedBy"]),
        (&json!("replayed"), &json!("all"))
    );
    assert_eq!(detail["trail"].as_array().unwrap().len(), 1);
    assert_eq!(detail["notification"]["status"], "sent", "what came of it");
    assert_eq!(detail["target"]["outcome"], "accepted");
    assert_eq!(detail["newerDeadLetterId"], Value::Null);

    let without = post(&stack, "deadLetters/discard", &json!({"filter": {}}))
        .await
        .expect(400);
    assert_eq!(without.wrong_fields(), ["reason"]);
    let body = json!({"filter": {"provider": "fcm"}, "reason": "an old app"});
    let started = post(&stack, "deadLetters/discard", &body).await.expect(202);
    let id = started.json["operationId"].as_str().unwrap().to_owned();
    let told = ended(&stack, &id).await;
    assert_eq!(
        (&told["total"], &told["done"], &told["reason"]),
        (&json!(5), &json!(5), &json!("an old app"))
    );
    let discarded = get(&stack, "deadLetters?state=discarded").await;
    assert_eq!(discarded["items"].as_array().unwrap().len(), 5);
    assert_eq!(discarded["items"][0]["discardReason"], "an old app");
    assert_eq!(stack.sim.displays(&other).await, json!({}));
    let counted = eventually("the metrics tell of it", async || {
        let metrics = stack.metrics_of(&stack.apis[0]).await;
        let count = |state: &str| metrics.sum("push_dead_letters", &format!("state=\"{state}\""));
        let operations = metrics.sum("push_operations_running", "");
        let told = (
            count("open")?,
            count("replayed")?,
            count("discarded")?,
            operations?,
        );
        (told.2 == 5.0).then_some(told)
    })
    .await;
    assert_eq!(counted, (0.0, 30.0, 5.0, 0.0));
    let worker = stack.metrics_of(&stack.workers[0]).await;
    let handled = worker.sum("push_operation_letters_total", "result=\"done\"");
    assert_eq!(handled, Some(35.0));
    let listed = get(&stack, "operations?limit=1").await;
    assert_eq!(listed["items"][0]["operationId"], id.as_str());
    let cursor = listed["nextCursor"].as_str().unwrap();
    let listed = get(&stack, &format!("operations?cursor={cursor}")).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let path = format!("/api/Push/admin/operations/{id}/cancel");
    let late = stack
        .api()
        .post(&path, &json!({}))
        .answer()
        .await
        .expect(409);
    assert_eq!(late.error_code(), "operation_ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bulk_replay_goes_on_where_it_stood_when_every_program_was_killed() {
    const LETTERS: usize = 120;
    let mut stack = Stack::with()
        .workers(2)
        .env_api("RECONCILE_AFTER", "2s")
        .env_worker("RECONCILE_AFTER", "2s")
        .start()
        .await;
    stack.all_ready().await;
    // Killed between the provider's answer and the record of it: known to be maybe delivered.
    stack.rings_twice();
    stack.copies_under_way();
    let (phone, ids) = given_up(&stack, 1, LETTERS).await;
    let id = start(&stack, &json!({"filter": {}, "perSecond": 40})).await;
    for done in [20, 60] {
        under_way(&stack, &id, done).await;
        stack.kill_worker().await;
        stack.kill_worker().await;
        stack.kill_api().await;
        // As if the claims of whoever was killed had been over for a while.
        let over = "UPDATE notification_history SET claimed_until = NOW(3) WHERE claimed_until IS NOT NULL";
        stack.database.execute(over).await;
        stack.start_api().await;
        stack.start_worker().await;
        stack.start_worker().await;
        stack.all_ready().await;
    }
    let told = ended(&stack, &id).await;
    let count = json!(LETTERS);
    assert_eq!(
        (
            &told["state"],
            &told["total"],
            &told["done"],
            &told["failed"]
        ),
        (&json!("done"), &count, &count, &json!(0)),
        "{told}"
    );
    stack.all_settled().await;
    for id in &ids {
        let rings = stack.sim.rings(&phone, id).await;
        if rings != 1 {
            let view = stack.notification(id).await;
            assert_eq!(
                (rings, &view["deliveries"][0]["maybeDelivered"]),
                (2, &json!(true)),
                "{view}"
            );
        }
    }
    let replayed = "SELECT COUNT(*) FROM dead_letters WHERE state = 'replayed'";
    assert_eq!(stack.database.number(replayed).await, 120);
    assert_eq!(
        stack.database.count("dead_letters").await,
        120,
        "none was given up again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bulk_replays_and_single_ones_of_the_same_letters_send_once() {
    const LETTERS: usize = 60;
    let stack = Stack::with().apis(2).workers(2).start().await;
    stack.all_ready().await;
    let (phone, ids) = given_up(&stack, 1, LETTERS).await;
    let letters = stack
        .database
        .texts("SELECT CAST(id AS CHAR) FROM dead_letters ORDER BY id DESC")
        .await;
    let bulk = json!({"filter": {}, "perSecond": 100});
    let (first, second, singles) = tokio::join!(
        start(&stack, &bulk),
        start(&stack, &bulk),
        join_all(letters.iter().zip(0..).map(async |(letter, who)| {
            let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
            let answer = stack.api_at(who % 2).post(&path, &json!({})).answer().await;
            assert!([202, 409].contains(&answer.status), "{}", answer.text);
            u64::from(answer.status == 202)
        }))
    );
    let (first, second) = (ended(&stack, &first).await, ended(&stack, &second).await);
    let handled = [&first, &second].map(|told| told["done"].as_u64().unwrap());
    let by_hand: u64 = singles.iter().sum();
    assert_eq!(
        handled[0] + handled[1] + by_hand,
        LETTERS as u64,
        "{first} {second}"
    );
    for told in [&first, &second] {
        let (done, failed) = (
            told["done"].as_u64().unwrap(),
            told["failed"].as_u64().unwrap(),
        );
        assert_eq!(done + failed, told["total"].as_u64().unwrap(), "{told}");
    }
    stack.all_settled().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cancelled_bulk_replay_leaves_the_rest_as_it_was() {
    let stack = Stack::start().await;
    let (phone, ids) = given_up(&stack, 1, 40).await;
    let id = start(&stack, &json!({"filter": {}, "perSecond": 4})).await;
    under_way(&stack, &id, 2).await;
    let path = format!("operations/{id}/cancel");
    let told = post(&stack, &path, &json!({})).await.expect(200).json;
    assert_eq!(told["state"], "cancelled");
    let done = told["done"].as_u64().unwrap();
    assert!((2..40).contains(&done), "{told}");
    assert!(told["finishedAt"].is_string());
    // Whoever works on operations works on this one, and not on that one any more.
    let filter = json!({"from": "2099-01-01T00:00:00Z"});
    let nothing = start(&stack, &json!({"filter": filter})).await;
    assert_eq!(ended(&stack, &nothing).await["total"], 0);
    assert_eq!(operation(&stack, &id).await["done"], done);
    let open = "SELECT COUNT(*) FROM dead_letters WHERE state = 'open'";
    assert_eq!(
        stack.database.number(open).await,
        40 - i64::try_from(done).unwrap()
    );
    stack.all_settled().await;
    let rung: u64 = join_all(ids.iter().map(|id| stack.sim.rings(&phone, id)))
        .await
        .iter()
        .sum();
    assert_eq!(rung, done);
    let nobody = post(&stack, "operations/no-uuid/cancel", &json!({}))
        .await
        .expect(404);
    assert_eq!(nobody.error_code(), "unknown_operation");
}

/// A job of a newer program, which this worker can read once it was upgraded; and what nobody will ever read.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_that_were_no_job_are_published_again_as_they_were() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.expect_errors("dead-lettered");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let id = stack.send(1).accepted().await;
    let (body, _) = eventually("its job is there", async || {
        stack.broker.take(Broker::JOBS).await
    })
    .await;
    let mut newer: Value = serde_json::from_slice(&body).unwrap();
    newer["v"] = 99.into();
    for bytes in [newer.to_string().as_bytes(), b"garbage"] {
        stack
            .broker
            .publish(Broker::JOBS, bytes, BasicProperties::default())
            .await;
    }
    stack.start_worker().await;
    eventually("both are kept", async || {
        (stack.database.count("dead_letters").await == 2).then_some(())
    })
    .await;
    let listed = get(&stack, "deadLetters?reason=poison&state=open").await;
    let letters: Vec<u64> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_u64().unwrap())
        .collect();
    let (mut job, mut garbage) = (0, 0);
    for letter in letters {
        let detail = get(&stack, &format!("deadLetters/{letter}")).await;
        assert_eq!(detail["bytes"]["complete"], true);
        let kept = STANDARD
            .decode(detail["bytes"]["base64"].as_str().unwrap())
            .unwrap();
        assert_eq!(detail["bytes"]["length"], kept.len());
        if kept == b"garbage" {
            assert!(
                detail["error"]["text"]
                    .as_str()
                    .unwrap()
                    .contains("not a JSON object")
            );
            garbage = letter;
        } else {
            assert!(
                detail["error"]["text"]
                    .as_str()
                    .unwrap()
                    .contains("version 99")
            );
            job = letter;
        }
    }
    // The upgrade: the same bytes are now a version that the worker reads.
    let base64 = STANDARD.encode(&body);
    let upgrade = format!(
        "UPDATE dead_letters SET raw = '{base64}', raw_bytes = {} WHERE id = {job}",
        body.len()
    );
    stack.database.execute(&upgrade).await;
    let answer = post(&stack, &format!("deadLetters/{job}/replay"), &json!({})).await;
    assert_eq!(answer.expect(202).json["success"], true);
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    // What is still no job comes back, as another letter: the operation is not about that one.
    let all = start(
        &stack,
        &json!({"filter": {"reason": "poison"}, "perSecond": 1}),
    )
    .await;
    let told = ended(&stack, &all).await;
    assert_eq!((&told["done"], &told["failed"]), (&json!(1), &json!(0)));
    eventually("it has come back", async || {
        (stack.database.count("dead_letters").await == 3).then_some(())
    })
    .await;
    let first = get(&stack, &format!("deadLetters/{garbage}")).await;
    assert_eq!(first["state"], "replayed");
    let open = get(&stack, "deadLetters?reason=poison&state=open").await;
    let open = open["items"].as_array().unwrap();
    assert_eq!(open.len(), 1);
    assert!(open[0]["id"].as_u64() > Some(garbage));
    let told = operation(&stack, &all).await;
    assert_eq!(
        (&told["state"], &told["total"]),
        (&json!("done"), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_cannot_publish_leaves_bulk_replays_to_another() {
    // What is lost on its way to the broker when the link breaks is the reconciler's.
    let mut stack = Stack::with()
        .through_links()
        .env_api("RECONCILE_AFTER", "2s")
        .env_worker("RECONCILE_AFTER", "2s")
        .start()
        .await;
    stack.all_ready().await;
    let (phone, ids) = given_up(&stack, 1, 40).await;
    let id = start(&stack, &json!({"filter": {}, "perSecond": 5})).await;
    under_way(&stack, &id, 5).await;
    let past_links = stack.broker.url_through(None);
    stack.start_worker_but(&[("AMQP_URL", past_links)]).await;
    stack.ready(&stack.workers[1]).await;
    stack.links().worker_broker.cut();
    // The first worker lives, and has its database: it gives up what it cannot do.
    let told = ended(&stack, &id).await;
    assert_eq!(
        (&told["state"], &told["done"]),
        (&json!("done"), &json!(40))
    );
    stack.links().restore();
    stack.all_settled().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}
