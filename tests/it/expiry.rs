//! P3: what is past its time is not sent any more.

use push_tests::{Device, Provider, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_past_its_time_is_not_sent() {
    let mut stack = Stack::with()
        .env_worker("RETRY_DELAYS", "10m")
        .start()
        .await;
    stack.all_ready().await;
    // Its next attempt would come too late: it ends at once.
    let retried = stack.register(1, Device::android_fcm("retried")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            retried.fcm(),
            json!([{"case": "unavailable"}]),
        )
        .await;
    let id = stack.send(1).with("ttlSeconds", 300).accepted().await;
    let row = stack.settled(&id).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str(), row.attempts),
        ("failed", "dead_lettered", 1)
    );
    assert_eq!(stack.sim.sends(Provider::Fcm, retried.fcm()).await, 1);
    let letters = stack.database.dead_letters_of(&id).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason.as_str(), letters[0].attempts),
        ("expired", 1)
    );

    // No time at all: it ends as it is accepted, and no queue ever sees it.
    let phone = stack.register(2, Device::android_fcm("late")).await;
    let published = stack.metrics_of(&stack.apis[0]).await;
    let published = published.sum("push_jobs_published_total", "confirmed");
    let answer = stack.send(2).with("ttlSeconds", 0).wait(5).answer().await;
    let answer = answer.expect(200);
    assert_eq!(
        (&answer.json["status"], &answer.json["reason"]),
        (&json!("suppressed"), &json!("expired"))
    );
    let view = stack.notification(&answer.id()).await;
    let steps: Vec<_> = view["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["accepted", "expired", "settled"], "{view}");
    let since = stack.metrics_of(&stack.apis[0]).await;
    let since = since.sum("push_jobs_published_total", "confirmed");
    assert_eq!(published, since, "nothing was published");

    // Its time ran out in the queue, while no worker was there.
    assert_eq!(stack.terminate_worker().await, Some(0));
    let late = stack.send(2).with("ttlSeconds", 1).accepted().await;
    let fresh = stack.send(2).accepted().await;
    eventually("its time is over", async || {
        let over = format!(
            "SELECT COUNT(*) FROM notification_history WHERE expires_at < NOW(3) AND notification_id = UNHEX('{}')",
            late.replace('-', "")
        );
        (stack.database.number(&over).await == 1).then_some(())
    })
    .await;
    stack.start_worker().await;
    let row = stack.settled(&late).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str(), row.attempts),
        ("suppressed", "expired", 0)
    );
    assert_eq!(stack.settled(&fresh).await.status, "sent");
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 1);
    assert_eq!(
        stack.database.count("dead_letters").await,
        1,
        "what was never tried is no dead letter"
    );
}
