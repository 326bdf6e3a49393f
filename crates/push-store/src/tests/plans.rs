//! What a user can trigger is served by an index, however long the history.

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use super::statements::constants;
use super::{Db, at};
use crate::UnknownCustomer;

/// A step of a plan: table, how it is read, and by which key.
type Step = (String, String, String);

impl Db {
    /// The plan of a statement, with every parameter given as `parameter`.
    async fn plan(&self, sql: &str, parameter: &str) -> Vec<Step> {
        let sql = format!("EXPLAIN FORMAT=TRADITIONAL {}", sql.replace('?', parameter));
        let rows: Vec<MySqlRow> = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&self.store.pool)
            .await
            .unwrap();
        let text = |row: &MySqlRow, column| {
            row.try_get::<Option<String>, _>(column)
                .unwrap()
                .unwrap_or_default()
        };
        rows.iter()
            .map(|row| (text(row, "table"), text(row, "type"), text(row, "key")))
            .collect()
    }

    /// A notification that exists, as a literal: for one that does not, a plan may say no more than that.
    async fn an_id(&self) -> String {
        let id: String =
            sqlx::query_scalar("SELECT HEX(notification_id) FROM notification_history LIMIT 1")
                .fetch_one(&self.store.pool)
                .await
                .unwrap();
        format!("UNHEX('{id}')")
    }

    /// Enough rows that a scan would cost more than an index.
    async fn grow(&self) {
        let batch: Vec<_> = (0..2_000)
            .map(|n| super::seed::notification(1 + n % 500))
            .collect();
        for some in batch.chunks(400) {
            self.store
                .accept(some, UnknownCustomer::Create, at(0))
                .await
                .unwrap();
        }
        let settled: Vec<_> = batch.iter().map(|n| super::seed::sent(n, 1)).collect();
        for some in settled.chunks(200) {
            self.store
                .record(some, at(0), std::time::Duration::ZERO)
                .await
                .unwrap();
        }
        self.execute(
            "INSERT INTO customer_push_tokens (customer_id, device_id, platform, fcm_token, fcm_token_hash, \
             expo_push_token, expo_token_hash) SELECT id DIV 3, id, 'ios', id, UNHEX(SHA2(id, 256)), id, \
             UNHEX(SHA2(id, 256)) FROM notification_history",
        )
        .await;
        self.execute("ANALYZE TABLE notification_history, notification_deliveries, customer_push_tokens, customers").await;
    }
}

fn constant(name: &str) -> &'static str {
    constants()
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1
}

fn reads<'a>(plan: &'a [Step], table: &str) -> Vec<(&'a str, &'a str)> {
    plan.iter()
        .filter(|(read, _, _)| read.contains(table))
        .map(|(_, how, key)| (how.as_str(), key.as_str()))
        .collect()
}

#[tokio::test]
async fn what_a_user_can_trigger_is_served_by_an_index() {
    let db = Db::new().await;
    db.grow().await;
    let hash = "UNHEX(SHA2(77, 256))";
    let id = db.an_id().await;
    let id = id.as_str();
    let cases = [
        ("VIEW", id, "notification_history", "notification"),
        ("DELIVERIES", id, "delivery", "PRIMARY"),
        ("LOCK_FOUND", "77", "customer_push_tokens", "PRIMARY"),
        ("UPDATE", "77", "customer_push_tokens", "PRIMARY"),
        ("LOSE_FCM", "77", "customer_push_tokens", "PRIMARY"),
        ("LOSE_EXPO", "77", "customer_push_tokens", "PRIMARY"),
        ("CHANGED_HANDS", "77", "customer_push_tokens", "PRIMARY"),
        (
            "OFF_DEVICE",
            "'77'",
            "customer_push_tokens",
            "customer_device",
        ),
        ("OFF_FCM", hash, "customer_push_tokens", "fcm_token_once"),
        ("OFF_EXPO", hash, "customer_push_tokens", "expo_token_once"),
        ("DUE", "5", "notification_history", "status_due"),
        (
            "LATER",
            "'2026-01-01'",
            "notification_history",
            "notification",
        ),
    ];
    for (name, parameter, table, key) in cases {
        let plan = db.plan(constant(name), parameter).await;
        let read = reads(&plan, table);
        assert!(
            matches!(read.as_slice(), [(how, used)] if *how != "ALL" && *how != "index" && *used == key),
            "{name}: {plan:?}"
        );
    }
    let find = constant("FIND")
        .replacen('?', "25", 1)
        .replacen('?', "'77'", 1);
    let plan = db.plan(&find, hash).await;
    let keys: Vec<_> = reads(&plan, "customer_push_tokens")
        .into_iter()
        .map(|(_, key)| key)
        .collect();
    assert_eq!(
        keys,
        ["customer_device", "fcm_token_once", "expo_token_once"],
        "{plan:?}"
    );
    db.done().await;
}

#[tokio::test]
async fn rows_by_an_array_of_keys_are_found_by_the_key() {
    let db = Db::new().await;
    db.grow().await;
    let id = db.an_id().await;
    let ids = format!(
        "'[\"{}\"]'",
        id.trim_start_matches("UNHEX('").trim_end_matches("')")
    );
    let cases = [
        ("KNOWN", "'[5]'", "customers", "PRIMARY"),
        ("ACTIVE", "'[5]'", "device", "customer_device"),
        ("FCM_OWNERS", "'[\"00\"]'", "device", "fcm_token_once"),
        ("FCM_DEAD", "'[\"00\"]'", "device", "fcm_token_once"),
        ("EXPO_OWNERS", "'[\"00\"]'", "device", "expo_token_once"),
        ("EXPO_DEAD", "'[\"00\"]'", "device", "expo_token_once"),
        ("LOCK_HISTORY", &ids, "history", "notification"),
        ("RECORDED", &ids, "history", "notification"),
        ("STATES", &ids, "history", "notification"),
        ("UNPUBLISHED", &ids, "history", "notification"),
        ("PUSHED_BACK", &ids, "history", "notification"),
        ("SETTLE", "'[]'", "history", "notification"),
    ];
    for (name, parameter, table, key) in cases {
        let plan = db.plan(constant(name), parameter).await;
        // The array first, then each row by its key.
        let read = plan
            .get(1)
            .map(|(table, how, key)| (table.as_str(), how.as_str(), key.as_str()));
        assert!(
            matches!(read, Some((t, "eq_ref" | "ref", k)) if t == table && k == key),
            "{name}: {plan:?}"
        );
    }
    db.done().await;
}
