//! Of one collapse key the newest counts, and one at a time is on its way (P3).

use std::time::Duration;

use chrono::TimeDelta;
use push_core::admit::Claimed;
use push_core::id::NotificationId;
use push_core::notification::{CollapseKey, Notification};

use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{customer, later, notification, sent, waits};
use super::{Db, at};
use crate::collapse::{self, Raised};
use crate::{Claim, ClaimId, Held, Recording, UnknownCustomer};

const LONG: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(60);

fn key(name: &str) -> CollapseKey {
    CollapseKey::parse(name).unwrap()
}

/// Of this customer and key.
fn of(customer: i64, name: &str) -> Notification {
    Notification {
        collapse_key: Some(key(name)),
        ..notification(customer)
    }
}

impl Db {
    /// Accepts them, one after the other.
    async fn take_in<const N: usize>(&self, new: [Notification; N]) -> [Notification; N] {
        for one in &new {
            let accepted = self.store.accept(
                std::slice::from_ref(one),
                UnknownCustomer::Create,
                later(60_000),
            );
            accepted.await.unwrap();
        }
        new
    }

    async fn asks(&self, by: ClaimId, notification: NotificationId, round: u32) -> Claimed {
        let claims = [Claim {
            notification,
            round,
        }];
        let claimed = self.store.claim(by, &claims, LONG);
        claimed.await.unwrap()[&notification].claimed
    }
}

fn held(notification: &Notification, claim: ClaimId, sent: bool) -> Held {
    Held {
        notification: notification.id,
        claim,
        sent,
    }
}

#[tokio::test]
async fn the_newest_of_its_customer_and_key_takes_the_place_of_all_before() {
    let db = Db::new().await;
    let [old, stranger, newer, newest, other_key] = db
        .take_in([of(1, "k"), of(2, "k"), of(1, "k"), of(1, "k"), of(1, "K")])
        .await;
    let by = ClaimId::generate();
    for (one, by_whom) in [
        (&old, &newest),
        (&newer, &newest),
        (&newest, &newest),
        (&stranger, &stranger),
        (&other_key, &other_key),
    ] {
        let claimed = db.asks(by, one.id, 1).await;
        assert_eq!(claimed.newest, Some(by_whom.id));
        assert!(claimed.ours, "also to record that it is overtaken");
    }
    let [none] = db.take_in([notification(1)]).await;
    assert_eq!(db.asks(by, none.id, 1).await.newest, None);
    db.done().await;
}

#[tokio::test]
async fn of_several_in_one_batch_the_last_is_the_newest() {
    let db = Db::new().await;
    let batch = [of(1, "b"), of(1, "a"), of(1, "b"), of(1, "a")];
    let accepted = db
        .store
        .accept(&batch, UnknownCustomer::Create, later(60_000));
    accepted.await.unwrap();
    let by = ClaimId::generate();
    for (one, newest) in [(0, 2), (1, 3), (2, 2), (3, 3)] {
        let claimed = db.asks(by, batch[one].id, 1).await;
        assert_eq!(claimed.newest, Some(batch[newest].id));
    }
    db.done().await;
}

