use chrono::{DateTime, TimeDelta, Utc};
use push_core::booking::BookingId;
use push_core::id::NotificationId;
use push_core::notification::NotificationType;
use push_core::status::{Ending, Reason, Status};
use sqlx::AssertSqlSafe;

use super::seed::{customer, later, notification, sent};
use super::{Db, at};
use crate::{HistoryFilter, HistoryItem, Opened, Owner, UnknownCustomer};

impl Db {
    /// 300 of 10 customers: every outcome and three types, two at each millisecond from `at(0)` on; some of them of three bookings.
    async fn history_of_300(&self) {
        self.execute(
            "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, status, \
                 reason, created_at, collapse_key) \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300) \
             SELECT UNHEX(LEFT(SHA2(n, 256), 32)), 1 + n % 10, ELT(1 + n % 3, 'test', 'reached', 'a-b.c'), 't', 'b', \
                 ELT(1 + n DIV 2 % 5, 'sent', 'pending', 'failed', 'failed', 'suppressed'), \
                 ELT(1 + n DIV 2 % 5, NULL, NULL, 'refused', 'dead_lettered', ELT(1 + n % 2, 'expired', 'superseded')), \
                 '2026-09-21 14:13:20.000' + INTERVAL (n DIV 2) * 1000 MICROSECOND, \
                 ELT(1 + n % 4, 'booking-1', 'booking-10', 'booking-a') FROM numbers",
        )
        .await;
        self.execute("ANALYZE TABLE notification_history").await;
    }

    /// The rows that a condition of ours means, newest first.
    async fn rows_where(&self, condition: &str) -> Vec<u64> {
        let sql = format!(
            "SELECT id FROM notification_history IGNORE INDEX (by_outcome, by_type, by_customer, by_collapse_key) WHERE {condition} \
             ORDER BY created_at DESC, id DESC"
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&self.store.pool)
            .await
            .unwrap()
    }

    /// Page by page; `between` comes between any two.
    async fn pages(
        &self,
        filter: &HistoryFilter,
        page: u32,
        between: impl AsyncFn(usize),
    ) -> Vec<HistoryItem> {
        let (mut all, mut after) = (Vec::<HistoryItem>::new(), None);
        loop {
            let found = self.store.history(filter, after, page).await.unwrap();
            let end = found.len() < page as usize;
            after = found.last().map(|item| item.place).or(after);
            all.extend(found);
            if end {
                return all;
            }
            between(all.len()).await;
        }
    }
}

fn rows(items: &[HistoryItem]) -> Vec<u64> {
    items.iter().map(|item| item.place.row).collect()
}

#[tokio::test]
async fn every_combination_of_filters_lists_what_it_means_page_by_page() {
    let db = Db::new().await;
    db.history_of_300().await;
    let statuses = [
        (None, "1"),
        (Some(Status::Sent), "status = 'sent'"),
        (Some(Status::Pending), "status = 'pending'"),
        (Some(Status::Failed), "status = 'failed'"),
        (Some(Status::Suppressed), "status = 'suppressed'"),
    ];
    let reasons = [
        (None, "1"),
        (Some(Reason::Refused), "reason = 'refused'"),
        (Some(Reason::Superseded), "reason = 'superseded'"),
    ];
    let kinds = [
        (None, "1"),
        (
            NotificationType::parse("a-b.c").ok(),
            "notification_type = 'a-b.c'",
        ),
    ];
    let whose = [
        (None, None, "1"),
        (None, Some(customer(5)), "customer_id = 5"),
        (Some("1"), None, "collapse_key = 'booking-1'"),
        (
            Some("a"),
            Some(customer(5)),
            "collapse_key = 'booking-a' AND customer_id = 5",
        ),
        (Some("nobody's"), None, "0"),
    ];
    let step = TimeDelta::milliseconds(50);
    let times = [
        (None, None, "1"),
        (
            Some(at(0) + step),
            Some(at(0) + step * 2),
            "created_at >= '2026-09-21 14:13:20.050' AND created_at < '2026-09-21 14:13:20.100'",
        ),
    ];
    for (status, s) in statuses {
        for (reason, r) in reasons {
            for (kind, k) in &kinds {
                for (booking, customer, c) in whose {
                    for (from, to, t) in times {
                        let filter = HistoryFilter {
                            booking: booking.map(|id| BookingId::parse(id).unwrap()),
                            customer,
                            status,
                            kind: kind.clone(),
                            reason,
                            from,
                            to,
                        };
                        let condition = [s, r, k, c, t].join(" AND ");
                        let listed = db.pages(&filter, 7, async |_| {}).await;
                        assert_eq!(
                            rows(&listed),
                            db.rows_where(&condition).await,
                            "{condition}"
                        );
                    }
                }
            }
        }
    }
    db.done().await;
}

