use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::job::GiveUpReason;
use push_core::notification::Notification;

use super::Db;
use super::seed::{gives_up, later, notification, sent};
use crate::{Aging, DeadLetterId, DeadLetterRecord, Refusal, Replay, UnknownCustomer};

const GRACE: Duration = Duration::from_secs(60);

impl Db {
    /// Empties until there is nothing more, from before then; how many rows, in how many steps.
    async fn ages(&self, what: Aging, before: DateTime<Utc>, limit: u32) -> (u64, u32) {
        let (mut rows, mut steps) = (0, 0);
        loop {
            let emptied = self.store.empty_old(what, before, limit).await.unwrap();
            rows += emptied.rows;
            steps += 1;
            if !emptied.more {
                assert_eq!(emptied.behind, Duration::ZERO);
                return (rows, steps);
            }
            assert!(emptied.behind > Duration::ZERO);
        }
    }
}

fn at_second(n: i64) -> Notification {
    let mut one = notification(1 + n % 7);
    one.created_at = later(1_000 * n);
    one.expires_at = one.created_at + TimeDelta::days(1);
    one
}

/// The rest is in nobody's way: it is accepted, recorded and counted beside it.
#[tokio::test]
async fn thousands_of_old_ones_are_emptied_beside_those_that_are_written() {
    const OLD: i64 = 3_000;
    let db = Db::new().await;
    let old: Vec<_> = (0..OLD).map(at_second).collect();
    for some in old.chunks(300) {
        let accepted = db
            .store
            .accept(some, UnknownCustomer::Create, later(60_000));
        accepted.await.unwrap();
        let all: Vec<_> = some.iter().map(|n| sent(n, 1)).collect();
        db.record(&all, later(100), GRACE).await.unwrap();
    }
    let before = db.store.books(later(0)).await.unwrap();
    let cut = later(1_000 * (OLD - 500));
    let writes = async {
        for n in 0..20 {
            let fresh: Vec<_> = (0..10).map(|_| at_second(OLD + n)).collect();
            let accepted = db
                .store
                .accept(&fresh, UnknownCustomer::Create, later(60_000));
            accepted.await.unwrap();
            let all: Vec<_> = fresh.iter().map(|n| sent(n, 1)).collect();
            db.record(&all, later(100), GRACE).await.unwrap();
        }
    };
    let (emptied, ()) = tokio::join!(db.ages(Aging::Notifications, cut, 200), writes);
    assert_eq!(emptied, (2_500, 13));
    let kept = "SELECT COUNT(*) FROM notification_history WHERE title <> '' AND emptied = 0";
    assert_eq!(db.one(kept).await, 500 + 200);
    let gone = "SELECT COUNT(*) FROM notification_history \
                WHERE title = '' AND body = '' AND data IS NULL AND emptied = 1 AND status = 'sent'";
    assert_eq!(db.one(gone).await, 2_500);
    let after = db.store.books(later(0)).await.unwrap();
    assert_eq!(
        (after.accepted, after.sent, after.pending),
        (before.accepted + 200, before.sent + 200, 0)
    );
    // Again, there is nothing to do; and it goes on where it stood.
    assert_eq!(db.ages(Aging::Notifications, cut, 200).await, (0, 1));
    let all = later(1_000 * (OLD + 100));
    assert_eq!(db.ages(Aging::Notifications, all, 200).await, (700, 4));
    db.done().await;
}

#[tokio::test]
async fn what_is_pending_keeps_its_content_until_it_has_ended() {
    let db = Db::new().await;
    let n: Vec<_> = (0..3).map(at_second).collect();
    let accepted = db.store.accept(&n, UnknownCustomer::Create, later(60_000));
    accepted.await.unwrap();
    db.record(&[sent(&n[0], 1)], later(100), GRACE)
        .await
        .unwrap();
    let cut = later(100_000);
    assert_eq!(db.ages(Aging::Notifications, cut, 2).await, (1, 2));
    assert_eq!(db.one("SELECT COUNT(*) FROM retention_leftovers").await, 2);
    db.record(&[sent(&n[2], 1)], later(200), GRACE)
        .await
        .unwrap();
    assert_eq!(db.ages(Aging::Notifications, cut, 2).await, (1, 1));
    assert_eq!(db.one("SELECT COUNT(*) FROM retention_leftovers").await, 1);
    let left = "SELECT COUNT(*) FROM notification_history WHERE title <> '' AND status = 'pending'";
    assert_eq!(db.one(left).await, 1);
    db.done().await;
}

