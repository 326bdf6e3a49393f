//! FCM lies, whatever is asked of it: a worker is not hurt, and Expo's notifications arrive.

use push_tests::{Device, Liar, Stack, eventually};

/// So much is thrown at the worker.
const THROWN: u64 = 256 * 1024 * 1024;
/// So much more memory it may take meanwhile.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_fcm_takes_no_memory_and_keeps_nobody_waiting_for_expo() {
    let liar = Liar::start().await;
    let stack = Stack::with()
        .env_worker("FCM_BASE_URL", &liar.url())
        .env_worker("RETRY_DELAYS", "200ms,200ms")
        .start()
        .await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let iphone = stack.register(2, Device::ios_expo("iphone")).await;
    let answer = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent");
    let before = stack.workers[0].peak_memory();

    let mut lied = Vec::new();
    while liar.bytes() < THROWN {
        lied.extend(stack.send_many(1, 16).await);
        let answer = stack.send(2).wait(30).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent", "while FCM lies");
        assert_eq!(stack.sim.rings(&iphone, &answer.id()).await, 1);
        eventually("most lies are told", async || {
            (liar.lies() >= 3 * lied.len() - 16).then_some(())
        })
        .await;
    }
    let growth = stack.workers[0].peak_memory() - before;
    assert!(
        growth < GROWTH_MAX,
        "{growth} bytes more for {} lies",
        liar.lies()
    );

    for id in &lied {
        let row = stack.settled(id).await;
        assert_eq!(
            (row.status.as_str(), row.reason.as_str(), row.attempts),
            ("failed", "dead_lettered", 3),
            "{row:?}"
        );
    }
    let view = stack.notification(&lied[0]).await;
    assert_eq!(view["deliveries"][0]["maybeDelivered"], true, "{view}");
    assert_eq!(liar.lies(), 3 * lied.len(), "each try is one request");
}
