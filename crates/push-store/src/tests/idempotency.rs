use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::notification::Notification;
use tokio::task::JoinSet;

use super::seed::{customer, notification};
use super::{Db, at};
use crate::{
    Acceptance, IdempotencyKey, Item, KEPT_FOR, KeptAnswer, Keyed, Store, StoreError, ToAccept,
    UnknownCustomer,
};

/// A request, perhaps with a key.
#[derive(Clone)]
struct Asked {
    notifications: Vec<Notification>,
    keyed: Option<Keyed>,
}

impl<'a> From<&'a Asked> for ToAccept<'a> {
    fn from(asked: &'a Asked) -> Self {
        Self {
            notifications: &asked.notifications,
            keyed: asked.keyed.as_ref(),
            event: None,
            origin: "",
        }
    }
}

impl Asked {
    /// What it is answered when all of it is accepted.
    fn answer(&self) -> KeptAnswer {
        self.answer_for(&vec![Item::Accepted; self.notifications.len()])
    }

    fn answer_for(&self, items: &[Item]) -> KeptAnswer {
        (self.keyed.as_ref().unwrap().answer)(items).unwrap()
    }

    fn at(mut self, time: DateTime<Utc>) -> Self {
        for notification in &mut self.notifications {
            notification.created_at = time;
        }
        self
    }
}

fn accepted() -> Acceptance {
    Acceptance::Now(vec![Item::Accepted])
}

fn without_key(of: i64) -> Asked {
    Asked {
        notifications: vec![notification(of)],
        keyed: None,
    }
}

fn asked_by(caller: &str, key: &str, endpoint: &str, body: &str) -> Asked {
    asked_for(&[1], IdempotencyKey::new(caller, key, endpoint, body))
}

/// One notification for each customer. The answer names those that are accepted.
fn asked_for(customers: &[i64], key: IdempotencyKey) -> Asked {
    let notifications: Vec<_> = customers.iter().copied().map(notification).collect();
    let ids: Vec<_> = notifications.iter().map(|n| n.id.to_string()).collect();
    let answer = move |items: &[Item]| {
        let accepted = ids.iter().zip(items);
        let accepted = accepted.filter(|(_, item)| **item == Item::Accepted);
        let accepted: Vec<_> = accepted.map(|(id, _)| id.as_str()).collect();
        (!accepted.is_empty()).then(|| KeptAnswer {
            status: Some(202),
            body: format!("{accepted:?}"),
        })
    };
    Asked {
        notifications,
        keyed: Some(Keyed {
            key,
            answer: Arc::new(answer),
        }),
    }
}

fn asked(key: &str, body: &str) -> Asked {
    asked_by("backend", key, "/send", body)
}

async fn accept_in(store: &Store, batch: &[Asked]) -> Result<Vec<Acceptance>, StoreError> {
    let committed = store.accept(batch, UnknownCustomer::Reject, at(0)).await;
    committed.map(|committed| committed.acceptances)
}

impl Db {
    /// With customer 1.
    async fn with_customer() -> Self {
        let db = Self::new().await;
        db.store.ensure_customer(customer(1)).await.unwrap();
        db
    }

    async fn ask(&self, batch: &[Asked]) -> Vec<Acceptance> {
        accept_in(&self.store, batch).await.unwrap()
    }

    async fn ask_one(&self, one: &Asked) -> Acceptance {
        self.ask(std::slice::from_ref(one)).await.remove(0)
    }

    async fn notifications(&self) -> i64 {
        self.one("SELECT COUNT(*) FROM notification_history").await
    }
}

