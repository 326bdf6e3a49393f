//! Of one event at many places at one moment one is news.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use push_core::booking::{BookingEvent, BookingId, BookingStatus, Fingerprint, Happened, Ignored};
use push_core::notification::{Notification, NotificationType};
use tokio::task::JoinSet;

use super::seed::{customer, notification};
use super::{Db, at};
use crate::{
    Acceptance, IdempotencyKey, Item, KeptAnswer, Keyed, Store, StoreError, ToAccept,
    UnknownCustomer,
};

/// A request about an event.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) notifications: Vec<Notification>,
    event: BookingEvent,
    keyed: Option<Keyed>,
}

impl<'a> From<&'a Asked> for ToAccept<'a> {
    fn from(asked: &'a Asked) -> Self {
        Self {
            notifications: &asked.notifications,
            keyed: asked.keyed.as_ref(),
            event: Some(&asked.event),
            origin: "",
        }
    }
}

/// A status of booking `booking` of customer 1.
pub(super) fn status(booking: &str, name: &str) -> Asked {
    Asked {
        notifications: vec![notification(1)],
        event: BookingEvent {
            booking: BookingId::parse(booking).unwrap(),
            customer: customer(1),
            what: Happened::Status(BookingStatus {
                name: name.to_owned(),
                technician: None,
            }),
            occurred_at: None,
            heard_at: at(0),
            says_unchanged: false,
        },
        keyed: None,
    }
}

fn assigned(booking: &str, technician: u8) -> Asked {
    let mut asked = status(booking, "technician_assigned");
    asked.event.what = Happened::Status(BookingStatus {
        name: "technician_assigned".to_owned(),
        technician: Some(Fingerprint([technician; 32])),
    });
    asked
}

impl Asked {
    fn occurred(mut self, at: DateTime<Utc>) -> Self {
        self.event.occurred_at = Some(at);
        self
    }

    fn of(mut self, of: i64) -> Self {
        self.event.customer = customer(of);
        for notification in &mut self.notifications {
            notification.customer = customer(of);
        }
        self
    }

    fn without_text(mut self) -> Self {
        self.notifications.clear();
        self
    }

    /// The answer says what became of it.
    fn keyed(mut self, key: &str, body: &str) -> Self {
        self.keyed = Some(Keyed {
            key: IdempotencyKey::new("backend", key, "/events", body),
            answer: Arc::new(|items| {
                (items != [Item::UnknownCustomer]).then(|| KeptAnswer {
                    status: Some(200),
                    body: format!("{items:?}"),
                })
            }),
        });
        self
    }
}

impl Db {
    async fn tell(&self, batch: &[Asked]) -> Vec<Acceptance> {
        tell_to(&self.store, batch).await.unwrap()
    }

    /// One by one; the reasons why they were ignored.
    async fn story(&self, events: impl IntoIterator<Item = Asked>) -> Vec<Option<Ignored>> {
        let mut told = Vec::new();
        for event in events {
            told.push(reason(&self.tell(&[event]).await[0]));
        }
        told
    }

    async fn with_customer_1() -> Self {
        let db = Self::new().await;
        db.store.ensure_customer(customer(1)).await.unwrap();
        db
    }

    async fn stored(&self) -> i64 {
        self.one("SELECT COUNT(*) FROM notification_history").await
    }
}

async fn tell_to(store: &Store, batch: &[Asked]) -> Result<Vec<Acceptance>, StoreError> {
    let committed = store.accept(batch, UnknownCustomer::Reject, at(0)).await;
    committed.map(|committed| committed.acceptances)
}

fn reason(acceptance: &Acceptance) -> Option<Ignored> {
    match acceptance {
        Acceptance::Now(items) => match items.as_slice() {
            [Item::Accepted] => None,
            [Item::Ignored(why)] => Some(*why),
            other => panic!("{other:?}"),
        },
        Acceptance::Before(_) | Acceptance::KeyReused => panic!("{acceptance:?}"),
    }
}

const NEWS: Option<Ignored> = None;
const UNCHANGED: Option<Ignored> = Some(Ignored::Unchanged);
const OLDER: Option<Ignored> = Some(Ignored::Older);
const NO_TEMPLATE: Option<Ignored> = Some(Ignored::NoTemplate);

#[tokio::test]
async fn what_is_known_of_a_booking_outlives_the_program_that_heard_it() {
    let db = Db::with_customer_1().await;
    let mut says_so_itself = status("7", "reached");
    says_so_itself.event.says_unchanged = true;
    let mut invoice = status("7", "");
    invoice.event.what = Happened::Other(NotificationType::parse("invoice").unwrap());
    let told = db
        .story([
            says_so_itself,
            assigned("7", 1).occurred(at(1_000)),
            assigned("7", 1).occurred(at(2_000)),
            assigned("7", 2).occurred(at(3_000)),
            status("7", "reached").occurred(at(2_999)),
            status("7", "reached").occurred(at(3_000)),
            status("8", "reached").occurred(at(1)),
            invoice.clone(),
            invoice.clone(),
            status("7", "reached"),
            // The row keeps no time before 1970, and no status may fail for it.
            status("9", "reached")
                .occurred(DateTime::UNIX_EPOCH - chrono::TimeDelta::days(700_000)),
        ])
        .await;
    let wanted = [
        UNCHANGED, NEWS, UNCHANGED, NEWS, OLDER, NEWS, NEWS, NEWS, UNCHANGED, UNCHANGED, NEWS,
    ];
    assert_eq!(told, wanted);
    assert_eq!(db.stored().await, 6);
    db.done().await;
}

