//! `sendAt`: what is to be sent later waits in the database, and nowhere else, until its time comes.

use push_tests::{Broker, Device, PrivateRabbit, Provider, Send, Servers, Stack, eventually};
use serde_json::{Value, json};

const KEY: &str = "idempotency-key";
/// A moment, as the API spells it.
const SPELLED: &str = "'%Y-%m-%dT%H:%i:%s.%f'";

/// So long from now, such as `1 HOUR`.
async fn in_(stack: &Stack, interval: &str) -> String {
    let time = format!("SELECT DATE_FORMAT(UTC_TIMESTAMP(3) + INTERVAL {interval}, {SPELLED})");
    let time = stack.database.texts(&time).await.remove(0);
    format!("{}Z", &time[..23])
}

/// As long as they wait for passes for all that waits.
async fn their_time_comes(stack: &Stack) {
    let moved = "UPDATE notification_history SET send_at = NOW(3), next_at = NOW(3), due_at = NOW(3) \
        WHERE status = 'pending' AND send_at IS NOT NULL";
    stack.database.execute(moved).await;
}

fn steps(told: &Value) -> Vec<&str> {
    let timeline = told["timeline"].as_array().unwrap();
    timeline
        .iter()
        .map(|entry| entry["step"].as_str().unwrap())
        .collect()
}

