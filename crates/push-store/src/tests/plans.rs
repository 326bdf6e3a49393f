//! What a user can trigger is served by an index, however long the history.

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use super::statements::constants;
use super::{Db, at};
use crate::UnknownCustomer;

/// A step of a plan: table, how it is read, and by which key.
type Step = (String, String, String);

impl Db {
    /// The plan of a statement with these literals as its parameters.
    async fn plan(&self, name: &str, parameters: &[&str]) -> Vec<Step> {
        let rows = self.explain(name, parameters).await;
        let text = |row: &MySqlRow, column| {
            row.try_get::<Option<String>, _>(column)
                .unwrap()
                .unwrap_or_default()
        };
        rows.iter()
            .map(|row| (text(row, "table"), text(row, "type"), text(row, "key")))
            .collect()
    }

    async fn explain(&self, name: &str, parameters: &[&str]) -> Vec<MySqlRow> {
        let (_, sql) = constants()
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        assert_eq!(sql.matches('?').count(), parameters.len(), "{name}");
        let mut explain = format!("EXPLAIN FORMAT=TRADITIONAL {sql}");
        for parameter in parameters {
            explain = explain.replacen('?', parameter, 1);
        }
        let sql = explain;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&self.store.pool)
            .await
            .unwrap()
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
            self.record(some, at(0), std::time::Duration::ZERO)
                .await
                .unwrap();
        }
        self.execute(
            "INSERT INTO customer_push_tokens (customer_id, device_id, platform, fcm_token, fcm_token_hash, \
             expo_push_token, expo_token_hash) SELECT id DIV 3, id, 'ios', id, UNHEX(SHA2(id, 256)), id, \
             UNHEX(SHA2(id, 256)) FROM notification_history",
        )
        .await;
        self.execute("INSERT INTO customer_versions SELECT id, 1 FROM notification_history")
            .await;
        self.execute(
            "INSERT INTO quiet_hours_waits (notification_id, customer_id) \
             SELECT notification_id, customer_id FROM notification_history",
        )
        .await;
        self.execute(
            "INSERT INTO notification_preferences (customer_id) SELECT id FROM notification_history",
        )
        .await;
        self.execute(
            "INSERT INTO idempotency_keys (key_hash, body_hash) \
             SELECT UNHEX(SHA2(id, 256)), UNHEX(SHA2(id, 256)) FROM notification_history",
        )
        .await;
        self.execute(
            "INSERT INTO customer_erasures (customer_id, mark, look_again_at) \
             SELECT id, 1, IF(id % 100 = 0, '2026-01-01 00:00:00', NULL) FROM notification_history",
        )
        .await;
        self.execute(
            "INSERT INTO booking_status (booking_id, customer_id, status) SELECT id, id, '' FROM notification_history",
        )
        .await;
        self.execute(
            "INSERT INTO retention_leftovers SELECT notification_id FROM notification_history",
        )
        .await;
        self.execute("INSERT INTO retention_places (name, last_id) VALUES ('notification_history', 7), ('a', 1), ('b', 1)")
            .await;
        self.execute("ANALYZE TABLE retention_leftovers, retention_places, booking_status, customer_erasures, quiet_hours_waits, customer_versions, notification_preferences, idempotency_keys, notification_history, notification_deliveries, customer_push_tokens, customers").await;
    }
}

