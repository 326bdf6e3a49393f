//! The history at its size: how long each question takes that a user can ask, over HTTP, with millions of rows.
//!
//! The rows are made up, as a busy quarter of a year would leave them: 200,000 customers and one with a hundredth of all,
//! nine types of which one is rare, mostly sent, every other outcome there. Deliveries are left out: no list reads them.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::api::Key;
use crate::database::Database;
use crate::program::Program;
use crate::servers::Servers;
use crate::wait::within;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rows of the history.
    pub rows: u32,
    /// How often each question is asked.
    pub rounds: u32,
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    /// For people.
    pub table: String,
    /// For programs.
    pub json: Value,
}

/// Rows of one statement: what a transaction of the server holds easily.
const CHUNK: u32 = 50_000;
/// The quarter of a year that they lie in.
const DAYS: u32 = 90;
/// Migrating counts every row, and may make indexes.
const MIGRATED_MAX: Duration = Duration::from_secs(1_800);
/// Rows that a file is read to.
const FILE_ROWS: u32 = 100_000;

/// What is asked, and about what. `@` stands for the place of a page in the depth of the history.
const QUESTIONS: &[(&str, &str)] = &[
    ("all", ""),
    ("all, 200", "limit=200"),
    ("all, deep", "@"),
    ("from, to", "~"),
    ("status=sent", "status=sent"),
    ("status=sent, deep", "status=sent&@"),
    ("status=pending", "status=pending"),
    ("status=failed", "status=failed"),
    ("status=failed, deep", "status=failed&@"),
    (
        "status=suppressed, deep, 200",
        "status=suppressed&limit=200&@",
    ),
    ("reason=refused", "reason=refused"),
    ("reason=refused, deep", "reason=refused&@"),
    ("type", "type=reached"),
    ("type, deep, 200", "type=reached&limit=200&@"),
    ("type, from, to", "type=reached&~"),
    ("a rare type", "type=rare"),
    ("a rare type, deep", "type=rare&@"),
    ("type, status=sent, deep", "type=reached&status=sent&@"),
    ("type, status=failed, deep", "type=reached&status=failed&@"),
    ("type, reason, deep", "type=reached&reason=dead_lettered&@"),
    ("a type that there is not", "type=nothing"),
    ("a customer", "customerId=#"),
    ("a customer, status", "customerId=#&status=failed"),
    (
        "a customer, type, reason",
        "customerId=#&type=reached&reason=expired",
    ),
    ("the largest customer", "customerId=1"),
    (
        "the largest customer, deep, 200",
        "customerId=1&limit=200&@",
    ),
    (
        "the largest customer, reason",
        "customerId=1&reason=refused",
    ),
];

/// The same of the figures. `-N` stands for so many days ago.
const FIGURES: &[(&str, &str, u32)] = &[
    ("stats, 24 hours", "interval=hour", 1),
    ("stats, 24 hours by type", "interval=hour&groupBy=type", 1),
    ("stats, 31 days hour by hour", "interval=hour", 31),
    (
        "stats, 31 days hour by hour by type",
        "interval=hour&groupBy=type",
        31,
    ),
    (
        "stats, 90 days by reason",
        "interval=day&groupBy=reason",
        90,
    ),
];

/// Runs; `say` is told what goes on.
pub async fn run(options: Options, say: impl Fn(&str)) -> Report {
    // Another one may have been there first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let database = Database::create(Servers::of_environment().database, "push_bench_history").await;
    // The server is the bench's own, and forgets this with it.
    for setting in [
        "innodb_buffer_pool_size = 2147483648",
        "innodb_flush_log_at_trx_commit = 0",
    ] {
        database.execute(&format!("SET GLOBAL {setting}")).await;
    }
    let mut api = start(&database).await;
    ready(&api).await;
    api.terminate().await;
    say(&format!("{} rows", options.rows));
    let filled = Instant::now();
    fill(&database, options.rows, &say).await;
    let filled = filled.elapsed();
    database.execute("ANALYZE TABLE notification_history").await;

    say("counting them anew, as the migration does that finds a history");
    for forget in [
        "DELETE FROM notification_counters",
        "DELETE FROM notification_counter_changes",
        "DELETE FROM _sqlx_migrations WHERE version = 12",
    ] {
        database.execute(forget).await;
    }
    let counted = Instant::now();
    api = start(&database).await;
    ready(&api).await;
    let counted = counted.elapsed();
    say(&format!("asking, each question {} times", options.rounds));
    let asked = Asked::all(&api, options.rounds).await;
    let file = file(&api).await;
    api.terminate().await;
    database.remove().await;
    asked.report(options, filled, counted, file)
}

