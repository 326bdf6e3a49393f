//! SIGTERM under load: exit code 0, nothing lost, nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use push_tests::{Broker, Device, Hold, Moment, Provider, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_is_asked_to_stop_finishes_what_it_has_and_leaves_the_rest() {
    let mut stack = Stack::with().env_worker("PREFETCH", "10").start().await;
    let phones = [
        stack.register(1, Device::android_fcm("android")).await,
        stack.register(2, Device::ios_expo("iphone")).await,
    ];
    // Ten at a time: it would take half a minute for all of them.
    stack.sim.latency(Provider::Fcm, 4_000).await;
    stack.sim.latency(Provider::Expo, 4_000).await;
    let (fcm, expo) = tokio::join!(stack.send_many(1, 40), stack.send_many(2, 40));
    let ids: Vec<_> = fcm
        .into_iter()
        .map(|id| (0, id))
        .chain(expo.into_iter().map(|id| (1, id)))
        .collect();
    for _ in 0..2 {
        eventually("jobs are in flight", async || {
            (stack.sim.counts().await["fcm"]["inFlight"].as_u64() > Some(0)).then_some(())
        })
        .await;
        assert_eq!(stack.terminate_worker().await, Some(0));
        let counts = stack.sim.counts().await;
        assert_eq!(
            (&counts["fcm"]["inFlight"], &counts["expo"]["inFlight"]),
            (&0.into(), &0.into()),
            "nothing was abandoned"
        );
        let rows = stack.database.by_status().await;
        let pending = *rows.get("pending").unwrap_or(&0);
        assert!(
            pending > 0,
            "it was not asked to do everything first: {rows:?}"
        );
        eventually("the rest is back in the queue", async || {
            (i64::from(stack.broker.depth(Broker::JOBS).await) == pending).then_some(())
        })
        .await;
        let taken = counts["fcm"]["accepted"].as_u64().unwrap()
            + counts["expo"]["accepted"].as_u64().unwrap();
        assert_eq!(
            rows.get("sent").copied().unwrap_or(0),
            i64::try_from(taken).unwrap(),
            "what was sent is recorded"
        );
        stack.start_worker().await;
    }
    stack.sim.latency(Provider::Fcm, 0).await;
    stack.sim.latency(Provider::Expo, 0).await;
    for (phone, id) in ids {
        let row = stack.settled(&id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
        assert_eq!(stack.sim.rings(&phones[phone], &id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_whose_provider_never_answers_stops_at_the_end_of_its_grace() {
    let mut stack = Stack::with()
        .env_worker("SHUTDOWN_GRACE", "1s")
        .start()
        .await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.outage(Provider::Fcm, "hang").await;
    let id = stack.send(1).accepted().await;
    eventually("it is with the provider", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await == 1).then_some(())
    })
    .await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    eventually("the job is back in the queue", async || {
        (stack.broker.depth(Broker::JOBS).await == 1).then_some(())
    })
    .await;
    let free =
        "SELECT COUNT(*) FROM notification_history WHERE round = 0 AND claimed_until <= NOW(3)";
    assert_eq!(
        stack.database.number(free).await,
        1,
        "it was let go, and may have been sent"
    );
    stack.sim.outage(Provider::Fcm, "ok").await;
    stack.start_worker().await;
    let row = stack.settled(&id).await;
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("sent", 1),
        "being interrupted costs no attempt"
    );
    let view = stack.notification(&id).await;
    assert_eq!(view["deliveries"][0]["maybeDelivered"], true, "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_worker_breaks_off_at_a_second_signal_another_one_has_at_once() {
    let mut stack = Stack::with()
        .env_worker("SHUTDOWN_GRACE", "600s")
        .start()
        .await;
    stack.rings_twice();
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let script = json!([{"delayMs": 60_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack.send(1).accepted().await;
    eventually("it is with the provider", async || {
        (stack.sim.sends(Provider::Fcm, phone.fcm()).await == 1).then_some(())
    })
    .await;
    stack.start_worker().await;
    stack.ready(&stack.workers[1]).await;
    let mut stopping = stack.workers.remove(0);
    stack.counters_restart();
    for said in [
        "finishing what is in flight",
        "second signal: stopping hard",
    ] {
        stopping.signal_terminate();
        eventually("the signal is noticed", async || {
            stopping.log.says(said).then_some(())
        })
        .await;
    }
    assert_eq!(stopping.ended().await, Some(0), "it was asked to stop");
    let row = stack.settled(&id).await;
    assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
    let view = stack.notification(&id).await;
    assert_eq!(view["deliveries"][0]["maybeDelivered"], true, "{view}");
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    let waited = metrics.sum("push_jobs_total", "elsewhere");
    assert_eq!(waited, None, "the claim was let go before the job was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_is_asked_to_stop_without_its_broker_has_recorded_what_it_sent() {
    let mut stack = Stack::with().through_links().start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    for silent in [true, false] {
        stack.all_ready().await;
        stack.sim.latency(Provider::Fcm, 2_000).await;
        let ids = stack.send_many(1, 5).await;
        eventually("all of them are with the provider", async || {
            (stack.sim.counts().await["fcm"]["inFlight"].as_u64() == Some(5)).then_some(())
        })
        .await;
        if silent {
            stack.links().worker_broker.stall();
        } else {
            stack.links().worker_broker.cut();
        }
        assert_eq!(stack.terminate_worker().await, Some(0));
        for id in &ids {
            let row = stack.database.history(id).await.unwrap();
            assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
        }
        stack.links().restore();
        stack.start_worker().await;
        eventually("the copies are gone", async || {
            (stack.broker.depth(Broker::JOBS).await == 0).then_some(())
        })
        .await;
        for id in &ids {
            assert_eq!(stack.sim.rings(&phone, id).await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_is_asked_to_stop_without_its_database_records_when_that_is_back_in_time() {
    let mut stack = Stack::with()
        .through_links()
        .env_worker("SHUTDOWN_GRACE", "600s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 1_000).await;
    let ids = stack.send_many(1, 5).await;
    eventually("all of them are with the provider", async || {
        (stack.sim.counts().await["fcm"]["inFlight"].as_u64() == Some(5)).then_some(())
    })
    .await;
    stack.links().worker_database.cut();
    let mut stopping = stack.workers.remove(0);
    stack.counters_restart();
    stopping.signal_terminate();
    eventually("it waits for the database", async || {
        let waits = stopping.log.says("work in hand waits for it");
        (waits && stopping.log.says("finishing what is in flight")).then_some(())
    })
    .await;
    stack.links().restore();
    assert_eq!(stopping.ended().await, Some(0));
    for id in &ids {
        let row = stack.database.history(id).await.unwrap();
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    stack.start_worker().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_api_that_is_asked_to_stop_answers_all_that_it_has_accepted() {
    let mut stack = Stack::with().apis(2).start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (api, accepted) = (stack.api(), Arc::clone(&accepted));
        sending.spawn(async move {
            // Until the replica is gone.
            while let Ok(answer) = api.send(1).try_answer().await {
                match answer.status {
                    202 => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                    status => assert_eq!(status, 503, "{}", answer.text),
                }
            }
        });
    }
    // One that waits for its outcome is answered, too.
    stack.sim.latency(Provider::Fcm, 1_000).await;
    let waiting = stack.send(1).wait(20);
    let waiting = tokio::spawn(async move { waiting.try_answer().await });
    eventually("the load is on", async || {
        (accepted.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    assert_eq!(stack.terminate_api().await, Some(0));
    let waited = waiting
        .await
        .unwrap()
        .expect("who waits is answered before the end");
    assert!(matches!(waited.status, 200 | 202), "{}", waited.text);
    sending.join_all().await;
    stack.sim.latency(Provider::Fcm, 0).await;
    let told = i64::try_from(accepted.load(Ordering::Relaxed)).unwrap() + 1;
    assert_eq!(
        stack.database.count("notification_history").await,
        told,
        "stored is answered, and answered is stored"
    );
    // The other replica goes on, once what was accepted before is delivered.
    stack.all_settled().await;
    assert_eq!(
        stack.send(1).wait(30).answer().await.expect(200).json["status"],
        "sent"
    );
    stack.all_settled().await;
    let rows = stack.database.by_status().await;
    assert_eq!(rows.get("sent"), Some(&(told + 1)), "{rows:?}");
}

/// A replica is told to stop while its database keeps it waiting in the middle of a commit; `signals` and its grace
/// make it a hard stop.
async fn an_api_stops_hard(grace: &str, signals: &[&str]) {
    const INSERT: &str = "INSERT INTO notification_history";
    let mut stack = Stack::with().env_api("SHUTDOWN_GRACE", grace).start().await;
    for (customer, (hold, committed)) in (1..).zip([(Hold::It, 0), (Hold::ItsAnswer, 1)]) {
        let name = format!("pixel-{customer}");
        let phone = stack.register(customer, Device::android_fcm(&name)).await;
        let mut wires = stack.start_api_on_tripwires().await;
        stack.all_ready().await;
        let own = stack.api_at(1);
        let told = own.send(customer).accepted().await;
        wires.set(Moment::Commit(INSERT), hold, 0);
        let send = own.send(customer).header("idempotency-key", &name);
        let body = send.body().clone();
        let asked = tokio::spawn(send.try_answer());
        wires.sprung().await;
        let mut stopping = stack.apis.remove(1);
        stack.counters_restart();
        for said in signals {
            stopping.signal_terminate();
            eventually("the signal is noticed", async || {
                stopping.log.says(said).then_some(())
            })
            .await;
        }
        assert_eq!(stopping.ended().await, Some(0), "it was asked to stop");
        assert!(stopping.log.says("stopped with requests in flight"));
        let answer = asked.await.unwrap();
        assert!(answer.is_err(), "nobody was told that it is accepted");
        drop(wires);
        let rows = stack.database.all_history().await;
        let own: Vec<_> = rows
            .iter()
            .filter(|row| row.customer_id == customer)
            .collect();
        assert_eq!(own.len(), 1 + committed, "all of it or nothing");
        // Minutes pass for what was committed and not published.
        stack
            .database
            .execute("UPDATE notification_history SET due_at = NOW(3) WHERE status = 'pending'")
            .await;
        let again = stack.send(customer).with_body(&body);
        let again = again.header("idempotency-key", &name).answer().await;
        let again = again.expect(202);
        let is_replay = again.header("idempotent-replayed") == "true";
        assert_eq!(is_replay, committed == 1);
        for id in [told, again.id()] {
            assert_eq!(stack.settled(&id).await.status, "sent");
            assert_eq!(stack.sim.rings(&phone, &id).await, 1);
        }
    }
    assert_eq!(stack.database.count("notification_history").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_api_that_waits_for_its_database_stops_at_a_second_signal_and_loses_nothing() {
    let said = [
        "finishing what is in flight",
        "second signal: stopping hard",
    ];
    an_api_stops_hard("600s", &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_api_that_waits_for_its_database_stops_at_the_end_of_its_grace_and_loses_nothing() {
    an_api_stops_hard("1s", &["finishing what is in flight"]).await;
}
