use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use push_core::booking::{BookingEvent, BookingId, BookingStatus, Happened};
use push_core::notification::{Notification, NotificationType, Priority};
use push_core::rate::Rate;

use super::seed::{customer, later, notification};
use super::{Db, at};
use crate::{
    Acceptance, IdempotencyKey, Item, KeptAnswer, Keyed, Store, ToAccept, UnknownCustomer,
};

impl Db {
    /// A replica that limits, with its customers.
    async fn limited(&self, rate: &str) -> Store {
        for of in 1..=3 {
            self.store.ensure_customer(customer(of)).await.unwrap();
        }
        let rate = Rate::parse_or_off(rate).unwrap();
        self.replica().await.limited_per_customer(rate)
    }
}

impl<'a, 'b: 'a> From<&'a ToAccept<'b>> for ToAccept<'a> {
    fn from(request: &'a ToAccept<'b>) -> Self {
        *request
    }
}

async fn items(store: &Store, batch: &[ToAccept<'_>]) -> Vec<Item> {
    let accepted = store.accept(batch, UnknownCustomer::Reject, at(0)).await;
    let items = |acceptance| match acceptance {
        Acceptance::Now(items) => items,
        Acceptance::Before(_) | Acceptance::KeyReused => Vec::new(),
    };
    let acceptances = accepted.unwrap().acceptances.into_iter();
    acceptances.flat_map(items).collect()
}

fn passed(items: &[Item]) -> usize {
    items.iter().filter(|item| **item == Item::Accepted).count()
}

fn status(booking: &str, name: &str) -> BookingEvent {
    BookingEvent {
        booking: BookingId::parse(booking).unwrap(),
        customer: customer(1),
        what: Happened::Status(BookingStatus {
            name: name.to_owned(),
            technician: None,
        }),
        says_unchanged: false,
        occurred_at: None,
        heard_at: at(0),
    }
}

fn told<'a>(event: &'a BookingEvent, notification: &'a Notification) -> ToAccept<'a> {
    ToAccept {
        event: Some(event),
        ..notification.into()
    }
}

#[tokio::test]
async fn of_many_at_once_at_several_replicas_exactly_so_many_pass() {
    let db = Db::new().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let replica = db.limited("30/1h").await;
        for _ in 0..10 {
            let replica = replica.clone();
            asking.spawn(async move {
                let batch = [1, 2, 1, 1].map(notification);
                items(&replica, &batch.each_ref().map(ToAccept::from)).await
            });
        }
    }
    let asked = asking.join_all().await;
    let passed: usize = asked.iter().map(|items| passed(items)).sum();
    assert_eq!(passed, 30 + 30);
    let count = "SELECT COUNT(*) FROM notification_history WHERE customer_id = 1";
    assert_eq!(db.one(count).await, 30);
    for item in asked.into_iter().flatten() {
        if let Item::RateLimited(after) = item {
            assert!(after > Duration::ZERO && after <= Duration::from_mins(2));
        } else {
            assert_eq!(item, Item::Accepted);
        }
    }
    db.done().await;
}

#[tokio::test]
async fn of_a_request_the_first_of_each_customer_pass_and_nothing_else_is_touched() {
    let db = Db::new().await;
    let limited = db.limited("2/1h").await;
    let batch = [1, 2, 1, 1, 9, 2, 2, 3].map(notification);
    let request = ToAccept {
        notifications: &batch,
        ..(&batch[0]).into()
    };
    let told = items(&limited, &[request]).await;
    let said = |item: &Item| match item {
        Item::Accepted => 'y',
        Item::RateLimited(_) => 'n',
        Item::UnknownCustomer | Item::Ignored(_) => '?',
    };
    assert_eq!(told.iter().map(said).collect::<String>(), "yyyn?yny");
    assert_eq!(db.one("SELECT COUNT(*) FROM notification_history").await, 5);
    // Without a limit nothing is written down at all.
    let off = db.limited("off").await;
    db.execute("DELETE FROM customer_rate_limits").await;
    let again = [1, 2, 1, 1, 9, 2, 2, 3].map(notification);
    let request = ToAccept {
        notifications: &again,
        ..(&again[0]).into()
    };
    assert_eq!(passed(&items(&off, &[request]).await), 7);
    assert_eq!(db.one("SELECT COUNT(*) FROM customer_rate_limits").await, 0);
    db.done().await;
}