async fn counted(stack: &Stack, name: &str) -> f64 {
    let mut sum = 0.0;
    for worker in &stack.workers {
        sum += stack.metrics_of(worker).await.sum(name, "").unwrap_or(0.0);
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_is_sent_when_its_time_comes_and_not_before() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let hour = in_(&stack, "1 HOUR").await;
    let later = stack
        .send(1)
        .with("sendAt", hour.as_str())
        .with("ttlSeconds", 60);
    let answer = later.answer().await.expect(202);
    assert_eq!(
        (
            &answer.json["status"],
            &answer.json["sendAt"],
            &answer.json["message"]
        ),
        (
            &json!("pending"),
            &json!(hour),
            &json!("Push notification scheduled")
        )
    );
    let later = answer.id();
    let soon = in_(&stack, "5 SECOND").await;
    let early = stack.send(1).with("sendAt", soon.as_str());
    let early = early.accepted().await;
    assert_eq!(stack.settled(&early).await.status, "sent");
    let told = stack.notification(&early).await;
    assert_eq!(told["sendAt"], json!(soon));
    assert!(told["completedAt"].as_str() >= Some(&soon), "{told}");
    assert!(
        told["deliveries"][0]["at"].as_str() >= Some(&soon),
        "{told}"
    );
    assert_eq!(steps(&told)[..2], ["accepted", "time_came"]);
    // The other one waits, and its life begins when it is sent.
    let told = stack.notification(&later).await;
    assert_eq!(
        (&told["status"], steps(&told)),
        (&json!("pending"), vec!["accepted"])
    );
    assert_eq!(told["sendAt"], json!(hour));
    let lives = "SELECT TIMESTAMPDIFF(SECOND, send_at, expires_at) FROM notification_history \
        WHERE send_at IS NOT NULL AND status = 'pending'";
    assert_eq!(stack.database.number(lives).await, 60);
    assert_eq!(stack.sim.rings(&phone, &later).await, 0);
    assert_eq!(stack.broker.jobs().await, 0);
    their_time_comes(&stack).await;
    assert_eq!(stack.settled(&later).await.status, "sent");
    for id in [&early, &later] {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    assert!((counted(&stack, "push_scheduled_published_total").await - 2.0).abs() < 0.5);
    assert!(counted(&stack, "push_republished_total").await < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_time_that_makes_no_sense_is_told_and_one_just_over_means_at_once() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    for wrong in [
        json!(in_(&stack, "31 DAY").await),
        json!(in_(&stack, "-2 MINUTE").await),
        json!("tomorrow"),
        json!("2030-01-01T00:00:00"),
        json!(1_900_000_000),
    ] {
        let answer = stack.send(1).with("sendAt", wrong.clone()).answer().await;
        assert_eq!(answer.expect(400).wrong_fields(), ["sendAt"], "{wrong}");
    }
    let just_over = in_(&stack, "-20 SECOND").await;
    let answer = stack
        .send(1)
        .with("sendAt", just_over)
        .wait(30)
        .answer()
        .await;
    let answer = answer.expect(200);
    assert_eq!(
        (&answer.json["status"], answer.json.get("sendAt")),
        (&json!("sent"), None)
    );

    // Whoever would wait for longer than is granted does not wait at all.
    let hour = in_(&stack, "1 HOUR").await;
    let answer = stack
        .send(1)
        .with("sendAt", hour.as_str())
        .wait(30)
        .answer()
        .await;
    let answer = answer.expect(202);
    assert_eq!(
        (&answer.json["sendAt"], answer.header("preference-applied")),
        (&json!(hour), "")
    );
    their_time_comes(&stack).await;
    let soon = in_(&stack, "1 SECOND").await;
    let answer = stack.send(1).with("sendAt", soon).wait(30).answer().await;
    assert_eq!(answer.expect(200).json["status"], "sent");
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repetition_after_its_time_gets_the_first_answer() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    // What is a minute late is refused: all three have a quarter of one to be accepted in.
    let almost_over = json!(in_(&stack, "-45 SECOND").await);
    let keyed = |send: &Send| send.clone().header(KEY, "k").answer();
    let single = stack.send(1).with("sendAt", almost_over.clone());
    let element = single.body().clone();
    let batches = [
        json!({"notifications": [element]}),
        json!({"customerIds": [1], "title": element["title"], "body": element["body"], "sendAt": almost_over}),
    ];
    let batch = |index: usize| {
        let call = stack.api().post("/api/Push/sendBatch", &batches[index]);
        call.header(KEY, &format!("batch-{index}")).answer()
    };
    let first = keyed(&single).await.expect(202);
    let first_batches = [batch(0).await.expect(202), batch(1).await.expect(202)];
    eventually("its time is long over", async || {
        // It is refused anyway, so that looking adds nothing.
        let fresh = single.clone().with("title", "").answer().await;
        let wrong = fresh.expect(400).wrong_fields();
        wrong.contains(&"sendAt".to_owned()).then_some(())
    })
    .await;
    for (again, first) in [
        (keyed(&single).await, &first),
        (batch(0).await, &first_batches[0]),
        (batch(1).await, &first_batches[1]),
    ] {
        assert_eq!((again.status, &again.text), (202, &first.text));
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn batches_are_scheduled_as_a_whole_or_one_by_one() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let hour = in_(&stack, "1 HOUR").await;
    let (now, later) = (stack.send(1), stack.send(1).with("sendAt", hour.as_str()));
    let wrong = stack.send(1).with("sendAt", "soon");
    let bodies = [&now, &later, &wrong].map(|send| send.body().clone());
    let body = json!({ "notifications": bodies });
    let answer = stack
        .api()
        .post("/api/Push/sendBatch", &body)
        .answer()
        .await
        .expect(202);
    let results = &answer.json["results"];
    assert_eq!(results[2]["errors"][0]["field"], "sendAt");
    let id = |result: &Value| result["notificationId"].as_str().unwrap().to_owned();
    let (now, later) = (id(&results[0]), id(&results[1]));
    let same =
        json!({"customerIds": [1], "title": bodies[0]["title"], "body": "Later", "sendAt": hour});
    let answer = stack
        .api()
        .post("/api/Push/sendBatch", &same)
        .answer()
        .await
        .expect(202);
    let same = id(&answer.json["results"][0]);
    assert_eq!(stack.settled(&now).await.status, "sent");
    for waiting in [&later, &same] {
        assert_eq!(stack.notification(waiting).await["status"], "pending");
    }
    their_time_comes(&stack).await;
    for id in [&now, &later, &same] {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_dies_while_it_waits_it_comes_once() {
    let mut rabbit = PrivateRabbit::start().await;
    let servers = Servers {
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    let mut stack = Stack::with().on(servers, false).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let hour = in_(&stack, "1 HOUR").await;
    let waiting = stack.send(1).with("sendAt", hour.as_str()).accepted().await;
    stack.kill_api().await;
    stack.kill_worker().await;
    stack.counters_restart();
    rabbit.kill().await;
    rabbit.wipe();
    stack.start_api().await;
    stack.start_worker().await;
    // Its time comes while there is no broker.
    their_time_comes(&stack).await;
    let other = stack.send(1).accepted().await;
    rabbit.up().await;
    for id in [&waiting, &other] {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    assert!(steps(&stack.notification(&waiting).await).contains(&"time_came"));
    stack.all_ready().await;
    eventually("no copy is left", async || {
        (stack.broker.depth(Broker::JOBS).await == 0).then_some(())
    })
    .await;
    drop(stack);
}

/// They come in batches, once each (no phone may ring twice for one), by whichever worker; and so does what is sent meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_that_are_due_at_one_moment_come_once_each() {
    const MANY: usize = 1_600;
    let stack = Stack::with().workers(2).start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 5).await;
    let hour = in_(&stack, "1 HOUR").await;
    for _ in 0..2 {
        let elements: Vec<Value> = (0..MANY / 2)
            .map(|_| stack.send(1).with("sendAt", hour.as_str()).body().clone())
            .collect();
        let body = json!({ "notifications": elements });
        let answer = stack
            .api()
            .post("/api/Push/sendBatch", &body)
            .answer()
            .await;
        assert_eq!(answer.status, 202);
    }
    their_time_comes(&stack).await;
    let meanwhile = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&meanwhile).await.status, "sent");
    stack.all_settled().await;
    assert_eq!(stack.database.by_status().await["sent"], MANY as i64 + 1);
    let published = counted(&stack, "push_scheduled_published_total").await;
    assert!((published - MANY as f64).abs() < 0.5, "{published}");
    assert!(counted(&stack, "push_republished_total").await < 0.5);
}