#[tokio::test]
async fn what_is_asked_again_gets_the_first_answer_and_does_nothing() {
    let db = Db::with_customer().await;
    let first = asked("k", "{}");
    assert_eq!(db.ask_one(&first).await, accepted());
    for _ in 0..2 {
        let again = db.ask_one(&asked("k", "{}")).await;
        assert_eq!(again, Acceptance::Before(first.answer()));
    }
    for other in [
        asked("k", "{\"id\":1}"),
        asked_by("backend", "k", "/test", "{}"),
    ] {
        assert_eq!(db.ask_one(&other).await, Acceptance::KeyReused);
    }
    assert_eq!(db.notifications().await, 1);
    // Keys are each caller's own, and compared to the letter.
    for other in [
        asked_by("other", "k", "/send", "{}"),
        asked_by("backend", "K", "/send", "{}"),
        asked_by("backen", "dk", "/send", "{}"),
    ] {
        assert_eq!(db.ask_one(&other).await, accepted());
    }
    assert_eq!(db.notifications().await, 4);
    db.done().await;
}

#[tokio::test]
async fn one_batch_may_hold_a_key_several_times() {
    let db = Db::with_customer().await;
    let batch = [
        asked("k", "{}"),
        without_key(1),
        asked("k", "{}"),
        asked("k", "{\"other\":1}"),
        asked("l", "{}"),
        without_key(1),
    ];
    let answers = db.ask(&batch).await;
    assert_eq!(
        answers,
        [
            accepted(),
            accepted(),
            Acceptance::Before(batch[0].answer()),
            Acceptance::KeyReused,
            accepted(),
            accepted(),
        ]
    );
    assert_eq!(db.notifications().await, 4);
    assert_eq!(db.one("SELECT COUNT(*) FROM idempotency_keys").await, 2);
    db.done().await;
}

#[tokio::test]
async fn a_request_that_is_refused_leaves_no_key() {
    let db = Db::new().await;
    let first = asked("k", "{}");
    assert_eq!(
        db.ask_one(&first).await,
        Acceptance::Now(vec![Item::UnknownCustomer])
    );
    db.store.ensure_customer(customer(1)).await.unwrap();
    assert_eq!(db.ask_one(&first).await, accepted());
    // Nor does one that the database refuses: its notification exists.
    let mut refused = asked("l", "{}");
    refused.notifications[0].id = first.notifications[0].id;
    let error = accept_in(&db.store, &[refused]).await.unwrap_err();
    assert!(error.is_duplicate());
    assert_eq!(db.one("SELECT COUNT(*) FROM idempotency_keys").await, 1);
    // And the first answer stays when the customer is gone.
    db.execute("DELETE FROM customers").await;
    assert_eq!(
        db.ask_one(&asked("k", "{}")).await,
        Acceptance::Before(first.answer())
    );
    db.done().await;
}

/// What is kept follows from what became of each, in the same transaction.
#[tokio::test]
async fn a_request_with_many_notifications_has_one_key_and_one_answer() {
    let db = Db::with_customer().await;
    let key = || IdempotencyKey::new("backend", "k", "/batch", "[]");
    let first = asked_for(&[1, 2, 1], key());
    let items = [Item::Accepted, Item::UnknownCustomer, Item::Accepted];
    let batch = [first.clone(), without_key(1), asked_for(&[1, 2, 1], key())];
    assert_eq!(
        db.ask(&batch).await,
        [
            Acceptance::Now(items.to_vec()),
            accepted(),
            Acceptance::Before(first.answer_for(&items)),
        ]
    );
    assert_eq!(db.notifications().await, 3);
    // And so it stays, now that the other customer is known as well.
    db.store.ensure_customer(customer(2)).await.unwrap();
    let again = db.ask_one(&asked_for(&[1, 2, 1], key())).await;
    assert_eq!(again, Acceptance::Before(first.answer_for(&items)));
    let other = IdempotencyKey::new("backend", "k", "/batch", "[1]");
    let other = db.ask_one(&asked_for(&[1], other)).await;
    assert_eq!(other, Acceptance::KeyReused);
    // Nobody was known: nothing is kept, and the key is free.
    let key = || IdempotencyKey::new("backend", "l", "/batch", "[]");
    let refused = db.ask_one(&asked_for(&[8, 9], key())).await;
    assert_eq!(refused, Acceptance::Now(vec![Item::UnknownCustomer; 2]));
    db.store.ensure_customer(customer(9)).await.unwrap();
    let retried = db.ask_one(&asked_for(&[8, 9], key())).await;
    let items = vec![Item::UnknownCustomer, Item::Accepted];
    assert_eq!(retried, Acceptance::Now(items));
    assert_eq!(db.notifications().await, 4);
    db.done().await;
}