impl Db {
    /// As one range each, that is read no further than to the limit: nothing is sorted.
    async fn history_is_read_from_its_indexes(&self) {
        let (from, n) = ("'2020-01-01 00:00:00.000'", "NULL");
        let cases: [(&str, &[&str], &str); 8] = [
            ("HISTORY_ANY", &[], "by_time"),
            ("HISTORY_CUSTOMER", &["25", n, n, n, n, n, n], "by_customer"),
            (
                "HISTORY_CUSTOMER",
                &["25", "'sent'", "'sent'", n, n, "'a'", "'a'"],
                "by_customer",
            ),
            // However many the customer had.
            (
                "HISTORY_BOOKING",
                &["'booking-7'", n, n, n, n, n, n, n, n],
                "by_collapse_key",
            ),
            (
                "HISTORY_BOOKING",
                &["'booking-7'", "25", "25", "'sent'", "'sent'", n, n, n, n],
                "by_collapse_key",
            ),
            ("PLACES_OF_OUTCOME", &["'sent'", n], "by_outcome"),
            (
                "PLACES_OF_OUTCOME",
                &["'failed'", "'refused'"],
                "by_outcome",
            ),
            (
                "PLACES_OF_TYPE",
                &["'status_changed'", "'sent'", n],
                "by_type",
            ),
        ];
        for (name, values, key) in cases {
            // Where all rows come after the place, the equal columns alone serve as well.
            for (to, how) in [(TIME, "range|ref"), ("'2026-09-20 00:00:00.000'", "range")] {
                let parameters = [values, &[from, to, to, "1000", "201"]].concat();
                let plan = self.plan(name, &parameters).await;
                let extra = self.extra(name, &parameters).await;
                assert!(
                    matches!(plan.as_slice(), [(_, read, used)] if how.split('|').any(|how| how == read) && used == key),
                    "{name}: {plan:?}"
                );
                assert!(!extra.contains("filesort"), "{name}: {extra}");
                let covered = extra.contains("Using index");
                assert!(covered || !name.starts_with("PLACES"), "{name}: {extra}");
            }
        }
        // What is old is read from where it was left, as far as it is emptied in one go.
        let (place, cut) = ("'2026-09-20 00:00:00.000'", "'2026-09-22 00:00:00.000'");
        for (name, key) in [("OLD_NOTIFICATIONS", "by_time"), ("OLD_LETTERS", "created")] {
            let parameters = [place, cut, place, "7", "500"];
            let plan = self.plan(name, &parameters).await;
            let extra = self.extra(name, &parameters).await;
            assert!(
                matches!(plan.as_slice(), [(_, how, used)] if how == "range" && used == key),
                "{name}: {plan:?}"
            );
            assert!(!extra.contains("filesort"), "{name}: {extra}");
        }
        let plan = self.plan("LEFT_OVER", &["500"]).await;
        assert_eq!(reads(&plan, "leftover"), [("index", "PRIMARY")], "{plan:?}");
        let plan = self.plan("HISTORY_AT", &["'[5]'"]).await;
        assert_eq!(reads(&plan, "history"), [("eq_ref", "PRIMARY")], "{plan:?}");
    }

    /// What else a plan says.
    async fn extra(&self, name: &str, parameters: &[&str]) -> String {
        let rows = self.explain(name, parameters).await;
        let extra = rows
            .iter()
            .filter_map(|row| row.get::<Option<String>, _>("Extra"));
        extra.collect::<Vec<_>>().join("; ")
    }
}

fn reads<'a>(plan: &'a [Step], table: &str) -> Vec<(&'a str, &'a str)> {
    plan.iter()
        .filter(|(read, _, _)| read.contains(table))
        .map(|(_, how, key)| (how.as_str(), key.as_str()))
        .collect()
}

const HASH: &str = "UNHEX(SHA2(77, 256))";
const TIME: &str = "'2030-01-01 00:00:00.000'";

