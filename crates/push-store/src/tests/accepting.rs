use std::collections::HashSet;
use std::time::Duration;

use push_core::notification::{CollapseKey, ImageUrl, Notification};
use push_core::status::{ProviderResult, Reason, Status};
use push_core::timeline::Step;

use super::seed::{customer, later, notification};
use super::{Db, at};
use crate::{Acceptance, Claim, ClaimId, Due, Item, ToAccept, UnknownCustomer};

#[tokio::test]
async fn known_customers_notifications_are_accepted_the_others_are_not() {
    let db = Db::new().await;
    db.store.ensure_customer(customer(123)).await.unwrap();
    let batch = [notification(123), notification(124), notification(123)];
    let answers = db
        .store
        .accept(&batch, UnknownCustomer::Reject, at(0))
        .await
        .unwrap()
        .acceptances;
    assert_eq!(
        answers,
        [
            Acceptance::Now(vec![Item::Accepted]),
            Acceptance::Now(vec![Item::UnknownCustomer]),
            Acceptance::Now(vec![Item::Accepted])
        ]
    );
    assert_eq!(db.one("SELECT COUNT(*) FROM notification_history").await, 2);
    assert!(db.store.notification(batch[1].id).await.unwrap().is_none());
    db.done().await;
}

#[tokio::test]
async fn unknown_customers_are_created_where_that_is_wanted() {
    let db = Db::new().await;
    let batch: Vec<_> = (1..=3).map(notification).collect();
    for _ in 0..2 {
        let batch: Vec<_> = batch
            .iter()
            .map(|n| notification(n.customer.get()))
            .collect();
        let answers = db
            .store
            .accept(&batch, UnknownCustomer::Create, at(0))
            .await
            .unwrap()
            .acceptances;
        assert_eq!(answers, vec![Acceptance::Now(vec![Item::Accepted]); 3]);
    }
    let known = db
        .store
        .known_customers(&[1, 2, 3, 4].map(customer))
        .await
        .unwrap();
    assert_eq!(known, HashSet::from([1, 2, 3].map(customer)));
    db.done().await;
}

/// The booking backend may have the customer's row in hand for as long as it likes.
#[tokio::test]
async fn a_customer_that_is_there_is_not_written_to() {
    let db = Db::new().await;
    assert!(db.store.ensure_customer(customer(7)).await.unwrap());
    let next = "SELECT CAST(AUTO_INCREMENT AS SIGNED) FROM information_schema.TABLES \
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'customers'";
    let before = db.one(next).await;
    let mut backend = db.store.pool.begin().await.unwrap();
    sqlx::query("UPDATE customers SET name = 'busy' WHERE id = 7")
        .execute(&mut *backend)
        .await
        .unwrap();
    for _ in 0..3 {
        assert!(db.store.ensure_customer(customer(7)).await.unwrap());
    }
    backend.rollback().await.unwrap();
    assert_eq!(db.one(next).await, before);
    db.done().await;
}

#[tokio::test]
async fn what_was_accepted_is_read_back_to_the_letter() {
    let db = Db::new().await;
    let mut given = notification(9_007_199_254_740_993);
    given.collapse_key = Some(CollapseKey::parse("booking-456").unwrap());
    given.content.image_url = Some(ImageUrl::parse("https://example.com/car.png").unwrap());
    let batch = std::slice::from_ref(&given);
    db.store
        .accept(batch, UnknownCustomer::Create, later(5_000))
        .await
        .unwrap();
    let view = db.store.notification(given.id).await.unwrap().unwrap();
    assert_eq!(
        (view.id, view.customer, view.kind),
        (given.id, given.customer, given.kind.clone())
    );
    assert_eq!(view.content.title, given.content.title.as_str());
    assert_eq!(view.content.body, given.content.body.as_str());
    assert_eq!(view.content.data, given.content.data);
    assert_eq!(
        view.content.image_url.as_deref(),
        Some("https://example.com/car.png")
    );
    assert_eq!(
        (view.collapse_key, view.priority),
        (given.collapse_key.clone(), given.priority)
    );
    assert_eq!(
        (view.created_at, view.expires_at),
        (given.created_at, Some(given.expires_at))
    );
    assert_eq!(view.state.status, Status::Pending);
    assert_eq!(
        (view.state.fcm, view.state.expo),
        (ProviderResult::Queued, ProviderResult::Queued)
    );
    assert_eq!((view.completed_at, view.opened_at), (None, None));
    assert_eq!(db.sent_at(view.id).await, None);
    let [accepted] = view.timeline.as_slice() else {
        panic!("{:?}", view.timeline)
    };
    assert_eq!(
        (accepted.step.as_str(), accepted.at),
        (Step::Accepted.as_str(), given.created_at)
    );
    assert!(
        !format!("{:?}", view.content).contains("Technician"),
        "content stays out of logs"
    );
    // And published again, it is the same job.
    let due = db.due(Due::Overdue, later(5_000), 10).await;
    assert_eq!(due[0].job, push_core::job::Job::first(given));
    db.done().await;
}