#[tokio::test]
async fn an_old_dead_letter_is_emptied_and_not_replayed() {
    let db = Db::new().await;
    let n = db.accepted(1).await;
    let job = Box::new(gives_up(&n[0], 1).1);
    let poison = |bytes: &[u8]| DeadLetterRecord::Poison {
        bytes: bytes.to_vec(),
        why: "no job".to_owned(),
    };
    let letters = [
        DeadLetterRecord::Job {
            job,
            reason: GiveUpReason::Unprocessable,
        },
        poison(b"Praseodymium"),
    ];
    db.store
        .record_dead_letters(&letters, later(10))
        .await
        .unwrap();
    assert_eq!(db.ages(Aging::DeadLetters, later(10), 1).await, (0, 1));
    assert_eq!(db.ages(Aging::DeadLetters, later(11), 1).await, (2, 3));
    let how = Replay {
        by: "ops".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    for id in [1, 2] {
        let replayed = db
            .store
            .replay_dead_letter(DeadLetterId(id), &how, later(20));
        assert_eq!(replayed.await.unwrap(), Err(Refusal::ContentGone));
        let details = db.store.dead_letter(DeadLetterId(id)).await.unwrap();
        let details = details.unwrap();
        assert!(details.trail.is_empty() && details.bytes.is_none());
    }
    // The same bytes once more are news.
    db.store
        .record_dead_letters(&[poison(b"Praseodymium")], later(30))
        .await
        .unwrap();
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 3);
    db.done().await;
}

/// Bytes that were to be published when retention passed them by.
#[tokio::test]
async fn old_bytes_that_are_published_again_are_emptied_then() {
    let db = Db::new().await;
    let poison = |bytes: &[u8]| DeadLetterRecord::Poison {
        bytes: bytes.to_vec(),
        why: "no job".to_owned(),
    };
    let letters = [
        poison(b"Praseodymium"),
        poison(b"Dysprosium"),
        poison(b"Holmium"),
    ];
    db.store
        .record_dead_letters(&letters, later(10))
        .await
        .unwrap();
    let how = Replay {
        by: "ops".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    for id in [1, 2, 3] {
        let replayed = db
            .store
            .replay_dead_letter(DeadLetterId(id), &how, later(20));
        assert!(replayed.await.unwrap().is_ok());
    }
    assert_eq!(db.ages(Aging::DeadLetters, later(11), 10).await, (0, 1));
    // Nobody can make out the third one.
    db.execute("UPDATE dead_letters SET raw = '?' WHERE id = 3")
        .await;
    let due = db.store.due_bytes(later(30), 9).await.unwrap();
    let due: Vec<_> = due.into_iter().map(|due| due.letter).collect();
    assert_eq!(due, [DeadLetterId(1), DeadLetterId(2)]);
    for (letter, before) in due.into_iter().zip([later(11), later(10)]) {
        db.store.bytes_published(letter, before).await.unwrap();
    }
    assert!(db.store.due_bytes(later(30), 9).await.unwrap().is_empty());
    let full =
        "SELECT CAST(SUM(id) AS SIGNED) FROM dead_letters WHERE raw IS NOT NULL AND emptied = 0";
    assert_eq!(db.one(full).await, 2 + 3, "not the old one");
    db.done().await;
}

#[tokio::test]
async fn bytes_that_are_about_to_be_published_again_stay_until_they_are() {
    let db = Db::new().await;
    let poison = DeadLetterRecord::Poison {
        bytes: b"Praseodymium".to_vec(),
        why: "no job".to_owned(),
    };
    db.store
        .record_dead_letters(&[poison], later(10))
        .await
        .unwrap();
    let how = Replay {
        by: "ops".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    let replayed = db
        .store
        .replay_dead_letter(DeadLetterId(1), &how, later(20));
    assert!(replayed.await.unwrap().is_ok());
    assert_eq!(db.ages(Aging::DeadLetters, later(11), 9).await, (0, 1));
    let due = db.store.due_bytes(later(100_000), 9).await.unwrap();
    assert_eq!(due[0].bytes, b"Praseodymium");
    db.done().await;
}

#[tokio::test]
async fn bookings_and_erasures_are_forgotten_in_time() {
    let db = Db::new().await;
    db.execute(
        "INSERT INTO booking_status (booking_id, customer_id, status, updated_at) VALUES \
         ('a', 1, 's', '2026-01-01'), ('b', 1, 's', '2026-01-02'), ('c', 1, 's', '2026-01-03')",
    )
    .await;
    db.execute(
        "INSERT INTO customer_erasures (customer_id, mark, erased_at, look_again_at) VALUES \
         (1, 1, '2026-01-01', NULL), (2, 1, '2026-01-01', '2026-01-01'), (3, 1, '2026-01-03', NULL)",
    )
    .await;
    let until = "2026-01-03T00:00:00Z".parse().unwrap();
    assert_eq!(db.store.purge_bookings(until, 1).await.unwrap(), 1);
    assert_eq!(db.store.purge_bookings(until, 9).await.unwrap(), 1);
    assert_eq!(db.store.purge_erasures(until, 9).await.unwrap(), 1);
    assert_eq!(db.one("SELECT COUNT(*) FROM booking_status").await, 1);
    assert_eq!(db.one("SELECT COUNT(*) FROM customer_erasures").await, 2);
    db.done().await;
}
