//! P6: one provider's trouble neither delays the other nor fills a worker.

use push_tests::{Broker, Device, Provider, Stack, eventually};
use serde_json::json;

async fn the_other_goes_on(down: Provider, mode: &str) {
    // Whoever waited for the other would wait until this is over.
    let stack = Stack::with()
        .env_worker("PREFETCH", "200")
        .env_worker("PROVIDER_TIMEOUT", "25s")
        .start()
        .await;
    let fcm = Device::android_fcm("android");
    let expo = Device::ios_expo("iphone");
    let (troubled, healthy) = if down == Provider::Fcm {
        (fcm, expo)
    } else {
        (expo, fcm)
    };
    stack.register(1, troubled).await;
    stack.register(2, healthy).await;
    let answer = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent");
    stack.sim.outage(down, mode).await;
    let stuck = stack.send_many(1, 40).await;
    for _ in 0..5 {
        let answer = stack.send(2).wait(20).answer().await;
        assert_eq!(
            answer.status, 200,
            "{down:?} is {mode}, and the other waits for it: {}",
            answer.text
        );
        assert_eq!(answer.json["status"], "sent");
    }
    for id in &stuck {
        assert_ne!(stack.database.history(id).await.unwrap().status, "sent");
    }
    stack.sim.outage(down, "ok").await;
    for id in &stuck {
        let row = stack.settled(id).await;
        assert_eq!(row.status, "sent", "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn expo_goes_on_while_fcm_hangs() {
    the_other_goes_on(Provider::Fcm, "hang").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fcm_goes_on_while_expo_hangs() {
    the_other_goes_on(Provider::Expo, "hang").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn expo_goes_on_while_googles_token_endpoint_is_down() {
    let stack = Stack::with()
        .env_worker("RETRY_DELAYS", "500ms,1s,2s,4s,10m")
        .start()
        .await;
    stack.all_ready().await;
    let android = stack.register(1, Device::android_fcm("android")).await;
    stack.register(2, Device::ios_expo("iphone")).await;
    stack.sim.outage(Provider::Oauth, "503").await;
    let waiting = stack.send(1).accepted().await;
    for _ in 0..3 {
        assert_eq!(
            stack.send(2).wait(20).answer().await.expect(200).json["status"],
            "sent"
        );
    }
    stack.sim.outage(Provider::Oauth, "ok").await;
    let row = eventually("it is settled", async || {
        // On a slow machine it has climbed to the last rung by now: ten minutes pass.
        if let Some((job, properties)) = stack.broker.take("push.retry.10m").await {
            stack.broker.publish(Broker::JOBS, &job, properties).await;
        }
        let row = stack.database.history(&waiting).await;
        row.filter(|row| row.status != "pending")
    })
    .await;
    assert_eq!(row.status, "sent", "{row:?}");
    assert_eq!(stack.sim.rings(&android, &waiting).await, 1);
    let view = stack.notification(&waiting).await;
    assert_eq!(
        view["deliveries"][0]["maybeDelivered"],
        json!(false),
        "FCM was not even asked"
    );
}
