use chrono::TimeDelta;
use push_core::job::GiveUpReason;
use push_core::provider::Provider;
use push_core::replay::LetterState;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use super::seed::customer;
use super::statements::constants;
use super::{Db, at};
use crate::{DeadLetterId, Filter};

impl Db {
    /// So many letters of 100 customers: every state, reason and provider, two at each millisecond.
    async fn many_letters(&self, count: u32) {
        let sql = format!(
            "INSERT INTO dead_letters (dedupe_key, notification_id, customer_id, registration_id, provider, reason, \
                 error_code, error_text, created_at, replayed_at, discarded_at) \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             SELECT UNHEX(SHA2(n, 256)), UNHEX(LEFT(SHA2(n DIV 3, 256), 32)), 1 + n % 100, n, ELT(1 + n % 3, 'fcm', 'expo', NULL), \
                 ELT(1 + n DIV 3 % 3, 'retries_exhausted', 'operator_must_act', 'poison'), 'x', 'y', \
                 '2026-09-21 14:13:20.000' + INTERVAL (n DIV 2) * 1000 MICROSECOND, \
                 IF(n % 5 = 0, NOW(3), NULL), IF(n % 5 = 1, NOW(3), NULL) FROM numbers"
        );
        // MariaDB allows 1,000 recursions less than that by default, MySQL fewer.
        for set in [
            "SET SESSION max_recursive_iterations = 1000000",
            "SET SESSION cte_max_recursion_depth = 1000000",
        ] {
            let mut connection = self.store.pool.acquire().await.unwrap();
            if sqlx::raw_sql(AssertSqlSafe(set))
                .execute(&mut *connection)
                .await
                .is_ok()
            {
                sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                    .execute(&mut *connection)
                    .await
                    .unwrap();
                break;
            }
        }
        self.execute("ANALYZE TABLE dead_letters").await;
    }

    /// The ids that a condition of ours means, newest first.
    async fn meant(&self, condition: &str) -> Vec<u64> {
        let sql = format!(
            "SELECT id FROM dead_letters IGNORE INDEX (by_state) WHERE {condition} ORDER BY created_at DESC, id DESC"
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&self.store.pool)
            .await
            .unwrap()
    }