#[tokio::test]
async fn a_key_counts_for_a_day_and_is_purged_in_small_batches() {
    let db = Db::with_customer().await;
    let first = asked("k", "{}").at(at(0));
    assert_eq!(db.ask_one(&first).await, accepted());
    let last_moment = at(0) + KEPT_FOR - TimeDelta::milliseconds(1);
    let again = db.ask_one(&asked("k", "{}").at(last_moment)).await;
    assert_eq!(again, Acceptance::Before(first.answer()));
    // Still there, and absent all the same; then it is the new one's, whatever was asked for before.
    let tomorrow = asked("k", "{\"new\":1}").at(at(0) + KEPT_FOR);
    let twice = [
        tomorrow.clone(),
        asked("k", "{\"new\":1}").at(at(0) + KEPT_FOR),
    ];
    assert_eq!(
        db.ask(&twice).await,
        [accepted(), Acceptance::Before(tomorrow.answer())]
    );
    assert_eq!(db.notifications().await, 2);
    let old: Vec<_> = (0..5)
        .map(|n| asked(&n.to_string(), "{}").at(at(n)))
        .collect();
    for one in &old {
        assert_eq!(db.ask_one(one).await, accepted());
    }
    for expected in [2, 2, 0] {
        let purged = db.store.purge_idempotency_keys(at(3), 2).await.unwrap();
        assert_eq!(purged, expected);
    }
    assert_eq!(db.one("SELECT COUNT(*) FROM idempotency_keys").await, 2);
    db.done().await;
}

/// Replicas have pools of their own; here each task has its own transaction, which is the same to the database.
#[tokio::test]
async fn of_fifty_at_once_one_is_the_first() {
    let db = Db::with_customer().await;
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let store = db.store.clone();
        asking.spawn(async move {
            let one = asked("k", "{}");
            let answer = accept_in(&store, std::slice::from_ref(&one)).await.unwrap();
            (one, answer)
        });
    }
    let answers = asking.join_all().await;
    let first: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| *answer == [accepted()])
        .map(|(one, _)| one.answer())
        .collect();
    assert_eq!((first.len(), db.notifications().await), (1, 1));
    for (_, answer) in &answers {
        assert!(*answer == [accepted()] || *answer == [Acceptance::Before(first[0].clone())]);
    }
    db.done().await;
}

/// Batches meet with the same keys in any order, some of them over and being purged.
#[tokio::test]
async fn batches_in_each_others_way_are_answered_all_the_same() {
    let db = Db::with_customer().await;
    let keys: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let yesterday: Vec<_> = keys
        .iter()
        .map(|key| asked(key, "{}").at(at(0) - KEPT_FOR * 2))
        .collect();
    db.ask(&yesterday).await;
    let mut asking = JoinSet::new();
    for turn in 0..16_usize {
        let (store, mut keys) = (db.store.clone(), keys.clone());
        keys.rotate_left(turn);
        if turn % 2 == 0 {
            keys.reverse();
        }
        asking.spawn(async move {
            let batch: Vec<_> = keys.iter().map(|key| asked(key, "{}").at(at(0))).collect();
            let answers = accept_in(&store, &batch).await.unwrap();
            let accepted = |answer: &&Acceptance| **answer == accepted();
            assert!(!answers.contains(&Acceptance::KeyReused));
            answers.iter().filter(accepted).count()
        });
        let store = db.store.clone();
        asking.spawn(async move {
            let until = at(0) - KEPT_FOR;
            store.purge_idempotency_keys(until, 3).await.unwrap();
            0
        });
    }
    let accepted: usize = asking.join_all().await.into_iter().sum();
    assert_eq!(accepted, keys.len());
    assert_eq!(db.notifications().await, 2 * 20);
    db.done().await;
}
