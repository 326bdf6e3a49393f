use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::job::Job;
use push_core::timeline::Step;

use super::Db;
use super::seed::{entry, gives_up, later, sent, waits};
use crate::{Due, DueJob};

impl Db {
    /// What is due, which stays so.
    pub(super) async fn due(&self, which: Due, now: DateTime<Utc>, limit: u32) -> Vec<DueJob> {
        let taken = self.store.take_due(which, now, now, limit).await;
        taken.unwrap()
    }

    async fn take_due(&self, before: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DueJob> {
        let taken = self.store.take_due(Due::Overdue, before, until, 10).await;
        taken.unwrap()
    }
}

#[tokio::test]
async fn what_no_queue_ever_got_becomes_due() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    assert!(db.due(Due::Overdue, later(59_999), 10).await.is_empty());
    assert_eq!(db.due(Due::Overdue, later(60_000), 10).await.len(), 3);
    assert_eq!(db.due(Due::Overdue, later(60_000), 2).await.len(), 2);
    db.store
        .mark_unpublished(&[n[1].id], later(500))
        .await
        .unwrap();
    let overdue = db.due(Due::Overdue, later(60_000), 10).await;
    assert_eq!(overdue.len(), 2, "not the one that needs no proof");
    let due = db.due(Due::Unpublished, later(500), 10).await;
    assert_eq!(due.len(), 1);
    assert_eq!(
        (&due[0].job, due[0].due_at),
        (&Job::first(n[1].clone()), later(500))
    );
    db.done().await;
}

#[tokio::test]
async fn a_retry_that_was_not_published_still_waits_its_time() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let (gives_up, dead) = gives_up(&n[1], 1);
    let batch = [waits(&n[0], 1), gives_up, sent(&n[2], 1)];
    db.record(&batch, later(0), Duration::from_secs(60))
        .await
        .unwrap();
    let ids: Vec<_> = n.iter().map(|n| n.id).collect();
    db.store.mark_unpublished(&ids, later(10)).await.unwrap();
    let due = db.due(Due::Unpublished, later(9_999), 10).await;
    assert_eq!(due.len(), 1, "the dead letter, at once");
    assert_eq!(due[0].job, dead);
    let due = db.due(Due::Unpublished, later(10_000), 10).await;
    assert_eq!(due.len(), 1, "the retry after its 10 s");
    assert_eq!(due[0].job.notification.id, n[0].id);
    db.done().await;
}

#[tokio::test]
async fn what_was_published_again_is_left_alone_for_a_while_and_says_so() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    db.record(&[sent(&n[1], 1)], later(0), Duration::from_secs(60))
        .await
        .unwrap();
    let ids: Vec<_> = n.iter().map(|n| n.id).collect();
    let told = entry(
        Step::Republished,
        "published again: no queue knew it any more",
    );
    let taken = db.take_due(later(60_000), later(120_000)).await;
    assert_eq!(taken.len(), 1, "not what has ended");
    db.store.tell(&ids, &told).await.unwrap();
    assert!(db.due(Due::Overdue, later(119_999), 10).await.is_empty());
    assert_eq!(
        db.due(Due::Overdue, later(120_000), 10).await.len(),
        1,
        "not what has ended"
    );
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    assert_eq!(view.timeline.last().unwrap().text, told.text);
    let ended = db.store.notification(n[1].id).await.unwrap().unwrap();
    assert_eq!(ended.timeline.last().unwrap().step, Step::Settled.as_str());
    // A timeline does not grow for ever.
    db.execute(
        "UPDATE notification_history SET timeline = CONCAT(timeline, REPEAT('\\n', 300000))",
    )
    .await;
    let before = db
        .one(
            "SELECT SUM(LENGTH(timeline)) DIV 1 FROM notification_history WHERE status = 'pending'",
        )
        .await;
    db.store.tell(&ids, &told).await.unwrap();
    let after = db
        .one(
            "SELECT SUM(LENGTH(timeline)) DIV 1 FROM notification_history WHERE status = 'pending'",
        )
        .await;
    assert_eq!(before, after);
    db.done().await;
}

#[tokio::test]
async fn the_next_round_is_always_news_to_the_worker() {
    let db = Db::new().await;
    db.accepted(1).await;
    db.execute("UPDATE notification_history SET round = 4")
        .await;
    assert_eq!(db.due(Due::Overdue, later(60_000), 1).await[0].job.round, 5);
    db.done().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_keep_the_others_waiting() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    db.execute("UPDATE notification_history SET next_job = '{\"v\":99}', due_at = '2000-01-01' ORDER BY id LIMIT 1").await;
    assert!(db.due(Due::Overdue, later(60_000), 1).await.is_empty());
    let due = db.due(Due::Overdue, later(60_000), 1).await;
    assert_eq!(due[0].job, Job::first(n[1].clone()));
    assert_eq!(
        db.due(Due::Overdue, later(60_000 + 3_600_000), 10)
            .await
            .len(),
        1,
        "it is still kept"
    );
    db.done().await;
}

#[tokio::test]
async fn one_that_somebody_keeps_locked_does_not_keep_the_others_waiting() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let mut owner = db.store.pool.begin().await.unwrap();
    sqlx::query("SELECT id FROM notification_history WHERE notification_id = ? FOR UPDATE")
        .bind(n[1].id.as_uuid())
        .execute(&mut *owner)
        .await
        .unwrap();
    let taken = db.take_due(later(60_000), later(120_000)).await;
    let taken: Vec<_> = taken.iter().map(|due| due.job.notification.id).collect();
    assert_eq!(taken, [n[0].id, n[2].id]);
    owner.rollback().await.unwrap();
    let taken = db.take_due(later(60_000), later(120_000)).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].job, Job::first(n[1].clone()));
    db.done().await;
}