async fn start(database: &Database) -> Program {
    let environment = [
        ("DATABASE_URL", database.url_through(None)),
        // Nobody publishes anything.
        ("AMQP_URL", "amqp://127.0.0.1:1/%2f".to_owned()),
        ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
        ("API_KEYS", Key::setting()),
        ("RUST_LOG", "info".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    Program::start("push-api", "api", &environment).await
}

/// It answers from the database: the schema is there.
async fn ready(api: &Program) {
    let url = format!("{}/api/Push/history?limit=1", api.url());
    let http = Client::new();
    let answers = within(MIGRATED_MAX, async || {
        let asked = http.get(&url).bearer_auth(Key::Read.secret());
        let answer = asked.send().await.ok()?;
        answer.status().is_success().then_some(())
    });
    answers.await.expect("push-api has migrated");
}

/// Makes up so many rows.
pub(super) async fn fill(database: &Database, rows: u32, say: &impl Fn(&str)) {
    let mut told = 0;
    for first in (1..=rows).step_by(CHUNK as usize) {
        let last = rows.min(first.saturating_add(CHUNK - 1));
        database.execute(&insert(first, last, rows)).await;
        let done = last / (rows / 10).max(1);
        if done > told {
            told = done;
            say(&format!("{last} of {rows}"));
        }
    }
}

/// `dice` and `outcome` are as good as random, and the same in each run.
fn insert(first: u32, last: u32, rows: u32) -> String {
    format!(
        "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, data, priority, \
             status, reason, fcm_result, expo_result, attempts, round, created_at, expires_at, sent_at, completed_at, \
             opened_at, timeline) \
         SELECT UNHEX(CONCAT(LPAD(HEX(FLOOR(UNIX_TIMESTAMP(at) * 1000)), 12, '0'), LEFT(MD5(n), 20))), \
             IF(n % 100 = 0, 1, 2 + dice % 200000), \
             IF(dice % 100003 = 0, 'rare', ELT(1 + dice % 8, 'technician_assigned', 'startjourney', 'reached', \
                 'startservice', 'completed', 'cancelled', 'service_update', 'test')), \
             'Technician is on the way! 🚗', \
             CONCAT('John has started the journey to your location. (Booking: BID', n, ')'), \
             CONCAT('{{\"bookingId\":\"', n, '\",\"trackId\":\"BID', n, '\",\"techName\":\"John\",\"priority\":\"high\"}}'), \
             'high', status, reason, IF(status = 'sent', 'success', 'not_sent'), 'not_sent', 1, 1, at, \
             at + INTERVAL 1 HOUR, IF(status = 'sent', ended, NULL), IF(status = 'pending', NULL, ended), \
             IF(status = 'sent' AND dice % 3 = 0, at + INTERVAL 5 MINUTE, NULL), \
             CONCAT('{{\"at\":\"2026-01-02T03:04:05.678Z\",\"step\":\"accepted\",\"text\":\"accepted for customer ', dice, \
                 ', to be sent before 2026-01-02T04:04:05.678Z\"}}\n') \
         FROM (SELECT n, dice, at, at + INTERVAL (200 + dice % 3000) * 1000 MICROSECOND AS ended, \
                 CASE WHEN outcome < 930 THEN 'sent' WHEN outcome < 982 THEN 'suppressed' WHEN outcome < 999 THEN 'failed' \
                     ELSE 'pending' END AS status, \
                 CASE WHEN outcome < 930 THEN NULL WHEN outcome < 950 THEN 'no_active_device' \
                     WHEN outcome < 960 THEN 'opted_out' WHEN outcome < 970 THEN 'expired' WHEN outcome < 980 THEN 'superseded' \
                     WHEN outcome < 982 THEN 'quiet_hours' WHEN outcome < 990 THEN 'invalid_tokens' \
                     WHEN outcome < 997 THEN 'dead_lettered' WHEN outcome < 999 THEN 'refused' ELSE NULL END AS reason \
             FROM (SELECT seq AS n, CRC32(seq) AS dice, CRC32(seq * 7) % 1000 AS outcome, \
                     TIMESTAMP(UTC_DATE()) - INTERVAL {DAYS} DAY + INTERVAL ({span} * seq) MICROSECOND AS at \
                 FROM seq_{first}_to_{last}) AS drawn) AS made",
        span = u64::from(DAYS) * 86_400_000_000 / u64::from(rows),
    )
}

/// How long the answers to one question took, sorted.
struct Times {
    question: &'static str,
    times: Vec<Duration>,
}

impl Times {
    fn at(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        let time = self.times.get(rank - 1).copied().unwrap_or_default();
        (time.as_secs_f64() * 10_000.0).round() / 10.0
    }
}

struct Asked(Vec<Times>);

impl Asked {
    async fn all(api: &Program, rounds: u32) -> Self {
        let http = Client::new();
        let mut all = Vec::new();
        for (question, query) in QUESTIONS {
            let path = |round| format!("history?{}", filled_in(query, round));
            all.push(times(api, &http, question, rounds, path).await);
        }
        for (question, query, days) in FIGURES {
            let from = days_ago(*days);
            let path = |_| format!("stats?{query}&from={from}");
            all.push(times(api, &http, question, rounds, path).await);
        }
        Self(all)
    }

    fn report(
        &self,
        options: Options,
        filled: Duration,
        counted: Duration,
        (rows, took): (u32, Duration),
    ) -> Report {
        let mut table = format!(
            "{:<40} {:>9} {:>9} {:>9}\n",
            "milliseconds", "p50", "p99", "max"
        );
        let mut questions = Vec::new();
        for times in &self.0 {
            let (p50, p99, max) = (times.at(50), times.at(99), times.at(100));
            table += &format!("{:<40} {p50:>9.1} {p99:>9.1} {max:>9.1}\n", times.question);
            questions.push(json!({"question": times.question, "p50": p50, "p99": p99, "max": max}));
        }
        table += &format!(
            "\n{} rows made in {} s; counted anew by the migration in {} s; a file of {rows} rows in {:.1} s\n",
            options.rows,
            filled.as_secs(),
            counted.as_secs(),
            took.as_secs_f64()
        );
        let json = json!({
            "rows": options.rows, "rounds": options.rounds, "millisecondsOf": questions,
            "filledSeconds": filled.as_secs_f64(), "countedSeconds": counted.as_secs_f64(),
            "file": {"rows": rows, "seconds": took.as_secs_f64()},
        });
        Report { table, json }
    }
}

async fn times(
    api: &Program,
    http: &Client,
    question: &'static str,
    rounds: u32,
    path: impl Fn(u32) -> String,
) -> Times {
    let mut times = Vec::new();
    for round in 0..rounds {
        let url = format!("{}/api/Push/{}", api.url(), path(round));
        let asked = Instant::now();
        let request = http.get(&url).bearer_auth(Key::Read.secret());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("all of it");
        times.push(asked.elapsed());
        assert_eq!(status, 200, "{url}: {}", String::from_utf8_lossy(&body));
    }
    times.sort_unstable();
    Times { question, times }
}

/// The same in each run, and another one in each round.
fn filled_in(query: &str, round: u32) -> String {
    let dice = u64::from(round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    let ago = dice % (u64::from(DAYS) * 86_400);
    let cursor = format!("cursor={:x}-ffffffff", (now - ago) * 1_000);
    let range = format!(
        "from={}&to={}",
        rfc3339(now - ago - 3_600),
        rfc3339(now - ago)
    );
    query
        .replace('@', &cursor)
        .replace('~', &range)
        .replace('#', &(2 + dice % 200_000).to_string())
}

fn days_ago(days: u32) -> String {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    rfc3339(now - u64::from(days) * 86_400 + 3_600)
}

fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).unwrap_or_default();
    let time = sqlx::types::chrono::DateTime::from_timestamp(time, 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How long it takes to read a file of some length.
async fn file(api: &Program) -> (u32, Duration) {
    let url = format!(
        "{}/api/Push/history?format=csv&limit={FILE_ROWS}",
        api.url()
    );
    let asked = Instant::now();
    let request = Client::new().get(&url).bearer_auth(Key::Read.secret());
    let answer = request.send().await.expect("an answer");
    let text = answer.text().await.expect("all of it");
    let rows = u32::try_from(text.lines().count().saturating_sub(1)).unwrap_or(u32::MAX);
    (rows, asked.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_asks_about_something_else_than_the_one_before() {
        let all: std::collections::BTreeSet<_> = (0..100)
            .map(|round| filled_in("customerId=#&@", round))
            .collect();
        assert_eq!(all.len(), 100);
        assert!(!filled_in("~&@&#", 5).contains(['~', '@', '#']));
    }
}
