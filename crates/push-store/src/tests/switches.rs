use push_core::ladder::RetryDelay;
use push_core::lane::{LaneReport, LaneState, WorkerReport};
use push_core::provider::Provider;
use uuid::Uuid;

use super::Db;
use crate::Switch;

#[tokio::test]
async fn a_switch_names_who_changed_it_and_doing_it_twice_changes_nothing() {
    let db = Db::new().await;
    assert_eq!(db.store.switches().await.unwrap().fcm, Switch::default());
    db.store.switch(Provider::Fcm, true, "anna").await.unwrap();
    let first = db.store.switches().await.unwrap();
    assert!(first.fcm.paused && !first.expo.paused);
    assert_eq!(first.fcm.changed_by.as_deref(), Some("anna"));
    db.store.switch(Provider::Fcm, true, "ben").await.unwrap();
    assert_eq!(db.store.switches().await.unwrap(), first);
    db.store.switch(Provider::Fcm, false, "ben").await.unwrap();
    let resumed = db.store.switches().await.unwrap().fcm;
    assert!(!resumed.paused);
    assert_eq!(resumed.changed_by.as_deref(), Some("ben"));
    assert!(resumed.changed_at >= first.fcm.changed_at);
    db.done().await;
}

#[tokio::test]
async fn workers_that_say_nothing_are_ignored_and_then_removed() {
    let db = Db::new().await;
    let report = WorkerReport {
        lanes: vec![LaneReport {
            provider: Provider::Fcm,
            state: LaneState::Broken,
            in_flight: 3,
            limit: 10,
        }],
        retry_delays: vec![RetryDelay::parse("10s").unwrap()],
        receipt_delays: vec![],
    };
    let [one, two] = [Uuid::new_v4(), Uuid::new_v4()];
    for worker in [one, two, one] {
        db.store.report_worker(worker, &report).await.unwrap();
    }
    let age = async |worker: Uuid, seconds: u32| {
        let worker = worker.simple();
        let update = format!(
            "UPDATE worker_reports SET seen_at = NOW(3) - INTERVAL {seconds} SECOND WHERE worker = UNHEX('{worker}')"
        );
        sqlx::query(sqlx::AssertSqlSafe(update))
            .execute(&db.store.pool)
            .await
            .unwrap();
    };
    age(one, 5).await;
    age(two, 11).await;
    let seen = db.store.workers().await.unwrap();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].age.as_secs() >= 5, "{:?}", seen[0]);
    assert_eq!((seen[0].worker, &seen[0].report), (one, &report));
    age(two, 61).await;
    db.store.report_worker(one, &report).await.unwrap();
    assert_eq!(db.one("SELECT COUNT(*) FROM worker_reports").await, 1);
    db.store.forget_worker(one).await.unwrap();
    assert!(db.store.workers().await.unwrap().is_empty());
    db.done().await;
}
