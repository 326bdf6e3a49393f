//! Many at once, with faults at random: each is displayed exactly once, and all are settled.

use push_tests::{Broker, Device, Phone, Provider, Stack, eventually};
use serde_json::{Value, json};

/// A small generator, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn five_hundred_over_two_workers_with_random_faults_are_each_displayed_once() {
    const CUSTOMERS: usize = 50;
    const EACH: usize = 10;
    let stack = Stack::with()
        .workers(2)
        .apis(2)
        .env_worker("RETRY_DELAYS", "200ms,400ms,800ms,1s,1s,1s,1s,1s")
        .start()
        .await;
    // One that comes late would find the work done.
    eventually("both workers consume", async || {
        let (_, consumers) = stack.broker.queue(Broker::JOBS).await?;
        (consumers == 2).then_some(())
    })
    .await;
    let mut phones: Vec<Phone> = Vec::new();
    for customer in 0..CUSTOMERS {
        let name = format!("phone {customer}");
        let device = if customer % 2 == 0 {
            Device::android_fcm(&name)
        } else {
            Device::ios_expo(&name)
        };
        phones.push(
            stack
                .register(i64::try_from(customer).unwrap() + 1, device)
                .await,
        );
    }
    // Faults that say for sure that nothing was delivered.
    let mut dice = Dice(2026);
    let mut faults = |cases: &[Value]| -> Value {
        (0..60)
            .map(|_| cases[dice.roll(cases.len())].clone())
            .collect()
    };
    let fcm = faults(&[
        json!({}),
        json!({}),
        json!({"case": "unavailable"}),
        json!({"case": "internal"}),
        json!({"case": "bad_gateway_html"}),
        json!({"delayMs": 150}),
    ]);
    let expo = faults(&[
        json!({}),
        json!({}),
        json!({"case": "ticket_message_rate_exceeded"}),
        json!({"case": "bad_gateway"}),
        json!({"delayMs": 150}),
    ]);
    stack.sim.script_all(Provider::Fcm, fcm).await;
    stack.sim.script_all(Provider::Expo, expo).await;

    let mut sending = tokio::task::JoinSet::new();
    for round in 0..EACH {
        for customer in 0..CUSTOMERS {
            let send = stack
                .api_at((round + customer) % 2)
                .send(i64::try_from(customer).unwrap() + 1);
            sending.spawn(async move { (customer, send.accepted().await) });
        }
    }
    let sent = sending.join_all().await;
    assert_eq!(sent.len(), CUSTOMERS * EACH);
    stack.all_settled().await;
    let rows = stack.database.by_status().await;
    assert_eq!(rows.get("sent"), Some(&500), "{rows:?}");
    assert_eq!(rows.len(), 1, "{rows:?}");
    for (customer, phone) in phones.iter().enumerate() {
        let displays = stack.sim.displays(phone).await;
        let ids = sent
            .iter()
            .filter(|(other, _)| *other == customer)
            .map(|(_, id)| id);
        let mut count = 0;
        for id in ids {
            assert_eq!(displays[id], 1, "{id} on phone {customer}");
            count += 1;
        }
        assert_eq!(
            displays.as_object().unwrap().len(),
            count,
            "nothing else was shown"
        );
    }
    assert_eq!(stack.database.count("dead_letters").await, 0);
    let counts = stack.sim.counts().await;
    assert!(
        counts["expo"]["maxConcurrent"].as_u64().unwrap() <= 12,
        "at most 6 requests a worker: {}",
        counts["expo"]
    );
    for worker in &stack.workers {
        let settled = stack
            .metrics_of(worker)
            .await
            .sum("push_notifications_settled_total", "")
            .unwrap_or(0.0);
        assert!(settled > 0.0, "{} had a share in it", worker.log.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_for_expo_shares_requests_across_jobs() {
    const JOBS: usize = 100;
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::ios_expo("iphone")).await;
    // All jobs are there before the worker is; and while Expo thinks about the first six requests, the rest waits.
    assert_eq!(stack.terminate_worker().await, Some(0));
    stack.sim.latency(Provider::Expo, 1_000).await;
    let ids = stack.send_many(1, JOBS).await;
    stack.start_worker().await;
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    let expo = stack.sim.counts().await["expo"].clone();
    assert_eq!(expo["accepted"], JOBS, "{expo}");
    assert!(expo["requests"].as_u64().unwrap() <= 30, "{expo}");
    assert!(expo["maxConcurrent"].as_u64().unwrap() <= 6, "{expo}");
}
