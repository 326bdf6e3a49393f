//! Content that is older than it is kept is emptied, and what became of it stays.

use push_tests::{Device, Provider, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_old_is_emptied_and_still_counts() {
    let mut stack = Stack::with()
        .env_worker("RETENTION_DAYS", "7")
        .start()
        .await;
    stack.all_ready().await;
    stack.expect_errors("an operator must act");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let old = stack.send(1).wait(20).answer().await.expect(200).id();
    let mismatch = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), mismatch).await;
    let dead = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&dead).await.reason, "dead_lettered");
    assert_eq!(stack.terminate_worker().await, Some(0));
    // They have got old.
    for table in ["notification_history", "dead_letters"] {
        let age = format!("UPDATE {table} SET created_at = created_at - INTERVAL 7 DAY");
        stack.database.execute(&age).await;
    }
    stack.start_worker().await;
    let letter = stack.database.dead_letters_of(&dead).await[0].id;
    eventually("they are emptied", async || {
        let full = "SELECT COUNT(*) FROM notification_history WHERE title <> ''";
        let letters = "SELECT COUNT(*) FROM dead_letters WHERE job IS NOT NULL";
        let (full, letters) = (
            stack.database.number(full).await,
            stack.database.number(letters).await,
        );
        (full == 0 && letters == 0).then_some(())
    })
    .await;
    let view = stack.notification(&old).await;
    assert_eq!(
        (
            &view["title"],
            &view["body"],
            &view["data"],
            &view["status"]
        ),
        (&json!(""), &json!(""), &json!({}), &json!("sent"))
    );
    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let refused = stack.api().post(&path, &json!({})).answer().await;
    assert_eq!(refused.expect(409).error_code(), "not_replayable");
    // The figures are by the time at which they were accepted.
    let back = "UPDATE notification_history SET created_at = created_at + INTERVAL 7 DAY";
    stack.database.execute(back).await;
    let fresh = stack.send(1).wait(20).answer().await.expect(200).id();
    assert_ne!(stack.notification(&fresh).await["title"], "");
}
