//! `sendBatch`: many notifications in one request, each with its own result, and one key for all of them.

use std::collections::BTreeSet;

use push_tests::{Answer, Api, Call, Device, Hold, Key, Moment, Stack, eventually};
use serde_json::{Value, json};

const PATH: &str = "/api/Push/sendBatch";
const KEY: &str = "idempotency-key";

fn batch(api: &Api, body: &Value) -> Call {
    api.post(PATH, body)
}

/// A notification for a customer, as an element of a batch.
fn element(stack: &Stack, customer: i64) -> Value {
    stack.send(customer).body().clone()
}

fn elements(stack: &Stack, customers: impl Iterator<Item = i64>) -> Value {
    let elements: Vec<Value> = customers.map(|customer| element(stack, customer)).collect();
    json!({ "notifications": elements })
}

/// The ids in the order of the results; empty where there is none.
fn ids(answer: &Answer) -> Vec<String> {
    let results = answer.json["results"].as_array().expect("results");
    let id = |result: &Value| {
        result["notificationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    results.iter().map(id).collect()
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn good_elements_are_sent_and_bad_ones_are_told_in_order() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phones = [
        stack.register(1, Device::android_fcm("pixel")).await,
        stack.register(2, Device::ios_expo("iphone")).await,
    ];
    let mut body = elements(&stack, [1, 77, 2, 1].into_iter());
    body["notifications"][3]["title"] = json!("");
    body["notifications"][3]["ttlSeconds"] = json!(-1);
    let answer = batch(&stack.api(), &body)
        .key(Key::Send)
        .answer()
        .await
        .expect(202);
    assert_eq!(answer.json["success"], true);
    let results = &answer.json["results"];
    assert_eq!(
        results[1],
        json!({"success": false, "code": "unknown_customer"})
    );
    let wrong: Vec<_> = results[3]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["field"])
        .collect();
    assert_eq!(
        (&results[3]["code"], wrong),
        (
            &json!("invalid_input"),
            vec![&json!("title"), &json!("ttlSeconds")]
        )
    );
    let ids = ids(&answer);
    for (phone, id) in [(&phones[0], &ids[0]), (&phones[1], &ids[2])] {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(phone, id).await, 1);
    }
    assert_eq!(stack.database.count("notification_history").await, 2);
    // Where all are bad the request was carried out all the same.
    let all_bad = json!({"notifications": [{}, 5]});
    let answer = batch(&stack.api(), &all_bad).answer().await.expect(202);
    assert_eq!(answer.json["results"][1]["success"], false);
    assert_eq!(
        batch(&stack.api(), &all_bad)
            .key(Key::Read)
            .answer()
            .await
            .status,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_listed_several_times_gets_it_once() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let one = stack.register(1, Device::android_fcm("pixel")).await;
    let two = stack.register(2, Device::android_fcm("other")).await;
    let content = element(&stack, 9);
    let body = json!({
        "customerIds": [1, 2, 1, "x", 77, 1], "title": content["title"], "body": content["body"],
        "data": {"type": "offer"},
    });
    let answer = batch(&stack.api(), &body).answer().await.expect(202);
    let ids = ids(&answer);
    assert_eq!((&ids[0], &ids[0]), (&ids[2], &ids[5]));
    assert_eq!(
        answer.json["results"][3]["errors"][0]["field"],
        "customerIds.3"
    );
    assert_eq!(answer.json["results"][4]["code"], "unknown_customer");
    for (phone, id) in [(&one, &ids[0]), (&two, &ids[1])] {
        let row = stack.settled(id).await;
        assert_eq!(
            (row.status.as_str(), stack.sim.rings(phone, id).await),
            ("sent", 1)
        );
        assert_eq!(stack.notification(id).await["type"], "offer");
    }
    assert_eq!(stack.database.count("notification_history").await, 2);
}

/// Not one transaction and one confirm a notification.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thousand_are_committed_at_once_and_published_in_order() {
    let stack = Stack::with().workers(0).start().await;
    stack.all_ready().await;
    stack.leaves_pending();
    stack.know_customer(1).await;
    stack.know_customer(2).await;
    let body = elements(&stack, (0..1_000).map(|n| 1 + n % 2));
    let answer = batch(&stack.api(), &body).answer().await.expect(202);
    let ids = ids(&answer);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 1_000);
    let metrics = stack.metrics_of(&stack.apis[0]).await;
    let counted = |name| metrics.sum(name, "").unwrap();
    let accepted = counted("push_notifications_accepted_total");
    assert!((accepted - 1_000.0).abs() < 0.5, "{accepted}");
    let transactions = counted("push_accept_transactions_total");
    assert!((transactions - 1.0).abs() < 0.5, "{transactions}");
    for (place, id) in ids.iter().enumerate() {
        let (_, properties) = stack.broker.take("push.jobs").await.expect("a job");
        let message = properties.message_id().as_ref().map(|id| id.as_str());
        assert_eq!(message, Some(id.as_str()), "job {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_size_and_the_number_of_elements_have_limits() {
    let stack = Stack::with().workers(0).start().await;
    stack.all_ready().await;
    let api = stack.api();
    let padded = |length: usize| {
        let body = r#"{"notifications":[{}]}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let sized = |length: usize| {
        let body = padded(length);
        batch(&api, &json!({}))
            .raw("application/json", body)
            .answer()
    };
    assert_eq!(sized(2 * 1024 * 1024).await.status, 202);
    let large = sized(2 * 1024 * 1024 + 1).await;
    assert_eq!(
        (large.status, large.error_code().as_str()),
        (413, "body_too_large")
    );
    let many = json!({"customerIds": vec![1; 1_001], "title": "t"});
    let answer = batch(&api, &many).answer().await.expect(400);
    assert_eq!(answer.wrong_fields(), ["body", "customerIds"]);
    for neither in [
        json!({}),
        json!({"customerIds": [1], "notifications": [{}], "title": "t", "body": "b"}),
    ] {
        assert_eq!(
            batch(&api, &neither).answer().await.status,
            400,
            "{neither}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_identical_batches_at_once_are_one_batch_and_fifty_equal_answers() {
    let stack = Stack::with().apis(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let body = elements(&stack, [1, 77, 1, 1].into_iter());
    let asked = (0..50).map(|index| {
        let call = batch(&stack.api_at(index % 2), &body);
        call.header(KEY, "newsletter").answer()
    });
    let answers = futures::future::join_all(asked).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (202, &answers[0].text));
    }
    assert_eq!(
        answers.iter().filter(|answer| is_replay(answer)).count(),
        49
    );
    stack.all_settled().await;
    assert_eq!(stack.database.count("notification_history").await, 3);
    for id in ids(&answers[0]).iter().filter(|id| !id.is_empty()) {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    // The other customer is known meanwhile: the answer stays.
    stack.know_customer(77).await;
    let again = batch(&stack.api(), &body)
        .header(KEY, "newsletter")
        .answer()
        .await;
    assert_eq!((&again.text, is_replay(&again)), (&answers[0].text, true));
    let other = elements(&stack, [1].into_iter());
    let reused = batch(&stack.api(), &other)
        .header(KEY, "newsletter")
        .answer()
        .await;
    assert_eq!(
        (reused.status, reused.error_code().as_str()),
        (422, "idempotency_key_reused")
    );
    // Where none is accepted the key is free.
    let nobody = json!({"customerIds": [78], "title": "t", "body": "b"});
    let refused = batch(&stack.api(), &nobody)
        .header(KEY, "n")
        .answer()
        .await
        .expect(202);
    assert_eq!(refused.json["results"][0]["code"], "unknown_customer");
    stack.know_customer(78).await;
    let accepted = batch(&stack.api(), &nobody)
        .header(KEY, "n")
        .answer()
        .await
        .expect(202);
    assert!(!is_replay(&accepted));
    assert_eq!(accepted.json["results"][0]["success"], true);
    stack.all_settled().await;
}

/// As for a single one: all or nothing, and what is committed without anybody knowing is published at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_commit_whose_answer_is_lost_is_found_by_who_asks_again() {
    const INSERT: &str = "INSERT INTO notification_history";
    let mut stack = Stack::with().apis(0).start().await;
    let mut wires = stack.start_api_on_tripwires().await;
    stack.all_ready().await;
    stack.counters_restart();
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    for (moment, hold, committed) in [
        (Moment::Commit(INSERT), Hold::It, 0),
        (Moment::Commit(INSERT), Hold::ItsAnswer, 30),
    ] {
        let what = format!("{moment:?}, {hold:?}");
        let before = stack.database.count("notification_history").await;
        let body = elements(&stack, (0..30).map(|_| 1));
        let asked = || batch(&stack.api(), &body).header(KEY, &what);
        wires.set(moment, hold, 0);
        let first = tokio::spawn(asked().answer());
        wires.sprung().await;
        wires.cut();
        assert_eq!(first.await.unwrap().status, 503, "{what}");
        let stored = stack.database.count("notification_history").await - before;
        assert_eq!(stored, committed, "{what}");
        // Nobody asks again yet: those that exist are sent all the same.
        stack.all_settled().await;
        let again = eventually("the database is asked again", async || {
            let answer = asked().answer().await;
            (answer.status == 202).then_some(answer)
        })
        .await;
        assert_eq!(is_replay(&again), committed > 0, "{what}");
        stack.all_settled().await;
        for id in ids(&again) {
            assert_eq!(stack.sim.rings(&phone, &id).await, 1, "{what}");
        }
        assert_eq!(
            stack.database.count("notification_history").await,
            before + 30
        );
    }
}
