use std::time::Duration;

use push_core::id::NotificationId;
use push_core::job::GiveUpReason;
use push_core::provider::Provider;
use push_core::settle::{Next, Settlement};
use push_core::status::{ProviderResult, Reason, Status};
use push_core::timeline::Step;
use tokio::task::JoinSet;

use super::Db;
use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{gives_up, later, results, sent, waits};
use crate::{
    Cancelling, Claim, ClaimId, DeadLetterRecord, Due, Kept, Recording, Store, TimelineView,
};

const LONG: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(60);

async fn claim(store: &Store, by: ClaimId, notification: NotificationId, round: u32) -> bool {
    let claims = [Claim {
        notification,
        round,
    }];
    let claimed = store.claim(by, &claims, LONG).await.unwrap();
    claimed[&notification].claimed.ours
}

impl Db {
    async fn cancel(&self, id: NotificationId) -> Cancelling {
        self.store.cancel(id, "booking", later(500)).await.unwrap()
    }

    async fn ended(&self, settlement: &Settlement) {
        self.record(std::slice::from_ref(settlement), later(0), GRACE)
            .await
            .unwrap();
    }

    /// Nobody publishes it any more, and no claim gets it.
    async fn is_over(&self, id: NotificationId) {
        for which in [Due::Timed, Due::Unpublished, Due::Overdue] {
            let due = self.due(which, later(99_999_999), 100).await;
            assert!(due.iter().all(|due| due.job.notification.id != id));
        }
        assert!(!claim(&self.store, ClaimId::generate(), id, 9).await);
    }
}

#[tokio::test]
async fn what_waits_is_taken_back_and_says_by_whom() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    // One was never tried, one was tried in vain, one is on its way to the dead letters.
    db.ended(&waits(&n[1], 1)).await;
    db.ended(&gives_up(&n[2], 1).0).await;
    for (notification, fcm) in n.iter().zip([
        ProviderResult::NotSent,
        ProviderResult::Failed,
        ProviderResult::Failed,
    ]) {
        let Cancelling::Now(state) = db.cancel(notification.id).await else {
            panic!("it is not taken back");
        };
        assert_eq!(
            (state.status, state.reason, state.fcm),
            (Status::Suppressed, Some(Reason::Cancelled), fcm)
        );
        let view = db.store.notification(notification.id).await.unwrap();
        let view = view.unwrap();
        assert_eq!(
            (view.state.status, view.state.reason, view.state.fcm),
            (state.status, state.reason, fcm)
        );
        assert_eq!(view.completed_at, Some(later(500)));
        let told = view.timeline.iter().rev().take(2);
        let told: Vec<_> = told.map(|entry| entry.step.as_str()).collect();
        assert_eq!(told, [Step::Settled.as_str(), Step::Cancelled.as_str()]);
        assert!(
            view.timeline
                .iter()
                .any(|entry| entry.text == "cancelled by booking")
        );
        assert_eq!(
            db.cancel(notification.id).await,
            Cancelling::Before(view.state),
            "once more changes nothing"
        );
        db.is_over(notification.id).await;
    }
    // The dead letter that was on its way is not kept: it must not be replayed.
    let record = DeadLetterRecord::Job {
        job: Box::new(gives_up(&n[2], 1).1),
        reason: GiveUpReason::Unprocessable,
    };
    let kept = db.store.record_dead_letters(&[record], later(600)).await;
    assert_eq!(kept.unwrap(), [Kept::Not]);
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 0);
    let books = db.store.books(later(0)).await.unwrap();
    assert_eq!((books.accepted, books.suppressed, books.pending), (3, 3, 0));
    db.done().await;
}

