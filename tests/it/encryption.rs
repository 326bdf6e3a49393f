//! With `ENCRYPTION_KEYS` nothing that lies in the database or in the queue shows a token or content, and all else is as it
//! was; a key is replaced while nothing is lost.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use push_tests::{Broker, Device, Phone, Program, Provider, Stack, eventually};
use serde_json::json;

const A: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const B: &str = "b:BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TITLE: &str = "A very private headline";
const BODY: &str = "A very private text";
const NOTE: &str = "a-very-private-value";

fn with_keys(keys: &str) -> push_tests::Builder {
    Stack::with()
        .env_api("ENCRYPTION_KEYS", keys)
        .env_worker("ENCRYPTION_KEYS", keys)
}

async fn send(stack: &Stack, customer: i64) -> String {
    let send = stack.send(customer).with("title", TITLE).with("body", BODY);
    send.with("data", json!({"note": NOTE})).accepted().await
}

/// Tables in which any of these texts stands.
async fn seen_in_database(stack: &Stack, secrets: &[&str]) -> Vec<String> {
    let columns = stack
        .database
        .texts(
            "SELECT CONCAT(table_name, '.', column_name) FROM information_schema.columns \
             WHERE table_schema = DATABASE()",
        )
        .await;
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (table, column) in columns.iter().filter_map(|column| column.split_once('.')) {
        let column = format!("CAST(`{column}` AS BINARY)");
        tables.entry(table).or_default().push(column);
    }
    assert!(tables.len() > 10);
    let mut seen = Vec::new();
    for (table, columns) in tables {
        let columns = columns.join(", ");
        for secret in secrets {
            let statement = format!(
                "SELECT COUNT(*) FROM `{table}` WHERE INSTR(CONCAT_WS('|', {columns}), '{secret}') > 0"
            );
            if stack.database.number(&statement).await > 0 {
                seen.push(format!("{table}: {secret}"));
            }
        }
    }
    seen
}

async fn is_sealed_at_rest(stack: &Stack, phones: &[&Phone]) {
    let mut secrets = vec![TITLE, BODY, NOTE];
    secrets.extend(phones.iter().map(|phone| phone.fcm()));
    assert_eq!(seen_in_database(stack, &secrets).await, [""; 0]);
}

/// What lies first on a queue, which is put back.
async fn first_on(stack: &Stack, queue: &str) -> String {
    let (body, properties) = eventually(queue, async || stack.broker.take(queue).await).await;
    stack.broker.publish(queue, &body, properties).await;
    String::from_utf8(body).unwrap()
}