#[tokio::test]
async fn what_a_user_can_trigger_is_served_by_an_index() {
    let db = Db::new().await;
    db.grow().await;
    let id = &db.an_id().await;
    let (device, history) = ("customer_push_tokens", "notification_history");
    let (h, t) = (HASH, TIME);
    let ended = [
        "'failed'", "NULL", "'failed'", "'failed'", "1", "1", "NULL", "NULL", t, "''", id, "9",
    ];
    let settled = [
        "'sent'",
        "NULL",
        "'success'",
        "'queued'",
        "1",
        "1",
        "TRUE",
        t,
        t,
        id,
        "''",
        id,
        "1",
        id,
        "'c'",
    ];
    let cancelled = [
        "'suppressed'",
        "'cancelled'",
        "'failed'",
        "'failed'",
        "1",
        "1",
        "NULL",
        "NULL",
        t,
        "''",
        id,
    ];
    let cases: &[(&str, &[&str], &str, &str)] = &[
        ("VIEW", &[id], history, "notification"),
        ("DELIVERIES", &[id], "delivery", "PRIMARY"),
        (
            "PREFERENCES",
            &["25"],
            "notification_preferences",
            "PRIMARY",
        ),
        ("LOCK_FOUND", &["77", "0", "0"], device, "PRIMARY"),
        (
            "UPDATE",
            &["'d'", "'ios'", h, "'t'", h, h, "'t'", h, t, t, "77"],
            device,
            "PRIMARY",
        ),
        ("LOSE_FCM", &["77", h], device, "PRIMARY|fcm_token_once"),
        ("LOSE_EXPO", &["77", h], device, "PRIMARY|expo_token_once"),
        ("GIVEN_UP", &[t, t, "77"], device, "PRIMARY"),
        (
            "OFF_DEVICE",
            &[t, t, "25", "'77'"],
            device,
            "customer_device",
        ),
        ("TOO_MANY", &["25", "77", "49"], device, "customer_device"),
        ("OFF_FCM", &[t, h, "25"], device, "fcm_token_once"),
        ("OFF_EXPO", &[t, h, "25"], device, "expo_token_once"),
        ("DUE", &["FALSE", t, "5"], history, "status_due"),
        ("AROUND", &["25", t, t, "30"], history, "scheduled"),
        ("FIRST_TIMED", &["2"], history, "status_due"),
        ("WHOSE", &[id], history, "notification"),
        ("CANCELLABLE", &[id], history, "notification"),
        ("ENDED", &[id], history, "notification"),
        ("CANCEL", &cancelled, history, "notification"),
        ("LATER", &[t, id], history, "notification"),
        (
            "PURGE_BOOKINGS",
            &["'2020-01-01 00:00:00.000'", "9"],
            "booking_status",
            "updated",
        ),
        (
            "PLACE",
            &["'notification_history'"],
            "retention_places",
            "PRIMARY",
        ),
        ("TO_ERASE", &["5", "9", "2"], history, "by_customer"),
        (
            "ERASE_NEXT",
            &["5", t, t, "0", "9", "2", "200"],
            history,
            "by_customer",
        ),
        (
            "ERASE_STRANGERS",
            &["'[5]'", "2", "2"],
            "letter",
            "by_customer",
        ),
        ("DELETE_DEVICES", &["5"], device, "customer_device"),
        ("DELETE_BOOKINGS", &["5"], "booking_status", "customer"),
        ("MARK_OF", &["5"], "customer_erasures", "PRIMARY"),
        (
            "TO_LOOK_AT_AGAIN",
            &[t, "9"],
            "customer_erasures",
            "look_again",
        ),
        (
            "PURGE_ERASURES",
            &["'2020-01-01 00:00:00.000'", "9"],
            "customer_erasures",
            "erased",
        ),
        ("WAITING_OF", &["5", t, "9"], "waits", "customer"),
        ("WAITING_OF", &["5", t, "9"], "history", "notification"),
        (
            "PURGE_WAITS",
            &["'2020-01-01 00:00:00.000'", "9"],
            "quiet_hours_waits",
            "ends",
        ),
        ("DUE_TICKETS", &[t, "5"], "expo_tickets", "due"),
        (
            "LONGEST_PENDING",
            &["FALSE", t, "100"],
            history,
            "status_due",
        ),
        ("END", &ended, history, "notification"),
        ("SETTLE", &settled, "history", "notification"),
        ("CLAIM_FIRST", &["'w'", "9", id], "history", "notification"),
        (
            "GIVE_UP_DELIVERY",
            &[id, "7", "'fcm'"],
            "notification_deliveries",
            "PRIMARY",
        ),
        (
            "PURGE",
            &["'2020-01-01 00:00:00.000'", "9"],
            "idempotency_keys",
            "created",
        ),
        (
            "PURGE_HEADS",
            &["'2020-01-01 00:00:00.000'", "9"],
            "collapse_heads",
            "raised",
        ),
        (
            "PURGE_SESSIONS",
            &["'2020-01-01 00:00:00.000'", "9"],
            "console_sessions",
            "expires",
        ),
    ];
    for &(name, parameters, table, keys) in cases {
        let plan = db.plan(name, parameters).await;
        let read = reads(&plan, table);
        assert!(
            matches!(read.as_slice(), [(how, used)]
                if !["ALL", "index"].contains(how) && keys.split('|').any(|key| key == *used)),
            "{name}: {plan:?}"
        );
    }
    // Where everything is over, the purge still goes by the index, and ends at its limit.
    let plan = db.plan("PURGE", &[t, "9"]).await;
    let purged = reads(&plan, "idempotency_keys");
    assert!(
        matches!(purged.as_slice(), [("range" | "index", "created")]),
        "{plan:?}"
    );
    // No more than the front of an index is looked at.
    let plan = db.plan("LONGEST_TICKET", &[]).await;
    assert_eq!(reads(&plan, "expo_tickets"), [], "{plan:?}");
    // Of the history, the books read those that are pending.
    let plan = db.plan("BOOKS", &[t]).await;
    assert_eq!(reads(&plan, history), [("ref", "status_due")], "{plan:?}");
    assert_eq!(
        reads(&plan, "notification_counters"),
        [("ref", "PRIMARY")],
        "{plan:?}"
    );
    let plan = db.plan("FIGURES", &["1", "400000", "400744"]).await;
    assert_eq!(
        reads(&plan, "notification_counters"),
        [("range", "PRIMARY")],
        "{plan:?}"
    );
    db.history_is_read_from_its_indexes().await;
    let plan = db.plan("FIND", &["25", "'77'", h, h]).await;
    let keys: Vec<_> = reads(&plan, device)
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
    let ids = &id.replace("UNHEX('", "'[\"").replace("')", "\"]'");
    let t = TIME;
    let dead = "'[{\"hash\":\"00\",\"died\":\"2026-01-02 03:04:05.678\"}]'";
    let claims = &ids
        .replace("[\"", "[{\"id\":\"")
        .replace("\"]", "\",\"round\":9,\"was\":null,\"interrupted\":0}]");
    let held = &claims.replace("round", "sent");
    let reopened = &claims.replace("\"was\":null", "\"due_at\":null");
    let booking = "'[{\"booking\":\"5\"}]'";
    let raised = "'[{\"customer\":5,\"collapse_key\":\"k\"}]'";
    let cases: &[(&str, &[&str], &str, &str)] = &[
        ("KEPT", &["'[\"00\"]'"], "kept", "PRIMARY"),
        ("ABOUT", &["'[5]'"], "letter", "PRIMARY"),
        ("MARK", &["'[5]'", t, t, "'ops'"], "letter", "PRIMARY"),
        (
            "DISCARD",
            &["'[5]'", t, "'ops'", "'why'"],
            "letter",
            "PRIMARY",
        ),
        ("STANDING", &[ids], "history", "notification"),
        ("OVERTAKEN", &[ids], "history", "notification"),
        ("OVERTAKEN", &[ids], "newer", "by_customer"),
        ("MAYBE", &[ids], "delivery", "PRIMARY"),
        ("REOPEN", &[reopened], "history", "notification"),
        ("KNOWN", &["'[5]'"], "customers", "PRIMARY"),
        ("KNOWN", &["'[5]'"], "erasure", "PRIMARY"),
        ("LAST_KNOWN", &[booking], "known", "PRIMARY"),
        ("LEARN", &["'[]'"], "known", "PRIMARY"),
        ("ACTIVE", &["'[5]'"], "device", "customer_device"),
        ("ACTIVE", &["'[5]'"], "customer", "PRIMARY"),
        ("ACTIVE", &["'[5]'"], "preference", "PRIMARY"),
        ("VERSIONS", &["'[5]'"], "customer", "PRIMARY"),
        ("OFF", &["'[5]'", "10"], "device", "customer_device"),
        ("OFF_TOO_MANY", &["'[5]'", t, t, "5"], "device", "PRIMARY"),
        ("VERSIONS_KEPT", &["'[5]'"], "customer", "PRIMARY"),
        ("RELEASE", &[ids, t, t, t, "''"], "history", "notification"),
        ("RELEASE", &[ids, t, t, t, "''"], "waits", "PRIMARY"),
        ("WAITED", &[ids], "waits", "PRIMARY"),
        ("WAITED_ENOUGH", &[ids], "waits", "PRIMARY"),
        ("FCM_OWNERS", &[dead], "device", "fcm_token_once"),
        ("FCM_DEAD", &[dead], "device", "fcm_token_once"),
        ("EXPO_OWNERS", &[dead], "device", "expo_token_once"),
        ("EXPO_DEAD", &[dead], "device", "expo_token_once"),
        ("LOCK_HISTORY", &[ids], "history", "notification"),
        (
            "CLAIM",
            &[claims, "'w'", "9", "'w'", "9", "'w'", "'w'"],
            "history",
            "notification",
        ),
        (
            "CLAIM",
            &[claims, "'w'", "9", "'w'", "9", "'w'", "'w'"],
            "head",
            "PRIMARY",
        ),
        ("LOOK", &[ids], "head", "PRIMARY"),
        ("RENEW", &[held, "9", "9"], "head", "PRIMARY"),
        ("LET_GO", &[held], "head", "PRIMARY"),
        ("IN_HAND", &[raised], "head", "PRIMARY"),
        ("LET_THROUGH", &[held], "head", "PRIMARY"),
        ("LOOK", &[ids], "history", "notification"),
        ("LOOK", &[ids], "customer", "PRIMARY"),
        ("LOOK", &[ids], "erasure", "PRIMARY"),
        (
            "EMPTY_NOTIFICATIONS",
            &[ids, "1", "1"],
            "history",
            "notification",
        ),
        ("EMPTY_LETTERS", &["'[5]'", "1", "1"], "letter", "PRIMARY"),
        ("NOT_LEFT_OVER", &[ids], "leftover", "PRIMARY"),
        ("ERASED_AMONG", &[ids], "history", "notification"),
        (
            "ERASE_HISTORY",
            &[ids, "''", "2"],
            "history",
            "notification",
        ),
        ("ERASE_DELIVERIES", &[ids], "delivery", "PRIMARY"),
        ("ERASE_TICKETS", &[ids], "ticket", "PRIMARY"),
        ("ERASE_LETTERS", &[ids, "2"], "letter", "notification"),
        ("ERASE_WAITS", &[ids], "waits", "PRIMARY"),
        ("ERASE_HEADS", &[ids], "head", "PRIMARY"),
        ("RENEW", &[held, "9", "9"], "history", "notification"),
        ("LET_GO", &[held], "history", "notification"),
        ("STATES", &[ids], "history", "notification"),
        ("UNPUBLISHED", &[ids, t, t], "history", "notification"),
        ("PUSHED_BACK", &[ids, t], "history", "notification"),
        (
            "TELL",
            &[ids, "''", "FALSE", "''"],
            "history",
            "notification",
        ),
        ("GO_ON", &["'[]'"], "history", "notification"),
        ("TICKETS_OF", &[ids], "ticket", "PRIMARY"),
        ("TICKETS_LATER", &["'[]'"], "ticket", "PRIMARY"),
        ("DELIVERIES_OF", &[ids], "delivery", "PRIMARY"),
        ("NOTE_RECEIPTS", &["'[]'"], "delivery", "PRIMARY"),
        ("TO_TAKE_BACK", &[ids], "history", "notification"),
        ("TAKE_BACK", &["'[]'"], "history", "notification"),
    ];
    for &(name, parameters, table, key) in cases {
        let plan = db.plan(name, parameters).await;
        // The array first, then each row by its key.
        let mut after_the_array = plan.iter().skip(1);
        let read = after_the_array
            .find(|(read, _, _)| read == table)
            .map(|(table, how, key)| (table.as_str(), how.as_str(), key.as_str()));
        assert!(
            matches!(read, Some((t, "eq_ref" | "ref", k)) if t == table && k == key),
            "{name}: {plan:?}"
        );
    }
    db.done().await;
}