#[tokio::test]
async fn what_a_device_has_accepted_stays_sent() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let mut settlement = waits(n, 1);
    settlement.results = results(ProviderResult::Success, ProviderResult::Queued);
    if let Next::Wait(_, job) = &mut settlement.next {
        job.progress.results = settlement.results;
        job.targets
            .iter_mut()
            .flatten()
            .for_each(|target| target.provider = Provider::Expo);
    }
    db.ended(&settlement).await;
    let Cancelling::Now(state) = db.cancel(n.id).await else {
        panic!("it is not taken back");
    };
    assert_eq!(
        (state.status, state.reason, state.fcm, state.expo),
        (
            Status::Sent,
            None,
            ProviderResult::Success,
            ProviderResult::Failed
        )
    );
    assert_eq!(db.sent_at(n.id).await, Some(later(500)));
    assert!(matches!(db.cancel(n.id).await, Cancelling::Before(_)));
    db.is_over(n.id).await;
    let books = db.store.books(later(0)).await.unwrap();
    assert_eq!((books.sent, books.pending), (1, 0));
    db.done().await;
}

#[tokio::test]
async fn what_a_worker_has_in_hand_is_waited_for_and_what_has_ended_is_not_taken_back() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let by = ClaimId::generate();
    assert!(claim(&db.store, by, n[0].id, 1).await);
    assert_eq!(db.cancel(n[0].id).await, Cancelling::InDelivery);
    let rounds = under(by, &[sent(&n[0], 1)]);
    let recorded = db.store.record(&rounds, later(0), GRACE, RECEIPTS_AFTER);
    assert_eq!(recorded.await.unwrap(), [Recording::Recorded]);
    let Cancelling::TooLate(state) = db.cancel(n[0].id).await else {
        panic!("it was sent");
    };
    assert_eq!(state.status, Status::Sent);
    assert_eq!(
        db.cancel(NotificationId::generate()).await,
        Cancelling::Unknown
    );

    // Its owner was killed; should it come back after all, its record does not count.
    let late = ClaimId::generate();
    assert!(claim(&db.store, late, n[1].id, 1).await);
    db.execute("UPDATE notification_history SET claimed_until = NOW(3) - INTERVAL 1 SECOND WHERE claimed_until IS NOT NULL")
        .await;
    assert!(matches!(db.cancel(n[1].id).await, Cancelling::Now(_)));
    let view = db.store.notification(n[1].id).await.unwrap().unwrap();
    let interrupted = |entry: &TimelineView| entry.step == Step::Interrupted.as_str();
    assert!(view.timeline.iter().any(interrupted), "maybe sent already");
    let rounds = under(late, &[sent(&n[1], 1)]);
    let recorded = db.store.record(&rounds, later(600), GRACE, RECEIPTS_AFTER);
    assert_eq!(recorded.await.unwrap(), [Recording::Stale]);
    db.is_over(n[1].id).await;
    db.done().await;
}

/// P2, P8: either a worker gets it, or it is taken back.
#[tokio::test]
async fn of_a_claim_and_a_cancel_at_the_same_moment_one_wins() {
    let db = Db::new().await;
    let n = db.accepted(60).await;
    let (mut racing, mut cancelled) = (JoinSet::new(), 0);
    for notification in &n {
        let id = notification.id;
        let (store, other) = (db.store.clone(), db.store.clone());
        racing.spawn(async move {
            let (claimed, cancelling) = tokio::join!(
                claim(&store, ClaimId::generate(), id, 1),
                other.cancel(id, "booking", later(500))
            );
            (claimed, cancelling.unwrap())
        });
    }
    for (claimed, cancelling) in racing.join_all().await {
        match cancelling {
            Cancelling::Now(_) => {
                cancelled += 1;
                assert!(!claimed);
            }
            Cancelling::InDelivery => assert!(claimed),
            Cancelling::Before(_) | Cancelling::TooLate(_) | Cancelling::Unknown => {
                panic!("{cancelling:?}")
            }
        }
    }
    let books = db.store.books(later(0)).await.unwrap();
    assert_eq!(
        (books.suppressed, books.pending),
        (cancelled, 60 - cancelled)
    );
    db.done().await;
}
