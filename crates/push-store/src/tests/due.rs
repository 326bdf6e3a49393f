use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::job::Job;
use push_core::notification::{CollapseKey, Notification};
use push_core::timeline::Step;

use super::Db;
use super::seed::{entry, gives_up, later, notification, sent, waits};
use crate::{Due, DueJob, UnknownCustomer, WhyDue};

impl Db {
    /// What is due, which stays so.
    pub(super) async fn due(&self, which: Due, now: DateTime<Utc>, limit: u32) -> Vec<DueJob> {
        let taken = self.store.take_due(which, now, now, limit).await;
        taken.unwrap().jobs
    }

    async fn take_due(&self, before: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DueJob> {
        let taken = self.store.take_due(Due::Overdue, before, until, 10).await;
        taken.unwrap().jobs
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
    db.store.tell(&ids, &told, false).await.unwrap();
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
    // Told once in a row.
    let (entries, other) = (view.timeline.len(), entry(Step::QuietHours, "over"));
    for told in [&told, &other, &other, &told] {
        db.store.tell(&ids, told, false).await.unwrap();
    }
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    assert_eq!(view.timeline.len(), entries + 2);
    let again = entry(Step::Duplicate, "again");
    db.store.tell(&ids, &again, true).await.unwrap();
    let ended = db.store.notification(n[1].id).await.unwrap().unwrap();
    assert_eq!(ended.timeline.last().unwrap().text, "again");
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

impl Db {
    /// A notification that is to be sent 10 s after its acceptance.
    async fn scheduled(&self, key: Option<&str>) -> Notification {
        let mut one = notification(7);
        one.send_at = Some(later(10_000));
        one.collapse_key = key.map(|key| CollapseKey::parse(key).unwrap());
        let accepted = self.store.accept(
            std::slice::from_ref(&one),
            UnknownCustomer::Create,
            later(500),
        );
        accepted.await.unwrap();
        one
    }
}

#[tokio::test]
async fn what_is_scheduled_waits_here_until_its_time_and_is_never_taken_for_lost() {
    let db = Db::new().await;
    assert_eq!(db.store.next_timed().await.unwrap(), None);
    let one = db.scheduled(None).await;
    assert_eq!(db.store.next_timed().await.unwrap(), Some(later(10_000)));
    // Nobody knew whether it was committed; a retry's mark would make it due at once.
    db.store
        .mark_unpublished(&[one.id], later(600))
        .await
        .unwrap();
    for which in [Due::Overdue, Due::Unpublished] {
        assert!(db.due(which, later(20_000), 10).await.is_empty());
    }
    assert!(db.due(Due::Timed, later(9_999), 10).await.is_empty());
    let books = db.store.books(later(9_999)).await.unwrap();
    assert_eq!((books.pending, books.leaked, books.overdue), (1, 0, 0));
    let taken = db
        .store
        .take_due(Due::Timed, later(10_001), later(60_000), 10)
        .await
        .unwrap();
    assert_eq!(taken.jobs.len(), 1);
    assert_eq!(
        (&taken.jobs[0].job, taken.jobs[0].due_at, taken.jobs[0].why),
        (&Job::first(one.clone()), later(10_000), WhyDue::TimeCame)
    );
    assert_eq!(db.store.next_timed().await.unwrap(), None);
    // From then on as any other.
    assert!(db.due(Due::Overdue, later(59_999), 10).await.is_empty());
    assert_eq!(db.due(Due::Overdue, later(60_000), 10).await.len(), 1);
    let view = db.store.notification(one.id).await.unwrap().unwrap();
    assert_eq!(view.send_at, one.send_at);
    assert!(
        view.timeline[0].text.contains("not before 2026-09-21T"),
        "{}",
        view.timeline[0].text
    );
    db.done().await;
}

/// P3: it is no newer than what was accepted while it waited, until its time comes.
#[tokio::test]
async fn what_is_scheduled_becomes_the_newest_of_its_key_when_its_time_comes() {
    let db = Db::new().await;
    let head = "SELECT customer_id FROM collapse_heads JOIN notification_history USING (notification_id, customer_id) \
        WHERE send_at IS NOT NULL";
    let heads = async || {
        let found: Vec<i64> = sqlx::query_scalar(head)
            .fetch_all(&db.store.pool)
            .await
            .unwrap();
        found.len()
    };
    let one = db.scheduled(Some("booking-1")).await;
    assert_eq!(heads().await, 0);
    let mut at_once = notification(7);
    at_once.collapse_key = one.collapse_key.clone();
    let accepted = db.store.accept(
        std::slice::from_ref(&at_once),
        UnknownCustomer::Create,
        later(500),
    );
    accepted.await.unwrap();
    assert_eq!(heads().await, 0);
    assert_eq!(db.due(Due::Timed, later(10_000), 10).await.len(), 1);
    assert_eq!(heads().await, 1);
    db.done().await;
}