/// What is scheduled for one minute, over an hour at so many a minute, would all come out in it.
#[tokio::test]
async fn a_time_takes_as_many_as_may_be_sent_at_once_at_several_replicas_too() {
    let db = Db::new().await;
    let noon = at(3_600_000);
    let at_time = |of: i64, send_at| Notification {
        send_at: Some(send_at),
        ..notification(of)
    };
    // Over time the budget itself is full again and again.
    let refill = || db.execute("UPDATE customer_rate_limits SET full_at = NOW(6)");
    let [one, two] = [db.limited("5/1m").await, db.limited("5/1m").await];
    let ask = async |replica: &Store, batch: &[Notification]| {
        let request = ToAccept {
            notifications: batch,
            ..(&batch[0]).into()
        };
        items(replica, &[request]).await
    };
    let mut asked = Vec::new();
    for _ in 0..3 {
        refill().await;
        let mut asking = tokio::task::JoinSet::new();
        for replica in [&one, &two, &one, &two] {
            let replica = replica.clone();
            let batch = [1, 2].map(|of| at_time(of, noon + Duration::from_secs(3)));
            asking
                .spawn(async move { items(&replica, &batch.each_ref().map(ToAccept::from)).await });
        }
        asked.extend(asking.join_all().await.concat());
    }
    assert_eq!(passed(&asked), 5 + 5);
    let pending = "SELECT COUNT(*) FROM notification_history WHERE customer_id = 1";
    assert_eq!(db.one(pending).await, 5);
    // Around that time is no room either, and further away there is; also within one request.
    refill().await;
    let batch = [-26, 0, 33, 34, 34, 100, 34]
        .map(|second: i64| at_time(1, noon + chrono::TimeDelta::seconds(second)));
    let told = ask(&two, &batch).await;
    let said = |item: &Item| match item {
        Item::Accepted => 'y',
        Item::RateLimited(after) if *after == Duration::from_mins(1) => 'n',
        Item::RateLimited(_) | Item::UnknownCustomer | Item::Ignored(_) => '?',
    };
    assert_eq!(told.iter().map(said).collect::<String>(), "nnnyyyy");
    refill().await;
    let batch = [0; 3].map(|_| at_time(1, noon + Duration::from_secs(34)));
    assert_eq!(passed(&ask(&one, &batch).await), 2);
    // At once is another matter, and what is not to be sent any more leaves its place.
    refill().await;
    assert_eq!(passed(&ask(&one, &[notification(1)]).await), 1);
    db.execute(
        "UPDATE notification_history SET status = 'suppressed' \
         WHERE customer_id = 1 AND send_at IS NOT NULL ORDER BY send_at LIMIT 2",
    )
    .await;
    refill().await;
    let batch = [0; 3].map(|_| at_time(1, noon));
    assert_eq!(passed(&ask(&one, &batch).await), 2);
    db.done().await;
}

#[tokio::test]
async fn a_budget_comes_back_by_the_databases_clock() {
    let db = Db::new().await;
    let limited = db.limited("2/1h").await;
    let one = notification(1);
    let ask = async || {
        let again = notification(1);
        items(&limited, &[(&again).into()]).await[0]
    };
    assert_eq!(items(&limited, &[(&one).into()]).await, [Item::Accepted]);
    assert_eq!(ask().await, Item::Accepted);
    assert!(matches!(ask().await, Item::RateLimited(_)));
    let pass = |half_hours: &'static str| db.execute(half_hours);
    pass("UPDATE customer_rate_limits SET full_at = full_at - INTERVAL 29 MINUTE").await;
    let Item::RateLimited(after) = ask().await else {
        panic!("one comes back after half an hour");
    };
    assert!(after <= Duration::from_mins(1), "{after:?}");
    pass("UPDATE customer_rate_limits SET full_at = full_at - INTERVAL 1 MINUTE").await;
    assert_eq!(ask().await, Item::Accepted);
    assert!(matches!(ask().await, Item::RateLimited(_)));
    db.done().await;
}

#[tokio::test]
async fn bookings_have_budgets_of_their_own_and_a_limited_event_was_not_heard() {
    let db = Db::new().await;
    let limited = db.limited("2/1h").await;
    let (high, normal) = (
        notification(1),
        Notification {
            priority: Priority::Normal,
            ..notification(1)
        },
    );
    let again = |of: &Notification| Notification {
        id: notification(1).id,
        ..of.clone()
    };
    let ask = async |event: Option<&BookingEvent>, of: &Notification| {
        let of = again(of);
        let request = ToAccept {
            event,
            ..(&of).into()
        };
        items(&limited, &[request]).await[0]
    };
    for _ in 0..2 {
        assert_eq!(ask(None, &high).await, Item::Accepted);
    }
    assert!(matches!(ask(None, &high).await, Item::RateLimited(_)));
    for (booking, of) in [("n", &normal), ("h", &high)] {
        let first = status(booking, "reached");
        assert_eq!(ask(Some(&first), of).await, Item::Accepted);
        // What tells nothing takes nothing.
        for _ in 0..3 {
            let same = ask(Some(&first), of).await;
            assert!(matches!(same, Item::Ignored(_)), "{same:?}");
        }
        let silent = status(&format!("{booking}-silent"), "s");
        let nothing = ToAccept {
            notifications: &[],
            ..told(&silent, of)
        };
        let nothing = items(&limited, &[nothing]).await[0];
        assert!(matches!(nothing, Item::Ignored(_)), "{nothing:?}");
        let second = status(booking, "startservice");
        assert_eq!(ask(Some(&second), of).await, Item::Accepted);
        let third = status(booking, "completed");
        assert!(matches!(ask(Some(&third), of).await, Item::RateLimited(_)));
        db.execute("UPDATE customer_rate_limits SET full_at = full_at - INTERVAL 30 MINUTE")
            .await;
        // It is still news.
        assert_eq!(ask(Some(&third), of).await, Item::Accepted);
    }
    db.done().await;
}

