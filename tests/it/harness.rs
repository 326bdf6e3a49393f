//! The harness can fail: what it looks for at the end of every test is found when it is there.

use push_tests::{Broker, Stack, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "an error that nobody announced")]
async fn an_error_in_the_log_that_nobody_announced_fails_the_test() {
    let stack = Stack::start().await;
    stack
        .broker
        .publish(Broker::JOBS, b"garbage", lapin::BasicProperties::default())
        .await;
    eventually("the garbage has its row", async || {
        (stack.database.count("dead_letters").await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "tells \"sendToCustomer\"")]
async fn a_secret_in_the_log_fails_the_test() {
    let stack = Stack::start().await;
    stack.know_customer(1).await;
    stack.keep_secret("sendToCustomer");
    assert_eq!(stack.send(1).wait(20).answer().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "settled_total")]
async fn a_notification_that_the_metrics_do_not_know_fails_the_test() {
    let stack = Stack::start().await;
    stack
        .database
        .execute(
            "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, status, fcm_result, expo_result, \
             reason, completed_at) VALUES (UNHEX(REPLACE(UUID(), '-', '')), 1, 'x', 'x', 'x', 'suppressed', 'not_sent', 'not_sent', 'expired', NOW(3))",
        )
        .await;
}
