//! The servers themselves die: a RabbitMQ and a MariaDB of each test's own are killed with SIGKILL.

use push_tests::{
    Broker, Device, PrivateMaria, PrivateRabbit, Provider, Servers, Stack, eventually,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_is_killed_and_one_that_loses_its_disk_lose_nothing() {
    let mut rabbit = PrivateRabbit::start().await;
    let servers = Servers {
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    let stack = Stack::with()
        .on(servers, false)
        .env_worker("RETRY_DELAYS", "1s,2s,2s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 300).await;

    let mut ids = stack.send_many(1, 10).await;
    rabbit.kill().await;
    for _ in 0..10 {
        ids.push(stack.send(1).accepted().await);
    }
    rabbit.up().await;
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
    }
    stack.all_ready().await;

    // With the disk wiped: no queue knows anything any more. What waits on a rung is found in the database.
    stack.sim.outage(Provider::Fcm, "503").await;
    let waiting = stack.send(1).accepted().await;
    eventually("it waits for its next attempt", async || {
        stack
            .database
            .history(&waiting)
            .await
            .filter(|row| row.attempts >= 1)
    })
    .await;
    rabbit.kill().await;
    rabbit.wipe();
    let meanwhile = stack.send(1).accepted().await;
    stack.sim.outage(Provider::Fcm, "ok").await;
    rabbit.up().await;
    // Minutes pass for what waits to be looked for.
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NOW(3) WHERE status = 'pending'")
        .await;
    ids.extend([waiting, meanwhile]);
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    stack.all_ready().await;
    eventually("no copy is left", async || {
        (stack.broker.depth(Broker::JOBS).await == 0).then_some(())
    })
    .await;
    for log in stack.logs() {
        assert!(
            log.lines().len() < 200,
            "no log flood: {} lines of {}",
            log.lines().len(),
            log.name
        );
    }
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_killed_loses_nothing() {
    let mut maria = PrivateMaria::start().await;
    let servers = Servers {
        database: maria.server(),
        ..Servers::of_environment()
    };
    let stack = Stack::with().on(servers, true).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.sim.latency(Provider::Fcm, 500).await;
    let mut ids = stack.send_many(1, 20).await;
    maria.kill().await;
    let answer = stack.send(1).answer().await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (503, "database_unavailable")
    );
    assert!(!answer.header("retry-after").is_empty());
    maria.up().await;
    stack.all_ready().await;
    ids.push(stack.send(1).accepted().await);
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    assert_eq!(
        stack.database.count("notification_history").await,
        21,
        "what was refused was not stored"
    );
    for log in stack.logs() {
        assert!(
            log.lines().len() < 200,
            "no log flood: {} lines of {}",
            log.lines().len(),
            log.name
        );
    }
    drop(stack);
}
