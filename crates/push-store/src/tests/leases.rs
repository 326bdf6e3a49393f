use std::time::Duration;

use super::Db;

#[tokio::test]
async fn one_replica_has_the_lease_until_it_lets_go() {
    let db = Db::new().await;
    let other = db.replica().await;
    let mut lease = db.store.try_lease("reconciler").await.unwrap().unwrap();
    assert!(lease.still_held().await);
    assert!(other.try_lease("reconciler").await.unwrap().is_none());
    assert!(other.try_lease("another").await.unwrap().is_some());
    lease.release().await;
    assert!(other.try_lease("reconciler").await.unwrap().is_some());
    db.done().await;
}

#[tokio::test]
async fn a_lease_ends_with_its_owner() {
    let db = Db::new().await;
    let lease = db.store.try_lease("reconciler").await.unwrap().unwrap();
    drop(lease);
    let taken = async {
        while db.store.try_lease("reconciler").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // As soon as the server notices, which takes its time on a busy machine.
    let taken = tokio::time::timeout(Duration::from_secs(60), taken).await;
    assert!(taken.is_ok(), "a dropped lease is still held");
    db.done().await;
}

#[tokio::test]
async fn who_lost_its_connection_knows_that_the_lease_is_gone() {
    let db = Db::new().await;
    let mut lease = db.store.try_lease("reconciler").await.unwrap().unwrap();
    let id: i64 = db
        .one("SELECT CAST(IS_USED_LOCK(CONCAT('push.', LEFT(SHA2(DATABASE(), 256), 12), '.reconciler')) AS SIGNED)")
        .await;
    sqlx::query(sqlx::AssertSqlSafe(format!("KILL {id}")))
        .execute(&db.store.pool)
        .await
        .unwrap();
    assert!(!lease.still_held().await);
    db.done().await;
}

#[tokio::test]
async fn two_services_on_one_server_do_not_share_a_lease() {
    let (one, two) = (Db::new().await, Db::new().await);
    let held = one.store.try_lease("reconciler").await.unwrap();
    assert!(held.is_some());
    assert!(two.store.try_lease("reconciler").await.unwrap().is_some());
    one.done().await;
    two.done().await;
}
