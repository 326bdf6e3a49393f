use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use push_core::id::NotificationId;
use push_core::job::GiveUpReason;
use push_core::notification::Notification;
use push_core::provider::Provider;

use super::Db;
use super::seed::{customer, given_up, gives_up, later, sent};
use crate::{
    DeadLetterId, DeadLetterRecord, Filter, How, NewOperation, OperationId, OperationState,
    OperationView, Replay, ReplayedJob, Step, Store, Work,
};

const REPLAY: Work = Work::Replay {
    extend_ttl_seconds: None,
};

fn operation(work: Work, filter: Filter) -> NewOperation {
    NewOperation {
        work,
        filter,
        per_second: 1_000,
        by: "ops".to_owned(),
    }
}

fn how(waited: DeadLetterId) -> How {
    How {
        step: Step::Full,
        waited,
        due_after: Duration::from_secs(60),
    }
}

impl Db {
    /// Given up for the device 7, each.
    async fn all_dead(&self, notifications: &[Notification]) {
        for some in notifications.chunks(100) {
            let letters: Vec<_> = some
                .iter()
                .map(|n| DeadLetterRecord::Job {
                    job: Box::new(gives_up(n, 1).1),
                    reason: GiveUpReason::Unprocessable,
                })
                .collect();
            self.store
                .record_dead_letters(&letters, later(10))
                .await
                .unwrap();
        }
    }

    async fn operation(&self, id: OperationId) -> OperationView {
        self.store.operation(id).await.unwrap().unwrap()
    }
}

/// Takes every step that there is, as a worker does whose clock runs fast; what is to be published.
async fn work(store: &Store, most: usize) -> Vec<ReplayedJob> {
    let (mut jobs, mut waited, mut now) = (Vec::new(), DeadLetterId(0), later(1_000));
    for _ in 0..most {
        now += TimeDelta::seconds(2);
        let running = store.running_operations(now).await.unwrap();
        if running.is_empty() {
            break;
        }
        for running in running {
            let taken = store.take_step(&running, &how(waited), now).await.unwrap();
            if let Some(taken) = taken {
                waited = taken.waited;
                jobs.extend(taken.jobs);
            }
        }
    }
    jobs
}

fn unique(jobs: &[ReplayedJob]) -> usize {
    let ids: HashSet<NotificationId> = jobs.iter().map(|job| job.job.notification.id).collect();
    ids.len()
}

#[tokio::test]
async fn several_who_run_the_same_operations_replay_each_letter_once() {
    const LETTERS: usize = 2_000;
    let db = Db::new().await;
    let all = db.accepted(LETTERS).await;
    db.all_dead(&all).await;
    assert_eq!(
        db.store
            .count_open_dead_letters(&Filter::default())
            .await
            .unwrap(),
        LETTERS as u64
    );
    // Two operations about the same letters, three workers that all believe to be the one.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let new = operation(REPLAY, Filter::default());
        ids.push(db.store.start_operation(new, later(100)).await.unwrap());
    }
    let (second, third) = (db.replica().await, db.replica().await);
    let (a, b, c) = tokio::join!(
        work(&db.store, usize::MAX),
        work(&second, usize::MAX),
        work(&third, usize::MAX)
    );
    let jobs = [a, b, c].concat();
    assert_eq!((jobs.len(), unique(&jobs)), (LETTERS, LETTERS));
    let views = [db.operation(ids[0]).await, db.operation(ids[1]).await];
    for view in &views {
        assert_eq!(
            (view.state, view.total),
            (OperationState::Done, LETTERS as u64)
        );
        assert_eq!(
            view.done + view.failed,
            view.total,
            "the books of an operation: {view:?}"
        );
        assert!(view.finished_at.is_some());
        let expected = BTreeMap::from([("already_handled".to_owned(), view.failed)]);
        assert!(view.failed == 0 || view.failures == expected, "{view:?}");
    }
    assert_eq!(views[0].done + views[1].done, LETTERS as u64);
    let books = db.store.books(later(0)).await.unwrap();
    assert_eq!((books.pending, books.leaked), (LETTERS as u64, 0));
    assert_eq!(
        db.store.operations(None, 10).await.unwrap()[0].id,
        ids[1],
        "newest first"
    );
    assert_eq!(
        db.store.operations(Some(ids[1]), 10).await.unwrap().len(),
        1
    );
    second.close().await;
    third.close().await;
    db.done().await;
}

#[tokio::test]
async fn what_came_later_is_not_meant_and_what_cannot_be_replayed_is_counted() {
    let db = Db::new().await;
    let n = db.accepted(6).await;
    db.all_dead(&n[..4]).await;
    // One has expired, one was erased, one is somebody else's.
    for (n, change) in [
        (&n[0], "expires_at = '2026-09-21 14:00:00'"),
        (&n[1], "title = '', body = ''"),
        (&n[2], "customer_id = 77"),
    ] {
        let sql = format!("UPDATE notification_history SET {change} WHERE notification_id = ?");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(n.id.as_uuid())
            .execute(&db.store.pool)
            .await
            .unwrap();
    }
    db.execute("UPDATE dead_letters SET customer_id = 77 ORDER BY id DESC LIMIT 1")
        .await;
    let filter = Filter {
        customer: Some(customer(1)),
        reason: Some(GiveUpReason::OperatorMustAct),
        provider: Some(Provider::Fcm),
        ..Filter::default()
    };
    let id = db
        .store
        .start_operation(operation(REPLAY, filter.clone()), later(100))
        .await
        .unwrap();
    db.all_dead(&n[4..]).await;
    let jobs = work(&db.store, 100).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].job.notification.id, n[2].id);
    let view = db.operation(id).await;
    assert_eq!(
        (view.state, view.total, view.done, view.failed),
        (OperationState::Done, 3, 1, 2)
    );
    let failures =
        [("content_gone", 1), ("expired", 1)].map(|(why, count)| (why.to_owned(), count));
    assert_eq!(view.failures, BTreeMap::from(failures));
    assert_eq!(view.by.as_deref(), Some("ops"));
    assert_eq!(view.filter.customer, filter.customer);
    assert_eq!(
        db.one("SELECT COUNT(*) FROM dead_letters WHERE state = 'open'")
            .await,
        5
    );
    db.done().await;
}

