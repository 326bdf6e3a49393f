//! SIGTERM under load: exit code 0, nothing lost, nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use push_tests::{Broker, Device, Provider, Stack, eventually};

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