fn assert_sealed(body: &str) {
    assert!(
        body.starts_with(r#"{"v":"sealed","sealed":"$1$a$"#),
        "{body}"
    );
    assert!(!body.contains("private"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_whole_way_of_a_notification_shows_nothing_at_rest() {
    let mut stack = with_keys(A).start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let expo = stack.register(2, Device::ios_expo("iphone")).await;
    stack.terminate_worker().await;
    let id = send(&stack, 1).await;
    assert_sealed(&first_on(&stack, Broker::JOBS).await);

    // The retry ladder to its end, as a dead letter, and once more from there.
    let unavailable = json!({"case": "unavailable"});
    let script = json!([unavailable, unavailable, unavailable, unavailable]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    stack.start_worker().await;
    let row = stack.settled(&id).await;
    assert_eq!((row.status.as_str(), row.attempts), ("failed", 4));
    is_sealed_at_rest(&stack, &[&phone]).await;
    let letter = stack.database.dead_letters_of(&id).await[0].id;
    let path = format!("/api/Push/admin/deadLetters/{letter}");
    let details = stack.api().get(&path).answer().await.expect(200);
    assert_eq!(details.json["trail"].as_array().unwrap().len(), 4);
    let replay = stack.api().post(&format!("{path}/replay"), &json!({}));
    drop(replay.answer().await.expect(202));
    eventually("it is sent", async || {
        (stack.settled(&id).await.status == "sent").then_some(())
    })
    .await;
    let shown = &stack.sim.shown(&phone).await[0];
    assert_eq!(
        (&shown["title"], &shown["body"]),
        (&json!(TITLE), &json!(BODY))
    );

    let by_expo = stack.settled(&send(&stack, 2).await).await;
    assert_eq!(by_expo.status, "sent");
    assert_eq!(stack.sim.shown(&expo).await.len(), 1);

    // Whoever may see it sees it.
    let view = stack.notification(&id).await;
    assert_eq!(
        (&view["title"], &view["body"]),
        (&json!(TITLE), &json!(BODY))
    );
    assert_eq!(view["data"], json!({"note": NOTE}));
    for path in [
        "/api/Push/history?customerId=1",
        "/api/Push/history?customerId=1&format=csv",
    ] {
        let answer = stack.api().get(path).answer().await.expect(200);
        assert!(answer.text.contains(TITLE), "{path}: {}", answer.text);
    }
    is_sealed_at_rest(&stack, &[&phone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_on_a_rung_is_sealed() {
    let stack = with_keys(A).env_worker("RETRY_DELAYS", "1h").start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let unavailable = json!({"case": "unavailable"});
    stack
        .sim
        .always(Provider::Fcm, phone.fcm(), unavailable)
        .await;
    send(&stack, 1).await;
    assert_sealed(&first_on(&stack, "push.retry.1h").await);
    is_sealed_at_rest(&stack, &[&phone]).await;
    stack.leaves_pending();
}

async fn restart(stack: &mut Stack, keys: &str) {
    assert_eq!(stack.terminate_worker().await, Some(0));
    assert_eq!(stack.terminate_api().await, Some(0));
    // Whoever has just stopped is believed to write for two minutes.
    let aged = "UPDATE encryption_keys SET used_at = used_at - INTERVAL 1 HOUR";
    stack.database.execute(aged).await;
    stack.change_keys(keys);
    stack.start_api().await;
    stack.start_worker().await;
    stack.all_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_is_replaced_and_the_old_one_removed() {
    let mut stack = with_keys("").start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let clear = send(&stack, 1).await;
    stack.settled(&clear).await;
    assert_eq!(
        seen_in_database(&stack, &[TITLE, phone.fcm()]).await.len(),
        2
    );

    let mut sent = vec![clear];
    let both = format!("{B},{A}");
    for (keys, gone) in [(A, "clear"), (both.as_str(), "a")] {
        restart(&mut stack, keys).await;
        let id = send(&stack, 1).await;
        assert_eq!(
            stack.settled(&id).await.status,
            "sent",
            "to a token under another key"
        );
        sent.push(id);
        eventually("the key before is in use no more", async || {
            let metrics = stack.metrics_of(&stack.workers[0]).await;
            let label = format!("key=\"{gone}\"");
            (metrics.sum("push_encryption_key_in_use", &label)? < 0.5).then_some(())
        })
        .await;
        is_sealed_at_rest(&stack, &[&phone]).await;
    }
    restart(&mut stack, B).await;
    sent.push(send(&stack, 1).await);
    for id in &sent {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.notification(id).await["title"], TITLE);
    }
}

/// Waits until a program says in readiness that it lacks the key `name`.
async fn lacks_a_key(stack: &Stack, program: &Program, name: &str) {
    let told = format!(r#"encryption key \"{name}\", which is not configured"#);
    eventually("it names the key", async || {
        let answer = stack.readiness(program).await;
        (answer.status == 503 && answer.text.contains(&told)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_program_without_the_key_is_not_ready_and_loses_nothing() {
    let mut stack = with_keys(A).start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.terminate_worker().await;
    let id = send(&stack, 1).await;
    stack
        .start_worker_but(&[("ENCRYPTION_KEYS", B.to_owned())])
        .await;
    lacks_a_key(&stack, stack.workers.last().unwrap(), "a").await;
    assert_eq!(stack.broker.depth(Broker::JOBS).await, 1, "it takes no job");
    stack.terminate_worker().await;
    stack.start_worker().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_that_a_running_worker_lacks_costs_no_job() {
    let mut stack = with_keys(A)
        .env_worker("GIVE_BACK_AFTER", "1s")
        .start()
        .await;
    stack.expect_errors("which is not configured");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let both = format!("{B},{A}");
    restart(&mut stack, &both).await;
    stack.terminate_worker().await;
    let (sent, given_up) = (send(&stack, 1).await, send(&stack, 1).await);
    let job = stack.broker.take(Broker::JOBS).await.unwrap();
    let letter = stack.broker.take(Broker::JOBS).await.unwrap();
    assert_eq!(stack.terminate_api().await, Some(0));

    // A worker that began before anybody had the new key.
    let rename =
        "UPDATE encryption_keys SET key_id = IF(key_id = 'b', 'B', 'b') WHERE key_id IN ('b', 'B')";
    stack.database.execute(rename).await;
    stack.change_keys(A);
    stack.start_worker().await;
    stack.ready(&stack.workers[0]).await;
    stack.database.execute(rename).await;
    for (queue, (body, properties)) in [(Broker::JOBS, job), (Broker::DEAD, letter)] {
        stack.broker.publish(queue, &body, properties).await;
    }
    lacks_a_key(&stack, &stack.workers[0], "b").await;
    for queue in [Broker::JOBS, Broker::DEAD] {
        eventually("it gives back what it has, and takes no more", async || {
            (stack.broker.queue(queue).await == Some((1, 0))).then_some(())
        })
        .await;
    }
    assert_eq!(stack.database.count("dead_letters").await, 0);

    assert_eq!(stack.terminate_worker().await, Some(0));
    stack.change_keys(&both);
    stack.start_api().await;
    stack.start_worker().await;
    stack.all_ready().await;
    assert_eq!(stack.settled(&sent).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &sent).await, 1);
    assert_eq!(stack.settled(&given_up).await.status, "failed");
    let letters = stack.database.dead_letters().await;
    assert!(letters.iter().all(|letter| letter.has_job), "{letters:?}");
    assert_eq!(letters.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_under_an_unknown_key_is_kept_with_the_reason() {
    let stack = with_keys(A).start().await;
    stack.expect_errors("dead-lettered");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let body = br#"{"v":"sealed","sealed":"$1$zz$AAAA"}"#;
    let properties = BasicProperties::default();
    stack.broker.publish(Broker::JOBS, body, properties).await;
    let reason = eventually("it is kept", async || {
        let texts = stack
            .database
            .texts("SELECT error_text FROM dead_letters")
            .await;
        texts.into_iter().next()
    })
    .await;
    assert!(
        reason.contains("encryption key \"zz\", which is not configured"),
        "{reason}"
    );
    let id = send(&stack, 1).await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}
