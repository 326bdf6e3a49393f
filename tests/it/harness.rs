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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "push_books_out_of_balance")]
async fn books_that_do_not_balance_fail_the_test_even_where_a_program_was_killed() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.kill_worker().await;
    // One was counted that there is not.
    stack
        .database
        .execute(
            "INSERT INTO notification_counter_changes (changes) \
             VALUES ('[{\"hour\":1,\"type\":\"x\",\"counts\":{\"accepted\":1}}]')",
        )
        .await;
    eventually("the API knows", async || {
        let metrics = stack.metrics_of(&stack.apis[0]).await;
        let told = metrics.sum("push_books_out_of_balance", "");
        told.filter(|told| *told != 0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "stats")]
async fn figures_that_are_not_what_the_rows_say_fail_the_test() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.kill_worker().await;
    stack
        .database
        .execute(
            "INSERT INTO notification_counter_changes (changes) VALUES (CONCAT('[{\"hour\":', UNIX_TIMESTAMP() DIV 3600, \
             ',\"type\":\"x\",\"counts\":{\"accepted\":1,\"sent\":1}}]'))",
        )
        .await;
}
