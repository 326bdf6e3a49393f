//! What waits for the end of quiet hours waits no longer once its customer has changed the preferences, in whatever order
//! worker and customer come.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::changed::CustomerVersion;
use push_core::id::NotificationId;
use push_core::notification::Notification;
use push_core::preferences::Preferences;
use push_core::settle::{Next, Settlement};
use push_core::timeline::Step;

use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{customer, follow_up, later, notification, waits};
use super::{Db, at};
use crate::{ClaimedRound, Due, UnknownCustomer, WhyDue};

const GRACE: Duration = Duration::from_secs(60);
/// When the quiet hours end.
const END: i64 = 3_600_000;

/// A round that waits for the end of quiet hours.
fn quiet(notification: &Notification) -> Settlement {
    let next = follow_up(notification, 2);
    Settlement {
        deliveries: Vec::new(),
        timeline: Vec::new(),
        next: Next::Later(later(END), Box::new(next)),
        ..waits(notification, 1)
    }
}

fn judged_at(version: CustomerVersion, rounds: Vec<ClaimedRound>) -> Vec<ClaimedRound> {
    let at = |round| ClaimedRound { version, ..round };
    rounds.into_iter().map(at).collect()
}

impl Db {
    /// Sets the preferences, whatever they are; the version since then.
    async fn changes_mind(&self, of: i64, now: DateTime<Utc>) -> CustomerVersion {
        let wanted = Preferences::default();
        let set = self.store.set_preferences(customer(of), &wanted, now).await;
        set.unwrap()[0].version
    }

    async fn waits_quietly(&self, version: CustomerVersion, of: &[Notification]) {
        let settlements: Vec<_> = of.iter().map(quiet).collect();
        let claim = self.claims(&settlements).await;
        let rounds = judged_at(version, under(claim, &settlements));
        let recorded = self.store.record(&rounds, at(0), GRACE, RECEIPTS_AFTER);
        recorded.await.unwrap();
    }

    async fn due_ids(&self, now: DateTime<Utc>) -> Vec<(NotificationId, WhyDue)> {
        let mut due = Vec::new();
        for which in [Due::Timed, Due::Unpublished] {
            let taken = self.store.take_due(which, now, later(9 * END), 100);
            due.extend(taken.await.unwrap().jobs);
        }
        let due = due.into_iter();
        let mut due: Vec<_> = due.map(|due| (due.job.notification.id, due.why)).collect();
        due.sort_unstable_by_key(|(id, _)| *id);
        due
    }

    async fn quiet_waits(&self) -> i64 {
        self.one("SELECT COUNT(*) FROM quiet_hours_waits").await
    }
}

#[tokio::test]
async fn quiet_hours_that_end_are_told_from_what_was_lost() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let version = db.changes_mind(1, at(0)).await;
    db.waits_quietly(version, &n[..1]).await;
    let settled = [waits(&n[1], 1)];
    db.record(&settled, at(0), GRACE).await.unwrap();
    let ids = [n[0].id, n[1].id];
    db.store.mark_unpublished(&ids[1..], at(0)).await.unwrap();
    assert_eq!(db.due_ids(later(9_999)).await, []);
    assert_eq!(db.due_ids(later(10_000)).await, [(ids[1], WhyDue::Lost)]);
    assert_eq!(db.due_ids(later(END - 1)).await, []);
    let over = [(ids[0], WhyDue::QuietHoursOver)];
    assert_eq!(db.due_ids(later(END)).await, over);
    assert_eq!(db.quiet_waits().await, 0);
    // The broker did not take it: from now on it is one that is in no queue.
    db.store
        .mark_unpublished(&ids[..1], later(END))
        .await
        .unwrap();
    assert_eq!(db.due_ids(later(END)).await, [(ids[0], WhyDue::Lost)]);
    db.done().await;
}

#[tokio::test]
async fn a_change_of_mind_releases_what_waits_for_the_quiet_hours_and_nothing_else() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let stranger = [notification(2)];
    let accepted = db
        .store
        .accept(&stranger, UnknownCustomer::Create, later(60_000));
    accepted.await.unwrap();
    let [version, other] = [
        db.changes_mind(1, at(0)).await,
        db.changes_mind(2, at(0)).await,
    ];
    db.waits_quietly(version, &n[..2]).await;
    db.waits_quietly(other, &stranger).await;
    let settled = [waits(&n[2], 1)];
    db.record(&settled, at(0), GRACE).await.unwrap();
    db.store.mark_unpublished(&[n[2].id], at(0)).await.unwrap();
    assert_eq!(db.due_ids(later(100)).await, []);

    db.changes_mind(1, later(100)).await;
    let over = [&n[0], &n[1]].map(|n| (n.id, WhyDue::QuietHoursOver));
    assert_eq!(db.due_ids(later(100)).await, over);
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    let last = view.timeline.last().unwrap();
    assert_eq!(
        (last.at, last.step.as_str()),
        (later(100), Step::Preference.as_str())
    );
    // They are on their way, and not released once more.
    db.changes_mind(1, later(200)).await;
    let retry = [(n[2].id, WhyDue::Lost)];
    assert_eq!(db.due_ids(later(10_000)).await, retry, "in its own time");
    let theirs = [(stranger[0].id, WhyDue::QuietHoursOver)];
    assert_eq!(db.due_ids(later(END)).await, theirs, "not before");
    db.done().await;
}

#[tokio::test]
async fn who_let_it_wait_without_knowing_of_the_change_does_not() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let before = db.changes_mind(1, at(0)).await;
    db.changes_mind(1, at(0)).await;
    db.waits_quietly(before, &n).await;
    let ids = db.due_ids(at(0)).await;
    assert_eq!(ids, [&n[0], &n[1]].map(|n| (n.id, WhyDue::QuietHoursOver)));
    db.done().await;
}

/// At the same moment, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn worker_and_customer_do_not_miss_each_other() {
    let db = Db::new().await;
    for round in 0..40 {
        let n = db.accepted(3).await;
        let version = db.changes_mind(1, at(0)).await;
        tokio::join!(db.waits_quietly(version, &n), async {
            tokio::time::sleep(Duration::from_micros(100 * round)).await;
            db.changes_mind(1, at(0)).await;
        });
        assert_eq!(db.due_ids(at(0)).await.len(), 3, "round {round}");
    }
    assert_eq!(db.quiet_waits().await, 0);
    db.done().await;
}

#[tokio::test]
async fn waits_that_ended_otherwise_are_forgotten_in_time() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let version = db.changes_mind(1, at(0)).await;
    db.waits_quietly(version, &n).await;
    db.execute("UPDATE notification_history SET status = 'suppressed' LIMIT 1")
        .await;
    db.changes_mind(1, at(0)).await;
    assert_eq!(db.due_ids(at(0)).await.len(), 1);
    let purge = async |until| db.store.purge_quiet_hours_waits(until, 10).await.unwrap();
    assert_eq!(purge(later(END)).await, 0);
    assert_eq!(purge(later(END + 1)).await, 1);
    assert_eq!(db.quiet_waits().await, 0);
    db.done().await;
}