    async fn listed(&self, filter: &Filter, page: u32) -> Vec<u64> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let found = self.store.dead_letters(filter, after, page).await.unwrap();
            all.extend(found.iter().map(|letter| letter.id.0));
            after = found.last().map(crate::LetterView::place);
            if found.len() < page as usize {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn every_combination_of_filters_lists_what_it_means_page_by_page() {
    let db = Db::new().await;
    db.many_letters(300).await;
    let states = [
        (None, "1"),
        (Some(LetterState::Open), "state = 'open'"),
        (Some(LetterState::Replayed), "state = 'replayed'"),
    ];
    let reasons = [
        (None, "1"),
        (Some(GiveUpReason::Poison), "reason = 'poison'"),
    ];
    let providers = [(None, "1"), (Some(Provider::Expo), "provider = 'expo'")];
    let customers = [(None, "1"), (Some(customer(5)), "customer_id = 5")];
    let hour = TimeDelta::milliseconds(50);
    let times = [
        (None, None, "1"),
        (
            Some(at(0) + hour),
            Some(at(0) + hour * 2),
            "created_at >= '2026-09-21 14:13:20.050' AND created_at < '2026-09-21 14:13:20.100'",
        ),
    ];
    for (state, s) in states {
        for (reason, r) in reasons {
            for (provider, p) in providers {
                for (customer, c) in customers {
                    for (from, to, t) in times {
                        let filter = Filter {
                            state,
                            reason,
                            provider,
                            customer,
                            from,
                            to,
                            notification: None,
                        };
                        let condition = [s, r, p, c, t].join(" AND ");
                        let meant = db.meant(&condition).await;
                        assert_eq!(db.listed(&filter, 7).await, meant, "{condition}");
                    }
                }
            }
        }
    }
    let one = db
        .store
        .dead_letters(&Filter::default(), None, 1)
        .await
        .unwrap()
        .remove(0);
    let filter = Filter {
        notification: one.notification,
        ..Filter::default()
    };
    let of_it: Vec<u64> = db.listed(&filter, 2).await;
    assert!(of_it.contains(&one.id.0) && of_it.len() <= 3);
    let nobody = Filter {
        customer: Some(customer(101)),
        ..filter
    };
    assert!(db.listed(&nobody, 2).await.is_empty());
    db.done().await;
}

/// What is new does not move the pages that are still to come.
#[tokio::test]
async fn a_page_stays_where_it_is_while_new_letters_come() {
    let db = Db::new().await;
    db.many_letters(20).await;
    let all = db.meant("1").await;
    let first = db
        .store
        .dead_letters(&Filter::default(), None, 10)
        .await
        .unwrap();
    let after = first.last().map(crate::LetterView::place);
    db.execute("UPDATE dead_letters SET created_at = '2030-01-01' WHERE id = 20")
        .await;
    let second = db
        .store
        .dead_letters(&Filter::default(), after, 10)
        .await
        .unwrap();
    let told: Vec<u64> = first
        .iter()
        .chain(&second)
        .map(|letter| letter.id.0)
        .collect();
    assert_eq!(told, all);
    assert_eq!(db.store.dead_letter(DeadLetterId(999)).await.unwrap(), None);
    let details = db.store.dead_letter(first[0].id).await.unwrap().unwrap();
    assert_eq!(details.letter.id, first[0].id);
    assert_eq!(details.notification, None, "nobody knows that notification");
    let counts = db.store.letter_counts().await.unwrap();
    assert_eq!(counts.by_state.values().sum::<u64>(), 20);
    let open = (LetterState::Open, GiveUpReason::Poison);
    let meant = db.meant("state = 'open' AND reason = 'poison'").await.len();
    assert_eq!(counts.by_state[&open], meant as u64);
    assert_eq!(counts.operations_running, 0);
    db.done().await;
}

/// Each reads one index in its order, from the place where the page begins: no row is sorted, and none is skipped that
/// an index could have skipped.
#[tokio::test]
async fn every_list_is_a_range_of_its_index() {
    let db = Db::new().await;
    db.many_letters(6_000).await;
    let values = |name: &str| match name
        .rsplit_once("LIST_")
        .or(name.rsplit_once("COUNT_"))
        .or(name.rsplit_once("NEXT_"))
        .unwrap()
        .1
    {
        "ANY" => vec![],
        "STATE" => vec!["'open'"],
        "REASON" => vec!["'poison'"],
        "PROVIDER" => vec!["'fcm'"],
        "STATE_REASON" => vec!["'open'", "'poison'"],
        "STATE_PROVIDER" => vec!["'open'", "'fcm'"],
        "REASON_PROVIDER" => vec!["'poison'", "'fcm'"],
        "STATE_REASON_PROVIDER" => vec!["'open'", "'poison'", "'fcm'"],
        "CUSTOMER" => vec!["5", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL"],
        "NOTIFICATION" => vec![
            "UNHEX(LEFT(SHA2(7, 256), 32))",
            "5",
            "5",
            "NULL",
            "NULL",
            "NULL",
            "NULL",
            "NULL",
            "NULL",
        ],
        other => panic!("{other}"),
    };
    let mut seen = 0;
    for (name, sql) in constants() {
        let place: &[&str] = match name.split('_').next() {
            Some("LIST") => &[
                "'2026-09-21 14:13:20.100'",
                "'2026-09-21 14:13:21.000'",
                "'2026-09-21 14:13:21.000'",
                "5000",
                "200",
            ],
            Some("NEXT") => &[
                "'2026-09-21 14:13:20.100'",
                "'2026-09-21 14:13:21.000'",
                "'2026-09-21 14:13:20.100'",
                "500",
                "9000",
                "200",
            ],
            Some("COUNT") if name.starts_with("COUNT_") => &[
                "'2026-09-21 14:13:20.100'",
                "'2026-09-21 14:13:21.000'",
                "9000",
            ],
            _ => continue,
        };
        seen += 1;
        let mut parameters = values(name);
        parameters.extend(place);
        assert_eq!(sql.matches('?').count(), parameters.len(), "{name}");
        let explain = parameters
            .iter()
            .fold(format!("EXPLAIN FORMAT=TRADITIONAL {sql}"), |sql, value| {
                sql.replacen('?', value, 1)
            });
        let rows: Vec<MySqlRow> = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&db.store.pool)
            .await
            .unwrap();
        assert_eq!(rows.len(), 1, "{name}");
        let text = |column| {
            rows[0]
                .try_get::<Option<String>, _>(column)
                .unwrap()
                .unwrap_or_default()
        };
        let how = text("type");
        assert!(["range", "ref"].contains(&how.as_str()), "{name}: {how}");
        if !name.ends_with("_NOTIFICATION") {
            assert!(
                !text("Extra").contains("filesort"),
                "{name}: {}",
                text("Extra")
            );
        }
    }
    assert_eq!(seen, 10 + 6 + 6);
    db.done().await;
}
