use std::time::Duration;

use push_core::admit::Claimed;
use push_core::id::NotificationId;
use push_core::status::Status;

use super::Db;
use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{later, registration, sent, waits};
use crate::{Claim, ClaimId, Held, Recording};

const LONG: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(60);

/// What a worker learns that asks for a round under this claim.
async fn asks(db: &Db, by: ClaimId, notification: NotificationId, round: u32) -> Claimed {
    let claims = [Claim {
        notification,
        round,
    }];
    let claimed = db.store.claim(by, &claims, LONG);
    claimed.await.unwrap()[&notification].claimed
}

/// As if the owner of every claim had been killed, long ago.
async fn time_passes(db: &Db) {
    let over = "UPDATE notification_history SET claimed_until = NOW(3) - INTERVAL 1 SECOND \
                WHERE claimed_until IS NOT NULL";
    db.execute(over).await;
}

#[tokio::test]
async fn one_worker_at_a_time_has_a_notification_in_hand() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let (a, b) = (ClaimId::generate(), ClaimId::generate());
    assert!(asks(&db, a, n.id, 1).await.ours);
    assert!(!asks(&db, b, n.id, 1).await.ours, "A has it");
    let again = asks(&db, a, n.id, 1).await;
    assert!(again.ours, "the answer was lost, and A asks again");
    assert_eq!(again.interruptions, 0);
    time_passes(&db).await;
    let taken_over = asks(&db, b, n.id, 1).await;
    assert!(taken_over.ours, "A's claim is over");
    assert_eq!(taken_over.interruptions, 1, "and A may have sent it");
    assert!(!asks(&db, a, n.id, 1).await.ours);
    time_passes(&db).await;
    assert_eq!(asks(&db, a, n.id, 1).await.interruptions, 2);
    db.done().await;
}

#[tokio::test]
async fn a_claim_lasts_for_as_long_as_it_is_renewed() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let (a, b) = (ClaimId::generate(), ClaimId::generate());
    for notification in &n {
        assert!(asks(&db, a, notification.id, 1).await.ours);
    }
    let held = |notification: NotificationId, claim| Held {
        notification,
        claim,
        sent: true,
    };
    time_passes(&db).await;
    assert!(asks(&db, b, n[1].id, 1).await.ours);
    let settled = [sent(&n[2], 1)];
    let recorded = db
        .store
        .record(&under(a, &settled), later(0), GRACE, RECEIPTS_AFTER)
        .await;
    assert_eq!(recorded.unwrap(), [Recording::Recorded], "nobody took it");
    let all: Vec<_> = n.iter().map(|n| held(n.id, a)).collect();
    db.store.renew_claims(&all, LONG).await.unwrap();
    assert!(!asks(&db, b, n[0].id, 1).await.ours, "A renewed it");
    assert!(asks(&db, b, n[1].id, 1).await.ours, "it is B's");
    let left = "SELECT COUNT(*) FROM notification_history WHERE claimed_until IS NOT NULL";
    assert_eq!(db.one(left).await, 2, "what is recorded is in no hand");
    db.done().await;
}

#[tokio::test]
async fn what_is_let_go_is_free_at_once_and_tells_whether_it_may_have_been_sent() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let (a, b) = (ClaimId::generate(), ClaimId::generate());
    for notification in &n {
        assert!(asks(&db, a, notification.id, 1).await.ours);
    }
    let held = [(n[0].id, a, true), (n[1].id, a, false), (n[2].id, b, true)];
    let held = held.map(|(notification, claim, sent)| Held {
        notification,
        claim,
        sent,
    });
    db.store.let_go(&held).await.unwrap();
    let sent = asks(&db, b, n[0].id, 1).await;
    assert_eq!((sent.ours, sent.interruptions), (true, 1));
    let untouched = asks(&db, b, n[1].id, 1).await;
    assert_eq!((untouched.ours, untouched.interruptions), (true, 0));
    assert!(!asks(&db, b, n[2].id, 1).await.ours, "not B's to let go");
    db.done().await;
}

#[tokio::test]
async fn only_the_record_of_the_owner_counts() {
    let db = Db::new().await;
    let n = db.accepted(1).await.remove(0);
    let (a, b) = (ClaimId::generate(), ClaimId::generate());
    assert!(asks(&db, a, n.id, 1).await.ours);
    time_passes(&db).await;
    assert!(asks(&db, b, n.id, 1).await.ours);
    let late = [waits(&n, 1)];
    let record = async |claim, settlements: &[_]| {
        let recorded = db
            .store
            .record(&under(claim, settlements), later(0), GRACE, RECEIPTS_AFTER)
            .await;
        recorded.unwrap()[0]
    };
    assert_eq!(record(a, &late).await, Recording::Stale);
    assert!(!asks(&db, a, n.id, 1).await.ours, "B's claim still holds");
    assert_eq!(record(b, &late).await, Recording::Recorded);
    // The answer to the commit was lost: the same record again is known as one's own.
    assert_eq!(record(b, &late).await, Recording::Recorded);
    assert_eq!(record(a, &late).await, Recording::Stale);
    let rows = "SELECT COUNT(*) FROM notification_history WHERE round = 1 AND interruptions = 0";
    assert_eq!(db.one(rows).await, 1);
    db.done().await;
}

#[tokio::test]
async fn a_recorded_round_frees_the_next_and_can_no_longer_be_claimed() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    db.record(&[waits(&n[0], 1), sent(&n[1], 1)], later(0), GRACE)
        .await
        .unwrap();
    let by = ClaimId::generate();
    let stale = asks(&db, by, n[0].id, 1).await;
    assert!(!stale.ours, "round 1 is no news any more");
    let next = asks(&db, by, n[0].id, 2).await;
    assert_eq!((next.ours, next.interruptions), (true, 0));
    assert!(!asks(&db, by, n[1].id, 2).await.ours, "it has ended");
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
    let by = ClaimId::generate();
    let claimed = db.store.claim(by, &claims, LONG).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let recorded = claimed[&n.id].claimed.recorded;
    assert_eq!((recorded.status, recorded.round), (Status::Pending, 0));
    assert!(db.store.claim(by, &[], LONG).await.unwrap().is_empty());
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
    let asking = (0..4).map(|_| db.store.claim(ClaimId::generate(), &claims, LONG));
    let answers = futures::future::join_all(asking).await;
    for notification in &n {
        let owners = answers
            .iter()
            .filter(|claimed| claimed.as_ref().unwrap()[&notification.id].claimed.ours);
        assert_eq!(owners.count(), 1);
    }
    db.done().await;
}

#[tokio::test]
async fn a_claim_tells_at_which_version_the_customer_is() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let claims = [Claim {
        notification: n.id,
        round: 1,
    }];
    let version = async || {
        let claiming = db.store.claim(ClaimId::generate(), &claims, LONG).await;
        claiming.unwrap()[&n.id].version.0
    };
    assert_eq!(version().await, 0);
    let device = registration(n.customer.get(), Some("d"), Some("a"), None);
    db.store.register(&device, later(0)).await.unwrap();
    assert_eq!(
        version().await,
        1,
        "also where somebody else has it in hand"
    );
    db.done().await;
}