#[tokio::test]
async fn a_status_without_a_text_is_remembered_and_a_refused_one_is_not() {
    let db = Db::with_customer_1().await;
    let stranger = db.tell(&[status("7", "reached").of(2)]).await;
    assert_eq!(stranger, [Acceptance::Now(vec![Item::UnknownCustomer])]);
    let stranger = db
        .tell(&[status("7", "on hold").of(2).without_text()])
        .await;
    assert_eq!(stranger, [Acceptance::Now(vec![Item::UnknownCustomer])]);
    assert_eq!(db.one("SELECT COUNT(*) FROM booking_status").await, 0);
    // One that the database refuses: its notification exists.
    let first = status("6", "reached");
    let mut refused = status("7", "reached");
    refused.notifications.clone_from(&first.notifications);
    db.tell(&[first]).await;
    let error = tell_to(&db.store, &[refused]).await.unwrap_err();
    assert!(error.is_duplicate());
    let told = db
        .story([
            status("7", "reached"),
            status("7", "on hold").without_text(),
            status("7", "on hold").without_text(),
            status("7", "reached"),
        ])
        .await;
    assert_eq!(told, [NEWS, NO_TEMPLATE, UNCHANGED, NEWS]);
    db.done().await;
}

#[tokio::test]
async fn events_of_one_batch_are_judged_in_their_order() {
    let db = Db::with_customer_1().await;
    let batch = [
        status("b", "reached"),
        status("a", "reached").of(2),
        status("a", "startjourney"),
        status("b", "reached"),
        status("b", "on hold").without_text(),
        status("a", "reached"),
        status("b", "reached"),
    ];
    let told = db.tell(&batch).await;
    assert_eq!(told[1], Acceptance::Now(vec![Item::UnknownCustomer]));
    let told: Vec<_> = [0, 2, 3, 4, 5, 6].map(|n| reason(&told[n])).to_vec();
    let wanted = [NEWS, NEWS, UNCHANGED, NO_TEMPLATE, NEWS, NEWS];
    assert_eq!(told, wanted);
    let again = db.story([status("a", "reached"), status("b", "reached")]);
    assert_eq!(again.await, [UNCHANGED, UNCHANGED]);
    db.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_at_once_at_two_replicas_one_is_news() {
    let db = Db::with_customer_1().await;
    let stores = [db.store.clone(), db.replica().await];
    let mut telling = JoinSet::new();
    for n in 0..50 {
        let store = stores[n % 2].clone();
        // In batches, each time in another order: they wait for each other, and do not deadlock for good.
        let mut batch = vec![status("x", "reached"), status("y", "reached")];
        batch.rotate_left(n / 2 % 2);
        telling.spawn(async move { tell_to(&store, &batch).await.unwrap() });
    }
    let told = telling.join_all().await.concat();
    let news = told.iter().filter(|told| reason(told) == NEWS).count();
    let unchanged = told.iter().filter(|told| reason(told) == UNCHANGED).count();
    assert_eq!((news, unchanged, db.stored().await), (2, 98, 2));
    stores[1].close().await;
    db.done().await;
}

#[tokio::test]
async fn an_answer_is_kept_also_where_the_event_was_ignored() {
    let db = Db::with_customer_1().await;
    let answer = |item: Item| {
        Acceptance::Before(KeptAnswer {
            status: Some(200),
            body: format!("{:?}", [item]),
        })
    };
    let asked = [
        (status("7", "reached").keyed("a", ""), Item::Accepted),
        (
            status("7", "reached").keyed("b", ""),
            Item::Ignored(Ignored::Unchanged),
        ),
        (
            status("7", "on hold").without_text().keyed("c", ""),
            Item::Ignored(Ignored::NoTemplate),
        ),
        (status("7", "reached").keyed("d", ""), Item::Accepted),
    ];
    for (asked, item) in &asked {
        let told = db.tell(std::slice::from_ref(asked)).await;
        assert_eq!(told, [Acceptance::Now(vec![*item])]);
    }
    // Again, whatever the booking is in by now.
    for (asked, item) in &asked {
        let told = db.tell(std::slice::from_ref(asked)).await;
        assert_eq!(told, [answer(*item)]);
    }
    let other = db.tell(&[status("8", "reached").keyed("a", "other")]).await;
    assert_eq!(other, [Acceptance::KeyReused]);
    assert_eq!(db.story([status("8", "reached")]).await, [NEWS]);
    db.done().await;
}

/// What is not carried out has told nobody anything.
#[tokio::test]
async fn a_request_under_a_key_of_another_one_hides_nothing() {
    let db = Db::with_customer_1().await;
    let batch = [
        status("7", "reached").keyed("k", "one"),
        status("8", "reached").keyed("k", "other"),
        status("8", "reached"),
    ];
    let error = tell_to(&db.store, &batch).await.unwrap_err();
    assert!(!error.is_unavailable(), "each is asked alone then");
    let mut told = Vec::new();
    for one in &batch {
        told.extend(db.tell(std::slice::from_ref(one)).await);
    }
    let accepted = Acceptance::Now(vec![Item::Accepted]);
    assert_eq!(told, [accepted.clone(), Acceptance::KeyReused, accepted]);
    // The same request twice is no such case.
    let twice = [
        status("9", "reached").keyed("l", ""),
        status("9", "reached").keyed("l", ""),
        status("9", "reached"),
    ];
    let told = db.tell(&twice).await;
    assert_eq!((reason(&told[0]), reason(&told[2])), (NEWS, UNCHANGED));
    assert!(matches!(told[1], Acceptance::Before(_)));
    db.done().await;
}
