use push_core::id::NotificationId;
use push_core::status::Status;
use uuid::Uuid;

use super::Db;
use super::seed::{later, sent, waits};
use crate::Claim;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

/// Whether `worker` has the notification in hand after it asked for it at `now`, for 30 s.
async fn takes(db: &Db, worker: Uuid, notification: NotificationId, round: u32, now: i64) -> bool {
    let claims = [Claim {
        notification,
        round,
    }];
    let claimed = db
        .store
        .claim(worker, &claims, later(now), later(now + 30_000));
    claimed.await.unwrap()[&notification].ours
}

#[tokio::test]
async fn one_worker_at_a_time_has_a_notification_in_hand() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    assert!(takes(&db, A, n.id, 1, 0).await);
    assert!(!takes(&db, B, n.id, 1, 29_999).await, "A has it");
    assert!(
        takes(&db, A, n.id, 1, 10).await,
        "A may ask again, and has it for longer"
    );
    assert!(!takes(&db, B, n.id, 1, 30_000).await, "A asked again");
    assert!(takes(&db, B, n.id, 1, 30_010).await, "A's claim is over");
    assert!(!takes(&db, A, n.id, 1, 30_011).await);
    db.done().await;
}

#[tokio::test]
async fn a_recorded_round_frees_the_next_and_can_no_longer_be_claimed() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    for notification in &n {
        assert!(takes(&db, A, notification.id, 1, 0).await);
    }
    let settled = [waits(&n[0], 1), sent(&n[1], 1)];
    db.store
        .record(&settled, later(0), std::time::Duration::from_secs(60))
        .await
        .unwrap();
    assert!(
        !takes(&db, B, n[0].id, 1, 0).await,
        "round 1 is no news any more"
    );
    assert!(takes(&db, B, n[0].id, 2, 0).await);
    assert!(!takes(&db, B, n[1].id, 2, 0).await, "it has ended");
    db.done().await;
}

#[tokio::test]
async fn a_claim_tells_what_is_recorded_and_leaves_strangers_out() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let stranger = NotificationId::generate();
    let claims = [n.id, stranger].map(|notification| Claim {
        notification,
        round: 1,
    });
    let claimed = db
        .store
        .claim(A, &claims, later(0), later(1))
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    let recorded = claimed[&n.id].recorded;
    assert_eq!((recorded.status, recorded.round), (Status::Pending, 0));
    assert!(
        db.store
            .claim(A, &[], later(0), later(1))
            .await
            .unwrap()
            .is_empty()
    );
    db.done().await;
}

#[tokio::test]
async fn of_many_workers_asking_at_once_one_gets_each() {
    let db = Db::new().await;
    let n = db.accepted(50).await;
    let claims: Vec<_> = n
        .iter()
        .map(|n| Claim {
            notification: n.id,
            round: 1,
        })
        .collect();
    let asking = (1..=4).map(|worker| {
        db.store
            .claim(Uuid::from_u128(worker), &claims, later(0), later(30_000))
    });
    let answers = futures::future::join_all(asking).await;
    for notification in &n {
        let owners = answers
            .iter()
            .filter(|claimed| claimed.as_ref().unwrap()[&notification.id].ours);
        assert_eq!(owners.count(), 1);
    }
    db.done().await;
}