/// What comes, and what changes its status, neither moves nor repeats nor drops anything else.
#[tokio::test]
async fn a_page_stays_where_it_is_whatever_comes_meanwhile() {
    let db = Db::new().await;
    db.history_of_300().await;
    let filters = [
        (HistoryFilter::default(), "1"),
        (
            HistoryFilter {
                status: Some(Status::Failed),
                ..HistoryFilter::default()
            },
            "status = 'failed'",
        ),
        (
            HistoryFilter {
                kind: NotificationType::parse("test").ok(),
                ..HistoryFilter::default()
            },
            "notification_type = 'test'",
        ),
        (
            HistoryFilter {
                customer: Some(customer(5)),
                ..HistoryFilter::default()
            },
            "customer_id = 5",
        ),
        (
            HistoryFilter {
                booking: BookingId::parse("1").ok(),
                ..HistoryFilter::default()
            },
            "collapse_key = 'booking-1'",
        ),
    ];
    for (number, (filter, condition)) in filters.into_iter().enumerate() {
        let before = db.rows_where(condition).await;
        let listed = db
            .pages(&filter, 10, async |seen| {
                let of = 1 + i64::try_from(seen % 10).unwrap();
                let mut new = notification(of);
                new.kind = NotificationType::parse("test").unwrap();
                new.created_at = at(0) + TimeDelta::hours(1 + i64::try_from(number).unwrap());
                let new = [new, notification(5)];
                db.store.accept(&new, UnknownCustomer::Create, at(0)).await.unwrap();
                // One that was listed, and one that will be: both keep their type, and fail for another reason.
                db.execute(
                    "UPDATE notification_history SET reason = IF(reason = 'refused', 'dead_lettered', 'refused') \
                     WHERE status = 'failed' AND id % 3 = 0",
                )
                .await;
            })
            .await;
        // What is accepted at a time of the past comes where it belongs.
        let listed: Vec<u64> = rows(&listed)
            .into_iter()
            .filter(|row| before.contains(row))
            .collect();
        assert_eq!(listed, before, "{condition}");
    }
    db.done().await;
}

#[tokio::test]
async fn an_item_holds_what_its_row_does() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let mut refused = sent(n, 1);
    refused.next = push_core::settle::Next::Done(Ending::Failed(Reason::Refused));
    db.record(&[refused], later(200), std::time::Duration::ZERO)
        .await
        .unwrap();
    let filters = [
        HistoryFilter::default(),
        HistoryFilter {
            reason: Some(Reason::Refused),
            ..HistoryFilter::default()
        },
        HistoryFilter {
            customer: Some(customer(1)),
            ..HistoryFilter::default()
        },
    ];
    for filter in filters {
        let found = db.store.history(&filter, None, 5).await.unwrap();
        let view = db.store.notification(n.id).await.unwrap().unwrap();
        let expected = crate::NotificationView {
            deliveries: Vec::new(),
            timeline: Vec::new(),
            ..view
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].notification, expected);
    }
    db.done().await;
}

/// Whoever had to wait would know that there is such a notification.
#[tokio::test]
async fn who_opens_anothers_notification_waits_for_none_of_its_locks() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let mut worker = db.store.pool.begin().await.unwrap();
    sqlx::query("SELECT id FROM notification_history WHERE notification_id = ? FOR UPDATE")
        .bind(n.id.as_uuid())
        .execute(&mut *worker)
        .await
        .unwrap();
    let owner = Owner::Only(customer(2));
    let told = db.store.opened(n.id, owner, later(5), later(9)).await;
    assert_eq!(told, Ok(Opened::Unknown));
    worker.rollback().await.unwrap();
    db.done().await;
}

#[tokio::test]
async fn the_first_opening_counts_and_only_of_ones_own() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let opened = async |id: NotificationId, of: Option<i64>, millis: i64| {
        let owner = of.map_or(Owner::Anyone, |id| Owner::Only(customer(id)));
        db.store
            .opened(id, owner, later(millis), later(9_000))
            .await
            .unwrap()
    };
    let opened_at = async || -> Option<DateTime<Utc>> {
        db.store
            .notification(n.id)
            .await
            .unwrap()
            .unwrap()
            .opened_at
    };
    assert_eq!(
        opened(NotificationId::generate(), None, 5).await,
        Opened::Unknown
    );
    assert_eq!(opened(n.id, Some(2), 5).await, Opened::Unknown);
    assert_eq!(opened_at().await, None);
    let at_once =
        futures::future::join_all((0..8).map(|number| opened(n.id, Some(1), 100 + number))).await;
    let first = at_once
        .iter()
        .filter(|opened| matches!(opened, Opened::First(_)))
        .count();
    assert_eq!(first, 1, "{at_once:?}");
    let at = opened_at().await.unwrap();
    assert_eq!(opened(n.id, None, 5).await, Opened::Before(at));
    assert_eq!(opened_at().await, Some(at));
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    let steps: Vec<_> = view
        .timeline
        .iter()
        .map(|entry| entry.step.as_str())
        .collect();
    assert_eq!(steps, ["accepted", "opened"]);
    assert_eq!(
        db.one(
            "SELECT COUNT(*) FROM notification_counter_changes WHERE changes LIKE '%\"opened\":1%'"
        )
        .await,
        1
    );
    // The clock of that phone is behind.
    let other = &db.accepted(1).await[0];
    let told = opened(other.id, Some(1), -60_000).await;
    assert_eq!(told, Opened::First(other.created_at));
    db.done().await;
}
