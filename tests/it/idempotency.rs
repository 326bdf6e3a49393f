//! `Idempotency-Key`: a request that comes again is not carried out again, whichever replica gets it and whatever
//! broke in between.

use std::collections::BTreeSet;

use push_tests::{Answer, Api, Device, Hold, Key, Moment, Provider, Send, Stack, eventually};
use serde_json::json;

const KEY: &str = "idempotency-key";

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// The same request, so often at the same moment, to one replica after the other.
async fn at_once(stack: &Stack, count: usize, make: impl Fn(Api) -> Send) -> Vec<Answer> {
    let apis = (0..count).map(|index| stack.api_at(index % stack.apis.len()));
    futures::future::join_all(apis.map(|api| make(api).answer())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_identical_requests_at_once_are_one_notification_and_fifty_equal_answers() {
    let stack = Stack::with().apis(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    for (key, wait, status) in [("order-1", None, 202), ("order-2", Some(20), 200)] {
        let body = stack.send(1).body().clone();
        let answers = at_once(&stack, 50, |api| {
            let send = api.send(1).with_body(&body).header(KEY, key);
            wait.into_iter().fold(send, Send::wait)
        })
        .await;
        for answer in &answers {
            assert_eq!(
                (answer.status, &answer.text),
                (status, &answers[0].text),
                "{}",
                answer.text
            );
        }
        let replays = answers.iter().filter(|answer| is_replay(answer)).count();
        assert_eq!(replays, 49);
        let id = answers[0].id();
        assert_eq!(stack.settled(&id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    }
    assert_eq!(stack.database.count("notification_history").await, 2);
    let mut counted = 0.0;
    for api in &stack.apis {
        let metrics = stack.metrics_of(api).await;
        counted += metrics.sum("push_idempotent_replays_total", "").unwrap();
    }
    assert!((counted - 98.0).abs() < 0.5, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_belongs_to_its_caller_its_endpoint_and_its_body() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let path = "/api/Push/sendToCustomer";
    let api = stack.api();
    let first = stack.send(1).with("data", json!({"a": 1, "b": null}));
    let body = first.body().clone();
    let first = first.header(KEY, "k").answer().await.expect(202);
    assert!(!is_replay(&first));

    // The same JSON in other words, with another spelling of the path.
    let again = format!(
        " {{\"body\": {}, \"data\": {{\"b\": null, \"a\": 1}},\n\"title\": {}, \"id\": 1}}",
        body["body"], body["title"]
    );
    let again = api
        .post("/api/push/sendtocustomer", &json!({}))
        .raw("application/json", again)
        .header(KEY, "k");
    let again = again.answer().await.expect(202);
    assert_eq!((&again.text, is_replay(&again)), (&first.text, true));

    let reused = [
        (path, stack.send(1).body().clone()),
        ("/api/Push/test", json!({"customerId": 1})),
    ];
    for (path, other) in reused {
        let answer = api.post(path, &other).header(KEY, "k").answer().await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (422, "idempotency_key_reused"),
            "{path}"
        );
    }
    let others = api.post(path, &body).key(Key::Send).header(KEY, "k");
    let others = others.answer().await.expect(202);
    assert!(!is_replay(&others) && others.id() != first.id());

    // Without a key nothing is recognised.
    let bare = api.post(path, &body).answer().await.expect(202);
    assert_ne!(bare.id(), first.id());
    for bad in ["", "tab\tbed", &"x".repeat(256)] {
        let answer = api.post(path, &body).header(KEY, bad).answer().await;
        assert_eq!(answer.expect(400).wrong_fields(), ["Idempotency-Key"]);
    }
    let test = || {
        let call = api.post("/api/Push/test", &json!({"customerId": 1}));
        call.header(KEY, "t").answer()
    };
    let (tested, again) = (test().await.expect(202), test().await.expect(202));
    assert_eq!((&again.text, is_replay(&again)), (&tested.text, true));
    stack.all_settled().await;
    assert_eq!(stack.database.count("notification_history").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refusal_is_not_kept() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let send = stack.send(77).header(KEY, "k");
    assert_eq!(send.clone().answer().await.status, 404);
    let invalid = send.clone().with("title", "").answer().await;
    assert_eq!(invalid.status, 400);
    stack.know_customer(77).await;
    let first = send.clone().answer().await.expect(202);
    assert!(!is_replay(&first));
    // What was accepted is answered again, also for a customer who is gone.
    stack.database.execute("DELETE FROM customers").await;
    let again = send.answer().await.expect(202);
    assert_eq!((&again.text, is_replay(&again)), (&first.text, true));
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_waits_gets_the_outcome_and_so_does_who_repeats_it() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let waited = stack.send(1).header(KEY, "w");
    let outcome = waited.clone().wait(20).answer().await.expect(200);
    assert_eq!(outcome.json["status"], "sent");
    // With as much patience, and without any.
    for again in [waited.clone().wait(20), waited] {
        let again = again.answer().await.expect(200);
        assert_eq!((&again.text, is_replay(&again)), (&outcome.text, true));
    }
    // Who did not wait the first time gets the first answer, or the outcome when he does then.
    let bare = stack.send(1).header(KEY, "b");
    let first = bare.clone().answer().await.expect(202);
    stack.settled(&first.id()).await;
    let again = bare.clone().answer().await.expect(202);
    assert_eq!((&again.text, is_replay(&again)), (&first.text, true));
    let patient = bare.wait(20).answer().await.expect(200);
    assert_eq!((patient.id(), is_replay(&patient)), (first.id(), true));
    assert_eq!(patient.json["status"], "sent");
    assert_eq!(patient.header("preference-applied"), "wait=20");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repetition_tells_the_outcome_as_it_is_now_of_the_same_notification() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.expect_errors("an operator must act");
    let script = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let send = stack.send(1).header(KEY, "k").wait(20);
    let first = send.clone().answer().await.expect(200);
    assert_eq!(first.json["status"], "failed");
    let letter = eventually("it is a dead letter", async || {
        let letters = stack.database.dead_letters_of(&first.id()).await;
        letters.first().map(|letter| letter.id)
    })
    .await;
    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let replay = stack.api().post(&path, &json!({})).answer().await;
    assert_eq!(replay.status, 202, "{}", replay.text);
    eventually("the replay has reached it", async || {
        let row = stack.settled(&first.id()).await;
        (row.status == "sent").then_some(())
    })
    .await;
    let again = send.answer().await.expect(200);
    assert_eq!((again.id(), is_replay(&again)), (first.id(), true));
    assert_eq!(again.json["status"], "sent");
    assert_eq!(stack.sim.rings(&phone, &first.id()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_is_forgotten_after_a_day_and_then_deleted() {
    let mut stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let send = stack.send(1).header(KEY, "k");
    let first = send.clone().accepted().await;
    let hours_pass = "UPDATE idempotency_keys SET created_at = created_at - INTERVAL ";
    let pass = async |hours: &str| {
        stack
            .database
            .execute(&format!("{hours_pass}{hours}"))
            .await
    };
    pass("23 HOUR").await;
    assert_eq!(send.clone().accepted().await, first);
    pass("61 MINUTE").await;
    let second = send.clone().accepted().await;
    assert_ne!(second, first, "it is there, and counts no more");
    pass("1600 MINUTE").await;
    stack.send(1).header(KEY, "young").accepted().await;
    stack.start_worker().await;
    eventually("the old one is gone, and only that", async || {
        (stack.database.count("idempotency_keys").await == 1).then_some(())
    })
    .await;
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_broker_a_repetition_is_answered_and_rings_once_when_it_is_back() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.links().cut_broker();
    let send = stack.send(1).header(KEY, "k");
    let id = send.clone().accepted().await;
    for _ in 0..3 {
        assert_eq!(send.clone().accepted().await, id);
    }
    stack.links().restore();
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(send.accepted().await, id);
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    assert_eq!(stack.database.count("notification_history").await, 1);
}

/// As a careful backend does it: with the same key until there is an answer. Counts the 503s.
async fn until_accepted(send: Send) -> (String, usize) {
    let mut refused = 0;
    let id = eventually("it is accepted", async || {
        let answer = send.clone().answer().await;
        if answer.status == 202 {
            return Some(answer.id());
        }
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(!answer.header("retry-after").is_empty());
        refused += 1;
        None
    })
    .await;
    (id, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn commits_that_broke_off_are_found_by_who_asks_again() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let callers = (0..8).map(async |caller| {
        let mut told = Vec::new();
        for turn in 0..25 {
            let send = stack.send(1).header(KEY, &format!("{caller}-{turn}"));
            told.push(until_accepted(send).await);
        }
        told
    });
    let bad_luck = async {
        for turn in 1..=6_i64 {
            eventually("some are accepted", async || {
                let accepted = stack.database.count("notification_history").await;
                (accepted >= turn * 20).then_some(())
            })
            .await;
            let link = &stack.links().api_database;
            if turn % 2 == 0 {
                // What the database answers is lost, whatever it did.
                link.stall();
            }
            link.cut();
            link.restore();
        }
    };
    let (told, ()) = tokio::join!(futures::future::join_all(callers), bad_luck);
    // What was committed without anybody knowing is looked for at once, and not only after RECONCILE_AFTER.
    stack.counters_restart();
    stack.all_settled().await;
    let told = told.concat();
    let ids: BTreeSet<_> = told.iter().map(|(id, _)| id).collect();
    assert_eq!((told.len(), ids.len()), (200, 200));
    let refused: usize = told.iter().map(|(_, refused)| refused).sum();
    assert!(refused > 0, "nothing was in doubt");
    assert_eq!(stack.database.count("notification_history").await, 200);
    assert_eq!(stack.database.count("idempotency_keys").await, 200);
    for id in ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_is_there_with_its_notification_or_not_at_all_and_the_doubt_is_over_at_once() {
    const NOTIFICATION: &str = "INSERT INTO notification_history";
    let mut stack = Stack::with().apis(0).start().await;
    let mut wires = stack.start_api_on_tripwires().await;
    stack.all_ready().await;
    // Nobody knows what was counted for a commit whose answer is lost.
    stack.counters_restart();
    let points = [
        // The key is inserted, the notification is not.
        (Moment::Statement(NOTIFICATION), Hold::It, 0),
        // Both are, and not committed.
        (Moment::Commit(NOTIFICATION), Hold::It, 0),
        // Both are committed, and nobody knows.
        (Moment::Commit(NOTIFICATION), Hold::ItsAnswer, 1),
    ];
    for (customer, (moment, hold, committed)) in (1..).zip(points) {
        let what = format!("{moment:?}, {hold:?}");
        let name = format!("pixel-{customer}");
        let phone = stack.register(customer, Device::android_fcm(&name)).await;
        let send = stack.send(customer).header(KEY, &what);
        let before = stack.database.count("idempotency_keys").await;
        wires.set(moment, hold, 0);
        let asked = tokio::spawn(send.clone().try_answer());
        wires.sprung().await;
        wires.cut();
        let told = asked.await.unwrap().expect("it is answered");
        assert_eq!(told.status, 503, "{what}");
        assert!(!told.header("retry-after").is_empty());
        let rows = || async {
            let all = stack.database.all_history().await;
            let own = all.into_iter().filter(|row| row.customer_id == customer);
            own.collect::<Vec<_>>()
        };
        let keys = stack.database.count("idempotency_keys").await - before;
        let ids: Vec<_> = rows().await.into_iter().map(|row| row.id).collect();
        assert_eq!(
            (keys, ids.len()),
            (i64::try_from(committed).unwrap(), committed),
            "{what}"
        );
        for id in &ids {
            // Also when its caller never comes back.
            assert_eq!(stack.settled(id).await.status, "sent", "{what}");
        }
        let again = send.answer().await.expect(202);
        assert_eq!(is_replay(&again), committed == 1, "{what}");
        assert_eq!(stack.settled(&again.id()).await.status, "sent", "{what}");
        assert_eq!(stack.sim.rings(&phone, &again.id()).await, 1, "{what}");
        assert_eq!(rows().await.len(), 1, "{what}");
    }
}