#[tokio::test]
async fn a_newer_one_waits_while_an_older_one_is_on_its_way() {
    let db = Db::new().await;
    let (a, b) = (ClaimId::generate(), ClaimId::generate());
    let [old] = db.take_in([of(1, "k")]).await;
    assert!(db.asks(a, old.id, 1).await.ours);
    let [new] = db.take_in([of(1, "k")]).await;
    let waits_for = async || {
        let claimed = db.asks(b, new.id, 1).await;
        assert_eq!(claimed.ours, !claimed.behind);
        claimed.behind
    };
    assert!(waits_for().await);
    // Renewed beyond its end.
    db.execute("UPDATE collapse_heads SET claimed_until = NOW(3) - INTERVAL 1 SECOND")
        .await;
    db.store
        .renew_claims(&[held(&old, a, false)], LONG)
        .await
        .unwrap();
    assert!(waits_for().await);
    let stale = [waits(&old, 1)];
    let record = async |claim, rounds: &[_]| {
        let rounds = under(claim, rounds);
        let recorded = db.store.record(&rounds, later(0), GRACE, RECEIPTS_AFTER);
        recorded.await.unwrap()
    };
    assert_eq!(record(b, &stale).await, [Recording::Stale]);
    assert!(waits_for().await, "B has no claim to give up");
    assert_eq!(record(a, &stale).await, [Recording::Recorded]);
    assert!(!waits_for().await);
    assert!(db.asks(b, new.id, 1).await.ours, "and asks once more");
    // Back from its rung, the old one needs no key, and takes none.
    let back = db.asks(ClaimId::generate(), old.id, 2).await;
    assert!(back.ours && !back.behind);
    assert_eq!(back.newest, Some(new.id));
    assert_eq!(record(b, &[sent(&new, 1)]).await, [Recording::Recorded]);
    let left = "SELECT COUNT(*) FROM collapse_heads WHERE claimed_until IS NOT NULL";
    assert_eq!(db.one(left).await, 0);
    db.done().await;
}

/// A worker takes many at once, under one claim: the record of an older one is not that of the newest.
#[tokio::test]
async fn an_older_one_in_the_same_hands_does_not_give_up_the_key_of_the_newest() {
    for recorded in [true, false] {
        let db = Db::new().await;
        let (a, b) = (ClaimId::generate(), ClaimId::generate());
        let [old, new] = db.take_in([of(1, "k"), of(1, "k")]).await;
        let claims = [&old, &new].map(|one| Claim {
            notification: one.id,
            round: 1,
        });
        let claimed = db.store.claim(a, &claims, LONG).await.unwrap();
        assert!(claimed.values().all(|claiming| claiming.claimed.ours));
        if recorded {
            let ended = under(a, &[sent(&old, 1)]);
            let told = db.store.record(&ended, later(0), GRACE, RECEIPTS_AFTER);
            assert_eq!(told.await.unwrap(), [Recording::Recorded]);
        } else {
            db.store.let_go(&[held(&old, a, false)]).await.unwrap();
        }
        let newer = [of(1, "k")];
        let committed = db
            .store
            .accept(&newer, UnknownCustomer::Create, later(60_000));
        let changed = committed.await.unwrap().changed;
        assert_eq!(changed.len(), 1, "its worker is told");
        assert!(db.asks(b, newer[0].id, 1).await.behind);
        let ended = under(a, &[sent(&new, 1)]);
        let told = db.store.record(&ended, later(0), GRACE, RECEIPTS_AFTER);
        assert_eq!(told.await.unwrap(), [Recording::Recorded]);
        assert!(db.asks(b, newer[0].id, 1).await.ours);
        db.done().await;
    }
}

#[tokio::test]
async fn a_key_is_free_again_when_nothing_of_it_can_be_on_its_way() {
    for sent in [false, true] {
        let db = Db::new().await;
        let (a, b) = (ClaimId::generate(), ClaimId::generate());
        let [old] = db.take_in([of(1, "k")]).await;
        assert!(db.asks(a, old.id, 1).await.ours);
        let [new] = db.take_in([of(1, "k")]).await;
        db.store.let_go(&[held(&old, a, sent)]).await.unwrap();
        assert_eq!(db.asks(b, new.id, 1).await.behind, sent);
        db.execute("UPDATE collapse_heads SET claimed_until = NOW(3) - INTERVAL 1 SECOND")
            .await;
        assert!(db.asks(b, new.id, 1).await.ours, "its worker was killed");
        db.done().await;
    }
}

