//! Recording: the same rows in copies of the same tables, in the largest batches that make sense, by a few connections.
//! A notification is one row of the history, inserted when it is accepted and changed when it is settled, and a row for
//! each delivery.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::Value;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, MySql};
use tokio::time::Instant;
use uuid::Uuid;

use super::{WARM_UP, lasting, text};
use crate::bench::speed::meter::Role;
use crate::bench::speed::part::{measured, meter};

/// The copies.
pub(in crate::bench::speed) const TABLES: [&str; 4] = [
    "DROP TABLE IF EXISTS bench_history",
    "DROP TABLE IF EXISTS bench_deliveries",
    "CREATE TABLE bench_history LIKE notification_history",
    "CREATE TABLE bench_deliveries LIKE notification_deliveries",
];

const CONNECTIONS: usize = 4;
/// Rows of one INSERT: accepting gathers fewer at a time than settling.
const ACCEPTED: usize = 50;
/// Rows that are settled at one time.
const SETTLED: usize = 200;

/// Customers who take turns.
const CUSTOMERS: u64 = 10_000;

/// What is put into the rows, beside what is each one's own.
struct Rows {
    title: String,
    body: String,
    data: String,
    deliveries: usize,
}

const ACCEPTED_LINE: &str = "{\"at\":\"2026-01-02T03:04:05.678Z\",\"step\":\"accepted\",\"text\":\"accepted for customer 123, \
     to be sent before 2026-01-02T04:04:05.678Z\"}\n";
const SENT_LINE: &str =
    "{\"at\":\"2026-01-02T03:04:05.678Z\",\"step\":\"sent\",\"text\":\"sent to 1 device\"}\n";

/// Does what it is told: `url`, `seconds`, `deliveries` of each notification.
pub(in crate::bench::speed) async fn run(told: &Value) -> Value {
    let url = text(told, "url");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = MySqlConnection::connect(url).await;
        connections.push(connection.expect("the database answers"));
    }
    let sent = crate::bench::speed::load::notification(1);
    let rows = Rows {
        title: text(&sent, "title").to_owned(),
        body: text(&sent, "body").to_owned(),
        data: sent["data"].to_string(),
        deliveries: told["deliveries"].as_u64().map_or(1, |many| many as usize),
    };
    write_until(&mut connections, &rows, Instant::now() + WARM_UP).await;
    let meter = meter(Role::Raw, told);
    let until = Instant::now() + lasting(told);
    let written = write_until(&mut connections, &rows, until).await;
    measured(meter, written)
}

async fn write_until(connections: &mut [MySqlConnection], rows: &Rows, until: Instant) -> usize {
    let written = AtomicUsize::new(0);
    let write = async |connection: &mut MySqlConnection| {
        while Instant::now() < until {
            write(connection, rows).await.expect("the database writes");
            written.fetch_add(SETTLED, Ordering::Relaxed);
        }
    };
    join_all(connections.iter_mut().map(write)).await;
    written.into_inner()
}

/// As many notifications as are settled at one time, from the first row to the last.
async fn write(connection: &mut MySqlConnection, rows: &Rows) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = std::iter::repeat_with(Uuid::now_v7).take(SETTLED).collect();
    for some in ids.chunks(ACCEPTED) {
        let mut insert = query(insert_history(some.len()));
        for id in some {
            insert = insert.bind(id.as_bytes().to_vec()).bind(customer(id));
            insert = insert.bind(&rows.title).bind(&rows.body);
            insert = insert.bind(&rows.data).bind(ACCEPTED_LINE);
        }
        insert.execute(&mut *connection).await?;
    }
    let mut transaction = connection.begin().await?;
    let mut settle = query(settle_history(ids.len())).bind(SENT_LINE);
    for id in &ids {
        settle = settle.bind(id.as_bytes().to_vec());
    }
    settle.execute(&mut *transaction).await?;
    let mut deliveries = query(insert_deliveries(ids.len() * rows.deliveries));
    for id in &ids {
        for registration in 0..rows.deliveries {
            deliveries = deliveries.bind(id.as_bytes().to_vec());
            deliveries = deliveries.bind(registration as u64).bind(customer(id));
            let [hash, masked, provider_id] = delivered(id);
            deliveries = deliveries.bind(hash).bind(masked).bind(provider_id);
        }
    }
    deliveries.execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Whose it is: anybody's, so that an index by customer is written everywhere.
fn customer(id: &Uuid) -> u64 {
    id.as_u64_pair().1 % CUSTOMERS
}

/// Hash and mask of a token, and the provider's id of the message.
fn delivered(id: &Uuid) -> [Vec<u8>; 3] {
    let name = id.simple().to_string().into_bytes();
    let masked = [&name[..4], "…".as_bytes(), &name[28..]].concat();
    let message = [b"projects/test-project/messages/0:", &name[..]].concat();
    [name, masked, message]
}

/// The text depends on nothing but a number, so the server has it prepared.
fn query(text: String) -> Query<'static, MySql, MySqlArguments> {
    sqlx::query(AssertSqlSafe(text))
}

fn insert_history(rows: usize) -> String {
    const ROW: &str = "(?, ?, 'technician_assigned', ?, ?, ?, 'high', NOW(3), NOW(3) + INTERVAL 1 HOUR, \
         NOW(3) + INTERVAL 1 MINUTE, ?)";
    let head = "INSERT INTO bench_history (notification_id, customer_id, notification_type, title, body, data, priority, \
         created_at, expires_at, due_at, timeline) VALUES ";
    head.to_owned() + &listed(ROW, rows)
}

fn settle_history(rows: usize) -> String {
    format!(
        "UPDATE bench_history SET status = 'sent', fcm_result = 'success', expo_result = 'not_sent', attempts = 1, round = 1, \
         sent_at = NOW(3), completed_at = NOW(3), due_at = NULL, timeline = CONCAT(timeline, ?) \
         WHERE notification_id IN ({})",
        listed("?", rows)
    )
}

fn insert_deliveries(rows: usize) -> String {
    const ROW: &str = "(?, ?, 'fcm', ?, 'android', ?, ?, 'accepted', ?, 1)";
    let head = "INSERT INTO bench_deliveries (notification_id, registration_id, provider, customer_id, platform, token_hash, \
         token_masked, outcome, provider_id, attempts) VALUES ";
    head.to_owned() + &listed(ROW, rows)
}

fn listed(row: &str, rows: usize) -> String {
    let mut all = String::with_capacity((row.len() + 1) * rows);
    for number in 0..rows {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(all, "{comma}{row}");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_as_many_rows_as_it_should() {
        assert_eq!(listed("?", 3), "?,?,?");
        assert_eq!(insert_history(2).matches('?').count(), 2 * 6);
        assert_eq!(settle_history(SETTLED).matches('?').count(), 1 + SETTLED);
        assert_eq!(
            insert_deliveries(2 * SETTLED).matches("(?, ?").count(),
            2 * SETTLED
        );
    }
}