#[tokio::test]
async fn letters_of_a_notification_that_is_pending_wait_for_their_turn() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let (settlement, mut job) = gives_up(&n[0], 1);
    job.progress.given_up.push(given_up(8));
    db.record(&[settlement], later(0), Duration::ZERO)
        .await
        .unwrap();
    let letter = DeadLetterRecord::Job {
        job: Box::new(job),
        reason: GiveUpReason::Unprocessable,
    };
    db.store
        .record_dead_letters(&[letter], later(10))
        .await
        .unwrap();
    db.all_dead(&n[1..]).await;
    let how = Replay {
        by: "night".to_owned(),
        extend_ttl: None,
        due_after: Duration::from_secs(60),
    };
    let first = db
        .store
        .replay_dead_letter(DeadLetterId(1), &how, later(20))
        .await
        .unwrap();
    assert!(first.is_ok());
    let id = db
        .store
        .start_operation(operation(REPLAY, Filter::default()), later(100))
        .await
        .unwrap();
    assert_eq!(
        unique(&work(&db.store, 5).await),
        1,
        "the other notification's"
    );
    let view = db.operation(id).await;
    assert_eq!(
        (view.state, view.total, view.done, view.waiting),
        (OperationState::Running, 2, 1, 1)
    );
    db.record(&[sent(&n[0], 3)], later(700), Duration::ZERO)
        .await
        .unwrap();
    let jobs = work(&db.store, 5).await;
    assert_eq!((jobs.len(), jobs[0].job.notification.id), (1, n[0].id));
    let view = db.operation(id).await;
    assert_eq!(
        (view.state, view.done, view.failed, view.waiting),
        (OperationState::Done, 2, 0, 0)
    );
    db.done().await;
}

#[tokio::test]
async fn a_cancelled_operation_stops_where_it_is() {
    let db = Db::new().await;
    db.all_dead(&db.accepted(700).await).await;
    let discard = Work::Discard {
        reason: "a load test".to_owned(),
    };
    let id = db
        .store
        .start_operation(operation(discard, Filter::default()), later(100))
        .await
        .unwrap();
    assert!(db.store.any_operation(later(0)).await.unwrap());
    let seen = db.store.running_operations(later(0)).await.unwrap();
    assert!(work(&db.store, 1).await.is_empty());
    // Who has not seen that step takes none.
    let stale = db
        .store
        .take_step(&seen[0], &how(DeadLetterId(0)), later(0))
        .await;
    assert_eq!(stale.unwrap(), None);
    assert!(db.store.cancel_operation(id, later(5_000)).await.unwrap());
    assert!(!db.store.cancel_operation(id, later(6_000)).await.unwrap());
    work(&db.store, 10).await;
    let view = db.operation(id).await;
    assert_eq!(
        (view.state, view.total, view.done),
        (OperationState::Cancelled, 700, 250)
    );
    assert_eq!(view.finished_at, Some(later(5_000)));
    let discarded = "SELECT COUNT(*) FROM dead_letters WHERE discarded_by = 'ops' AND discard_reason = 'a load test'";
    assert_eq!(db.one(discarded).await, 250);
    assert!(!db.store.any_operation(later(0)).await.unwrap());
    db.done().await;
}

/// At its pace, also when another worker goes on with it.
#[tokio::test]
async fn the_next_step_is_due_when_the_last_ones_letters_are_paid_for() {
    let db = Db::new().await;
    db.all_dead(&db.accepted(100).await).await;
    let slow = NewOperation {
        per_second: 20,
        ..operation(REPLAY, Filter::default())
    };
    db.store.start_operation(slow, later(100)).await.unwrap();
    let first = db
        .store
        .running_operations(later(0))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(first.next_at, None);
    let taken = db
        .store
        .take_step(&first, &how(DeadLetterId(0)), later(1_000))
        .await
        .unwrap();
    assert_eq!(taken.unwrap().done, 5);
    let second = db
        .store
        .running_operations(later(0))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        second.next_at,
        Some(later(1_250)),
        "5 letters at 20 a second"
    );
    let one = How {
        step: Step::SkipOne,
        ..how(DeadLetterId(0))
    };
    let taken = db
        .store
        .take_step(&second, &one, later(1_250))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (taken.done, taken.failed),
        (0, 1),
        "left as it is, and counted"
    );
    assert_eq!(
        db.one("SELECT COUNT(*) FROM dead_letters WHERE state = 'open'")
            .await,
        95
    );
    db.done().await;
}