/// Texts of one's own, urgent as they may call themselves, must not use up what "your technician has arrived" needs.
#[tokio::test]
async fn only_the_built_in_statuses_are_urgent_news_of_a_booking() {
    let db = Db::new().await;
    let limited = db.limited("2/1h").await;
    let ask = async |event: BookingEvent| {
        let urgent = notification(1);
        items(&limited, &[told(&event, &urgent)]).await[0]
    };
    let offer = |booking| BookingEvent {
        what: Happened::Other(NotificationType::parse("urgent_offer").unwrap()),
        ..status(booking, "")
    };
    assert_eq!(ask(offer("a")).await, Item::Accepted);
    assert_eq!(ask(status("b", "nearly_there")).await, Item::Accepted);
    for own in [offer("c"), status("d", "nearly_there")] {
        assert!(matches!(ask(own).await, Item::RateLimited(_)));
    }
    for name in ["technician_assigned", "reached"] {
        assert_eq!(ask(status(name, name)).await, Item::Accepted, "{name}");
    }
    assert!(matches!(
        ask(status("e", "completed")).await,
        Item::RateLimited(_)
    ));
    db.done().await;
}

#[tokio::test]
async fn what_came_before_takes_nothing_and_what_is_refused_keeps_no_key() {
    let db = Db::new().await;
    let limited = db.limited("3/1h").await;
    let keyed = |key: &str, answer: &'static str| Keyed {
        key: IdempotencyKey::new("backend", key, "/send", "{}"),
        answer: Arc::new(move |items: &[Item]| {
            items.contains(&Item::Accepted).then(|| KeptAnswer {
                status: Some(202),
                body: answer.to_owned(),
            })
        }),
    };
    let (first, second) = (keyed("k", "first"), keyed("k", "second"));
    let (one, again) = (notification(1), notification(1));
    let named = ToAccept {
        keyed: Some(&first),
        ..(&one).into()
    };
    let repeated = ToAccept {
        keyed: Some(&second),
        ..(&again).into()
    };
    // Twice in one transaction, and once more later.
    let told = items(&limited, &[named, repeated]).await;
    assert_eq!(told, [Item::Accepted]);
    assert_eq!(items(&limited, &[repeated]).await, []);
    let others = [notification(1), notification(1)];
    let others = others.each_ref().map(ToAccept::from);
    assert_eq!(passed(&items(&limited, &others).await), 2);

    let late = keyed("late", "late");
    let another = notification(1);
    let refused = ToAccept {
        keyed: Some(&late),
        ..(&another).into()
    };
    let told = items(&limited, &[refused]).await;
    assert!(matches!(told[..], [Item::RateLimited(_)]), "{told:?}");
    db.execute("UPDATE customer_rate_limits SET full_at = full_at - INTERVAL 20 MINUTE")
        .await;
    assert_eq!(items(&limited, &[refused]).await, [Item::Accepted]);
    // What the database refuses has taken nothing.
    db.execute("DELETE FROM customer_rate_limits").await;
    let twice = limited.accept(
        std::slice::from_ref(&another),
        UnknownCustomer::Reject,
        at(0),
    );
    twice.await.unwrap_err();
    let kept = "SELECT COUNT(*) FROM customer_rate_limits";
    assert_eq!(db.one(kept).await, 0);
    db.done().await;
}

#[tokio::test]
async fn only_full_budgets_are_purged() {
    let db = Db::new().await;
    let limited = db.limited("1/1h").await;
    for of in 1..=3 {
        let one = notification(of);
        items(&limited, &[(&one).into()]).await;
    }
    db.execute(
        "UPDATE customer_rate_limits SET full_at = NOW(6) - INTERVAL 1 SECOND WHERE customer_id < 3",
    )
    .await;
    let purge = async |until| limited.purge_full_budgets(until, 1).await.unwrap();
    assert_eq!(
        purge(later(0).min(Utc::now()) - Duration::from_hours(1)).await,
        0
    );
    // A caller whose clock is wrong does not give anything back.
    let far = Utc::now() + Duration::from_hours(48);
    assert_eq!(
        (purge(far).await, purge(far).await, purge(far).await),
        (1, 1, 0)
    );
    assert_eq!(db.one("SELECT COUNT(*) FROM customer_rate_limits").await, 1);
    db.done().await;
}