#[tokio::test]
async fn a_thousand_at_once_and_one_bad_row_stores_none() {
    let db = Db::new().await;
    let mut batch: Vec<_> = (0..1_000).map(|n| notification(1 + n % 7)).collect();
    let answers = db
        .store
        .accept(&batch, UnknownCustomer::Create, at(0))
        .await
        .unwrap()
        .acceptances;
    assert_eq!(answers.len(), 1_000);
    assert_eq!(
        db.one("SELECT COUNT(*) FROM notification_history").await,
        1_000
    );
    // The last one has an id that exists: all or none.
    let again = batch.pop().unwrap();
    let mut fresh: Vec<_> = (0..900).map(|_| notification(1)).collect();
    fresh.push(again);
    let error = db
        .store
        .accept(&fresh, UnknownCustomer::Create, at(0))
        .await
        .unwrap_err();
    assert!(error.is_duplicate() && !error.is_unavailable());
    assert_eq!(
        db.one("SELECT COUNT(*) FROM notification_history").await,
        1_000
    );
    let ids: Vec<_> = batch.iter().map(|n| n.id).collect();
    assert_eq!(db.store.states(&ids).await.unwrap().len(), 999);
    assert!(db.store.states(&[]).await.unwrap().is_empty());
    db.done().await;
}

/// Not one statement a notification: what a request with a thousand costs is counted by the server.
#[tokio::test]
async fn a_thousand_of_one_request_are_one_transaction_and_a_few_statements() {
    struct Thousand(Vec<Notification>);
    impl<'a> From<&'a Thousand> for ToAccept<'a> {
        fn from(thousand: &'a Thousand) -> Self {
            Self {
                notifications: &thousand.0,
                keyed: None,
                event: None,
                origin: "",
            }
        }
    }
    let db = Db::new().await;
    // One connection, so that the session's counters are those of the call.
    let store = db.replica_with(1).await;
    let batch = [Thousand(
        (0..1_000).map(|n| notification(1 + n % 500)).collect(),
    )];
    let counted = async |name: &'static str| -> u64 {
        let (_, value): (String, String) =
            sqlx::query_as("SHOW SESSION STATUS WHERE Variable_name = ?")
                .bind(name)
                .fetch_one(&store.pool)
                .await
                .unwrap();
        value.parse().unwrap()
    };
    let executed = async || {
        let prepared = counted("Com_stmt_execute").await;
        (
            prepared,
            counted("Com_begin").await,
            counted("Com_commit").await,
        )
    };
    let before = executed().await;
    let answers = store
        .accept(&batch, UnknownCustomer::Create, at(0))
        .await
        .unwrap()
        .acceptances;
    assert_eq!(answers, [Acceptance::Now(vec![Item::Accepted; 1_000])]);
    let after = executed().await;
    // Three of them are the counting itself; six insert, of which the largest take 256 rows.
    assert!(after.0 - before.0 <= 3 + 13, "{before:?} {after:?}");
    assert_eq!((after.1 - before.1, after.2 - before.2), (1, 1));
    let in_order = db
        .one(
            "SELECT COUNT(*) FROM notification_history AS a JOIN notification_history AS b ON b.id = a.id + 1 \
             WHERE a.customer_id % 500 + 1 <> b.customer_id",
        )
        .await;
    assert_eq!(
        in_order, 0,
        "the history has them in the order of the request"
    );
    store.close().await;
    db.done().await;
}

#[tokio::test]
async fn what_is_past_its_time_ends_as_it_is_accepted() {
    let db = Db::new().await;
    let late = Notification {
        expires_at: at(0),
        ..notification(1)
    };
    let batch = [late, notification(1)];
    let committed = db.store.accept(&batch, UnknownCustomer::Create, at(0));
    let acceptances = committed.await.unwrap().acceptances;
    assert_eq!(
        acceptances,
        vec![Acceptance::Now(vec![Item::Accepted]); 2],
        "it is in the history like any other"
    );
    let view = db.store.notification(batch[0].id).await.unwrap().unwrap();
    let state = (view.state.status, view.state.reason, view.state.fcm);
    let ended = (
        Status::Suppressed,
        Some(Reason::Expired),
        ProviderResult::NotSent,
    );
    assert_eq!(state, ended);
    assert_eq!(view.completed_at, Some(at(0)));
    let claims = batch.each_ref().map(|notification| Claim {
        notification: notification.id,
        round: 1,
    });
    let claimed = db
        .store
        .claim(ClaimId::generate(), &claims, Duration::from_secs(60))
        .await
        .unwrap();
    let ours = |index: usize| claimed[&batch[index].id].claimed.ours;
    assert_eq!((ours(0), ours(1)), (false, true));
    let books = db.store.books(at(0)).await.unwrap();
    assert_eq!((books.accepted, books.suppressed, books.pending), (2, 1, 1));
    assert_eq!(db.store.recount_hour(at(0)).await.unwrap(), []);
    db.done().await;
}
