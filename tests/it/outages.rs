//! P1: accepted is never lost, whatever is cut off or killed in between. The programs recover by themselves.

use lapin::types::AMQPValue;
use push_tests::{Api, Broker, Device, Phone, Provider, Stack, TableLock, eventually};
use serde_json::json;

/// Time passes for what waits to be looked for: it is due now.
async fn time_passes(stack: &Stack) {
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NOW(3) WHERE status = 'pending'")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_is_away_delays_and_refuses_nothing() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;

    // Cut off: accepted all the same, delivered when it is back.
    stack.links().cut_broker();
    let mut ids = stack.send_many(1, 10).await;
    stack.links().restore();
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }

    // Silent, which is worse: no connection breaks, nothing is confirmed.
    stack.links().api_broker.stall();
    let answer = stack.send(1).answer().await.expect(202);
    stack.links().restore();
    let cut_off = answer.id();
    let settled = push_tests::within(std::time::Duration::from_secs(5), async || {
        stack
            .database
            .history(&cut_off)
            .await
            .filter(|row| row.status != "pending")
    });
    if settled.await.is_none() {
        time_passes(&stack).await;
    }
    assert_eq!(stack.settled(&cut_off).await.status, "sent");
    ids.push(cut_off);

    // Only the API lost it: the worker publishes what the API could not.
    stack.all_ready().await;
    stack.links().api_broker.cut();
    eventually("the API knows", async || {
        (stack.readiness(&stack.apis[0]).await.json["status"] == "degraded").then_some(())
    })
    .await;
    for _ in 0..5 {
        let answer = stack.send(1).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent");
        ids.push(answer.id());
    }
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_is_cut_off_in_the_middle_of_deliveries_doubles_nothing() {
    cut_off_in_the_middle(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn jobs_that_another_worker_gets_while_the_first_is_at_it_ring_once() {
    cut_off_in_the_middle(2).await;
}

async fn cut_off_in_the_middle(workers: usize) {
    let stack = Stack::with().workers(workers).through_links().start().await;
    stack.copies_under_way();
    stack.all_ready().await;
    let phones = [
        stack.register(1, Device::android_fcm("android")).await,
        stack.register(1, Device::ios_expo("iphone")).await,
    ];
    for latency in [400, 2_500] {
        stack.sim.latency(Provider::Fcm, latency).await;
        stack.sim.latency(Provider::Expo, latency).await;
        let ids = stack.send_many(1, 20).await;
        eventually("all of them are with the provider", async || {
            let displays = stack.sim.displays(&phones[0]).await;
            ids.iter().all(|id| displays[id] == 1).then_some(())
        })
        .await;
        // Nothing could be acknowledged: the broker gives every job out again.
        stack.links().worker_broker.cut();
        stack.links().restore();
        for id in &ids {
            let row = stack.settled(id).await;
            assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
        }
        stack.all_ready().await;
        eventually("the copies are gone", async || {
            (stack.broker.depth(Broker::JOBS).await == 0).then_some(())
        })
        .await;
        for phone in &phones {
            for id in &ids {
                assert_eq!(
                    stack.sim.rings(phone, id).await,
                    1,
                    "{} at {latency} ms",
                    phone.device.name
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_database_the_api_says_so_and_does_nothing_by_halves() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.links().api_database.cut();
    let before = stack.database.count("notification_history").await;
    let calls: [(&str, serde_json::Value); 4] = [
        (
            "/api/Push/sendToCustomer",
            json!({"id": 1, "title": "T", "body": "B"}),
        ),
        ("/api/Push/test", json!({"customerId": 1})),
        (
            "/api/Push/register",
            Device::android_fcm("other").registration(1),
        ),
        ("/api/Push/unregister", phone.device.registration(1)),
    ];
    let refused = async |api: &Api| {
        for (path, body) in &calls {
            let answer = api.post(path, body).answer().await;
            assert_eq!(
                (answer.status, answer.error_code().as_str()),
                (503, "database_unavailable"),
                "{path}"
            );
            let seconds: u32 = answer
                .header("retry-after")
                .parse()
                .expect("Retry-After in seconds");
            assert!((1..=60).contains(&seconds), "{seconds}");
            assert!(
                !answer.text.contains("127.0.0.1") && !answer.text.contains("mysql"),
                "{}",
                answer.text
            );
        }
        // Bad input is bad input with or without it.
        assert_eq!(
            api.post("/api/Push/sendToCustomer", &json!({}))
                .answer()
                .await
                .status,
            400
        );
    };
    refused(&stack.api()).await;
    let view = "/api/Push/notifications/00000000-0000-7000-8000-000000000000";
    assert_eq!(stack.api().get(view).answer().await.status, 503);
    assert_eq!(stack.database.count("notification_history").await, before);
    assert_eq!(stack.database.count("customer_push_tokens").await, 1);
    // Silent instead of gone.
    stack.links().restore();
    stack.ready(&stack.apis[0]).await;
    stack.links().api_database.stall();
    refused(&stack.api()).await;
    stack.links().restore();
    stack.all_ready().await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        answer.json["status"], "sent",
        "the phone is still registered"
    );
    // What was refused while the line was silent may have been stored at most; it was answered with 503, so nobody counts on it.
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_goes_away_in_the_middle_of_deliveries_loses_and_doubles_nothing() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phones = [
        stack.register(1, Device::android_fcm("android")).await,
        stack.register(1, Device::ios_expo("iphone")).await,
    ];
    stack.sim.latency(Provider::Fcm, 800).await;
    let ids = stack.send_many(1, 20).await;
    eventually("some are with the provider", async || {
        (stack.sim.counts().await["fcm"]["inFlight"].as_u64() > Some(0)).then_some(())
    })
    .await;
    stack.links().cut_database();
    eventually("the worker knows", async || {
        (stack.readiness(&stack.workers[0]).await.status == 503).then_some(())
    })
    .await;
    stack.links().restore();
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
    for phone in &phones {
        for id in &ids {
            assert_eq!(stack.sim.rings(phone, id).await, 1, "{}", phone.device.name);
        }
    }
}

/// A worker that has asked the database to record what became of its jobs, and has no answer yet.
async fn waits_for_the_database(stack: &Stack, phone: &Phone) -> (Vec<String>, TableLock) {
    stack.sim.latency(Provider::Fcm, 1_000).await;
    let ids = stack.send_many(1, 5).await;
    eventually("all of them are with the provider", async || {
        let displays = stack.sim.displays(phone).await;
        ids.iter().all(|id| displays[id] == 1).then_some(())
    })
    .await;
    let lock = stack.database.lock_table("notification_deliveries").await;
    stack
        .database
        .statement_waits("notification_deliveries")
        .await;
    stack.sim.latency(Provider::Fcm, 0).await;
    (ids, lock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn jobs_do_not_wait_in_a_worker_whose_database_stays_away() {
    let stack = Stack::with()
        .through_links()
        .env_worker("GIVE_BACK_AFTER", "1s")
        .env_worker("PREFETCH", "20")
        .start()
        .await;
    stack.all_ready().await;
    let phones = [
        stack.register(1, Device::android_fcm("android")).await,
        stack.register(1, Device::ios_expo("iphone")).await,
    ];
    stack.sim.latency(Provider::Fcm, 2_000).await;
    // Some are with the provider, the others wait in the worker and behind it.
    let mut ids = stack.send_many(1, 5).await;
    eventually("some are with the provider", async || {
        (stack.sim.counts().await["fcm"]["inFlight"].as_u64() == Some(5)).then_some(())
    })
    .await;
    stack.links().worker_database.cut();
    ids.extend(stack.send_many(1, 25).await);
    stack
        .broker
        .publish(Broker::DEAD, b"garbage", lapin::BasicProperties::default())
        .await;
    // A consumer counts for as long as it holds a message.
    for (queue, waiting) in [(Broker::JOBS, 25), (Broker::DEAD, 1)] {
        eventually("the worker holds nothing, and takes nothing", async || {
            (stack.broker.queue(queue).await == Some((waiting, 0))).then_some(())
        })
        .await;
    }
    assert_eq!(stack.readiness(&stack.workers[0]).await.status, 503);
    let (body, properties) = stack.broker.take(Broker::JOBS).await.expect("a job");
    let headers = properties.headers().clone().unwrap_or_default();
    assert!(headers.contains_key("traceparent"), "{headers:?}");
    let spent = headers.inner().get("x-delivery-count");
    assert!(
        matches!(spent, None | Some(AMQPValue::LongLongInt(0))),
        "no delivery was spent: {headers:?}"
    );
    stack.broker.publish(Broker::JOBS, &body, properties).await;

    stack.links().restore();
    for id in &ids {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
        for phone in &phones {
            assert_eq!(stack.sim.rings(phone, id).await, 1, "{}", phone.device.name);
        }
        let told = stack.notification(id).await.to_string();
        assert!(!told.contains("interrupted"), "its owner was first: {told}");
    }
    eventually("the garbage has its row", async || {
        (stack.database.count("dead_letters").await == 1).then_some(())
    })
    .await;
    stack.all_ready().await;
    let lines = stack.logs()[1].lines();
    let told = lines.iter().filter(|line| line.contains("\"WARN\""));
    assert!(told.count() <= 6, "once an outage: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_vanishes_in_the_middle_of_a_statement_is_not_waited_for() {
    let stack = Stack::with()
        .through_links()
        .env_worker("DATABASE_CONNECTIONS", "2")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let mut ids = Vec::new();
    // More often than there are connections: none may be lost for good.
    for _ in 0..3 {
        let (some, lock) = waits_for_the_database(&stack, &phone).await;
        stack.links().worker_database.vanish();
        lock.release().await;
        for id in &some {
            assert_eq!(stack.settled(id).await.status, "sent");
        }
        ids.extend(some);
    }
    stack.all_ready().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    for log in stack.logs() {
        let of_the_driver = |event: &serde_json::Value| {
            let target = event["target"].as_str().unwrap_or_default();
            target.starts_with("sqlx")
        };
        assert!(!log.events().iter().any(of_the_driver), "told by ourselves");
        let told = |text: &str| {
            log.lines()
                .iter()
                .filter(|line| line.contains(text))
                .count()
        };
        assert!(told("no answer in time") <= 3, "once an outage");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_waits_for_a_silent_database_can_be_stopped() {
    let mut stack = Stack::with()
        .through_links()
        .env_worker("SHUTDOWN_GRACE", "3s")
        .start()
        .await;
    stack.all_ready().await;
    // Stopped between the provider's answer and the record.
    stack.rings_twice();
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let (ids, lock) = waits_for_the_database(&stack, &phone).await;
    stack.links().worker_database.stall();
    lock.release().await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    stack.links().restore();
    stack.start_worker().await;
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reconciler_whose_database_vanishes_can_be_stopped() {
    let mut stack = Stack::with()
        .through_links()
        .env_worker("SHUTDOWN_GRACE", "1s")
        .start()
        .await;
    stack.all_ready().await;
    let lock = stack.database.lock_table("notification_history").await;
    stack.database.statement_waits("due_at").await;
    stack.links().worker_database.vanish();
    lock.release().await;
    assert_eq!(stack.terminate_worker().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_cannot_record_for_want_of_a_table_waits_for_it_and_gives_nothing_up() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    // Someone must act, and is told so, by both programs.
    stack.expect_errors("refuses our statements");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let rename = |from: &str, to: &str| format!("RENAME TABLE {from} TO {to}");
    let (table, elsewhere) = ("notification_deliveries", "not_there");
    stack.database.execute(&rename(table, elsewhere)).await;
    let id = stack.send(1).accepted().await;
    let why = eventually("the worker says what is wrong", async || {
        let answer = stack.readiness(&stack.workers[0]).await;
        (answer.status == 503).then_some(answer.text)
    })
    .await;
    assert!(why.contains("1146") && why.contains("migrate"), "{why}");
    stack.database.execute(&rename(elsewhere, table)).await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    stack.all_ready().await;
    assert_eq!(stack.database.count("dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_is_killed_with_jobs_in_flight_loses_nothing() {
    let mut stack = Stack::with().env_worker("PREFETCH", "20").start().await;
    // Killed between the provider's answer and the record: what remains of P2, softened by the tag.
    stack.rings_twice();
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    // Five at a time: it would take most of a minute for all of them.
    stack.sim.latency(Provider::Fcm, 4_000).await;
    let ids = stack.send_many(1, 60).await;
    for _ in 0..2 {
        eventually("jobs are in flight", async || {
            (stack.sim.counts().await["fcm"]["inFlight"].as_u64() > Some(3)).then_some(())
        })
        .await;
        stack.kill_worker().await;
        stack.start_worker().await;
    }
    stack.sim.latency(Provider::Fcm, 0).await;
    for id in &ids {
        let row = stack.settled(id).await;
        assert_eq!(row.status, "sent", "{row:?}");
        assert!(stack.sim.rings(&phone, id).await >= 1);
    }
    let twice = stack.sim.counts().await["displays"]["repeated"]
        .as_u64()
        .unwrap();
    assert!(
        twice <= 20,
        "only what was in flight may come again: {twice}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_api_that_is_killed_between_commit_and_publish_loses_nothing() {
    let mut stack = Stack::with().through_links().apis(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    // Its publish hangs, so it is killed between the two.
    stack.links().api_broker.stall();
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let send = stack.send(1);
        sending.spawn(async move { send.try_answer().await.ok().map(|answer| answer.status) });
    }
    eventually("all are committed", async || {
        (stack.database.count("notification_history").await == 5).then_some(())
    })
    .await;
    stack.kill_api().await;
    drop(sending.join_all().await);
    stack.links().restore();
    time_passes(&stack).await;
    stack.all_settled().await;
    for row in stack.database.all_history().await {
        assert_eq!(row.status, "sent");
        assert_eq!(stack.sim.rings(&phone, &row.id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_queue_that_is_deleted_by_hand_comes_back() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(
        stack.send(1).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
    stack.broker.delete_queue(Broker::JOBS).await;
    let answer = stack.send(1).wait(30).answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent");
    assert_eq!(stack.sim.rings(&phone, &answer.id()).await, 1);
    eventually("the queue is back, and one consumes from it", async || {
        let (_, consumers) = stack.broker.queue(Broker::JOBS).await?;
        (consumers == 1).then_some(())
    })
    .await;
    // Whoever notices first: one that cannot consume from it connects anew, and declares it so.
    let told = |log: &push_tests::Log| {
        log.says("somebody deleted this on the broker") || log.says("consuming from push.jobs")
    };
    assert!(stack.logs().iter().any(told), "and somebody says so");

    // A rung in which a job waits: the job is gone with it, and is found again.
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), json!([{"case": "unavailable"}]))
        .await;
    let id = stack.send(1).accepted().await;
    stack.broker.delete_queue("push.retry.200ms").await;
    let waiting = push_tests::within(std::time::Duration::from_secs(3), async || {
        stack
            .database
            .history(&id)
            .await
            .filter(|row| row.status != "pending")
    });
    if waiting.await.is_none() {
        time_passes(&stack).await;
    }
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    // The queue of the dead letters.
    stack.broker.delete_queue(Broker::DEAD).await;
    // What is dead-lettered while it is gone is kept by the broker, who tries again after three minutes only.
    eventually("the queue is back", async || {
        stack
            .broker
            .queue(Broker::DEAD)
            .await
            .filter(|(_, consumers)| *consumers == 1)
    })
    .await;
    stack.expect_errors("dead-lettered");
    stack
        .broker
        .publish(Broker::JOBS, b"garbage", lapin::BasicProperties::default())
        .await;
    eventually("the garbage has its row", async || {
        (stack.database.count("dead_letters").await == 1).then_some(())
    })
    .await;
}