#[tokio::test]
async fn of_many_workers_asking_at_once_one_gets_the_key() {
    let db = Db::new().await;
    let first = db.take_in([of(1, "k"), of(2, "k"), of(3, "k")]).await;
    let a = ClaimId::generate();
    for one in &first {
        assert!(db.asks(a, one.id, 1).await.ours);
    }
    let second = db.take_in([of(1, "k"), of(2, "k"), of(3, "k")]).await;
    db.store
        .let_go(&first.each_ref().map(|one| held(one, a, false)))
        .await
        .unwrap();
    let claims = second.each_ref().map(|one| Claim {
        notification: one.id,
        round: 1,
    });
    let asking = (0..8).map(|_| db.store.claim(ClaimId::generate(), &claims, LONG));
    let answers = futures::future::join_all(asking).await;
    for one in &second {
        let owners = answers
            .iter()
            .filter(|claimed| claimed.as_ref().unwrap()[&one.id].claimed.ours);
        assert_eq!(owners.count(), 1);
    }
    db.done().await;
}

/// A replica that does not know of heads yet accepts one during an upgrade.
#[tokio::test]
async fn one_that_was_accepted_later_is_not_overtaken_by_an_earlier_head() {
    let db = Db::new().await;
    let later_one = Notification {
        created_at: at(0) + TimeDelta::seconds(5),
        ..of(1, "k")
    };
    let [new] = db.take_in([later_one]).await;
    db.execute("DELETE FROM collapse_heads").await;
    db.take_in([of(1, "k")]).await;
    let claimed = db.asks(ClaimId::generate(), new.id, 1).await;
    assert_eq!((claimed.newest, claimed.ours), (None, true));
    db.done().await;
}

#[tokio::test]
async fn one_that_was_scheduled_takes_its_place_when_its_time_comes_and_only_once() {
    let db = Db::new().await;
    let [scheduled, now, after] = db.take_in([of(1, "k"), of(1, "k"), of(1, "k")]).await;
    db.execute("DELETE FROM collapse_heads").await;
    let raise = async |one: &Notification, seconds, scheduled| {
        let key = key("k");
        let raised = Raised {
            customer: customer(1),
            key: &key,
            notification: one.id,
            at: at(0) + TimeDelta::seconds(seconds),
            scheduled,
        };
        let mut connection = db.store.own_connection().await.unwrap();
        collapse::raise(&mut connection, [raised]).await.unwrap();
        db.asks(ClaimId::generate(), one.id, 1).await.newest
    };
    assert_eq!(raise(&now, 1, false).await, Some(now.id));
    assert_eq!(raise(&scheduled, 2, true).await, Some(scheduled.id));
    assert_eq!(raise(&after, 3, false).await, Some(after.id));
    assert_eq!(
        raise(&scheduled, 2, true).await,
        Some(after.id),
        "published once more"
    );
    // A replica whose clock is late.
    assert_eq!(raise(&now, 2, false).await, Some(now.id));
    db.done().await;
}

#[tokio::test]
async fn whose_worker_is_to_hear_of_it_is_counted_up() {
    let db = Db::new().await;
    let [_waiting, going] = db.take_in([of(1, "k"), of(2, "k")]).await;
    assert!(db.asks(ClaimId::generate(), going.id, 1).await.ours);
    let newer = [of(1, "k"), of(2, "k"), of(3, "k"), notification(2)];
    let committed = db
        .store
        .accept(&newer, UnknownCustomer::Create, later(60_000));
    let changed = committed.await.unwrap().changed;
    let told: Vec<_> = changed
        .iter()
        .map(|changed| (changed.customer, changed.version.0))
        .collect();
    assert_eq!(told, [(customer(2), 1)]);
    db.done().await;
}

#[tokio::test]
async fn old_heads_are_purged_in_small_batches() {
    let db = Db::new().await;
    db.take_in([of(1, "a"), of(1, "b"), of(1, "c")]).await;
    let purge = async |until, limit| db.store.purge_collapse_heads(until, limit).await.unwrap();
    assert_eq!(purge(at(0), 10).await, 0);
    assert_eq!(purge(at(0) + TimeDelta::milliseconds(1), 2).await, 2);
    assert_eq!(purge(at(0) + TimeDelta::milliseconds(1), 2).await, 1);
    db.done().await;
}
