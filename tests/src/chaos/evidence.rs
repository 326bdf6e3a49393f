//! Gathers what is left when everything has come to rest: rows, queues, logs.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::judge::{Delivery, Row, Status};
use super::phones::{MARK, Phones};
use super::world::World;

/// A hundred thousand rows on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(300);

const ROWS: &str = "SELECT CONCAT_WS('|', HEX(notification_id), customer_id, status, COALESCE(reason, ''), \
     CAST(UNIX_TIMESTAMP(created_at) * 1000 AS SIGNED), COALESCE(CAST(UNIX_TIMESTAMP(expires_at) * 1000 AS SIGNED), ''), \
     COALESCE(CAST(UNIX_TIMESTAMP(completed_at) * 1000 AS SIGNED), ''), \
     COALESCE(timeline LIKE '%\"step\":\"interrupted\"%', 0), COALESCE(timeline LIKE '%\"step\":\"superseded\"%', 0)) \
     FROM notification_history";
const DELIVERIES: &str = "SELECT CONCAT_WS('|', HEX(notification_id), LOWER(COALESCE(HEX(token_hash), '')), outcome, \
     maybe_delivered) FROM notification_deliveries";

/// The whole history; `None` when it cannot be read.
pub(crate) async fn rows(world: &World) -> Option<HashMap<u128, Row>> {
    let lines = world.database.try_texts(ROWS, ANSWER_MAX).await?;
    lines.iter().map(|line| row(line)).collect()
}

fn row(line: &str) -> Option<(u128, Row)> {
    let [
        id,
        customer,
        status,
        reason,
        created,
        expires,
        completed,
        interrupted,
        overtaken,
    ] = fields(line)?;
    let row = Row {
        customer: customer.parse().ok()?,
        status: match status {
            "pending" => Status::Pending,
            "sent" => Status::Sent,
            "failed" => Status::Failed,
            "suppressed" => Status::Suppressed,
            _ => return None,
        },
        reason: reason.to_owned(),
        created_ms: created.parse().ok()?,
        expires_ms: expires.parse().ok(),
        completed_ms: completed.parse().ok(),
        interrupted: interrupted == "1",
        overtaken: overtaken == "1",
    };
    Some((u128::from_str_radix(id, 16).ok()?, row))
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split('|').collect::<Vec<_>>().try_into().ok()
}

/// All deliveries to phones of this run; `None` when they cannot be read.
pub(crate) async fn deliveries(world: &World, phones: &Phones) -> Option<Vec<Delivery>> {
    let hashes = hashes(world, phones).await?;
    let lines = world.database.try_texts(DELIVERIES, ANSWER_MAX).await?;
    lines.iter().map(|line| delivery(line, &hashes)).collect()
}

fn delivery(line: &str, hashes: &HashMap<String, usize>) -> Option<Delivery> {
    let [id, hash, outcome, maybe] = fields(line)?;
    Some(Delivery {
        notification: u128::from_str_radix(id, 16).ok()?,
        phone: *hashes.get(hash)?,
        accepted: outcome == "accepted",
        outcome: outcome.to_owned(),
        maybe: maybe == "1",
    })
}

/// The row of a notification, its timeline and its deliveries, for people.
pub(crate) async fn story(world: &World, notification: u128) -> Vec<String> {
    let id = format!("X'{notification:032x}'");
    let row = format!(
        "SELECT CONCAT_WS(' ', HEX(notification_id), status, round, HEX(claimed_by), interruptions, timeline) \
         FROM notification_history WHERE notification_id = {id}"
    );
    let deliveries = format!(
        "SELECT CONCAT_WS(' ', registration_id, provider, outcome, attempts, maybe_delivered, at) \
         FROM notification_deliveries WHERE notification_id = {id}"
    );
    let mut story = Vec::new();
    for statement in [row, deliveries] {
        let lines = world.database.try_texts(&statement, ANSWER_MAX).await;
        story.extend(lines.unwrap_or_default());
    }
    story
}

/// The rows hold tokens only as their SHA-256.
async fn hashes(world: &World, phones: &Phones) -> Option<HashMap<String, usize>> {
    let tokens: Vec<(String, usize)> = phones.tokens().into_iter().collect();
    let mut hashes = HashMap::with_capacity(tokens.len());
    for some in tokens.chunks(500) {
        let selects = some
            .iter()
            .map(|(token, _)| format!("SELECT SHA2('{token}', 256)"));
        let statement = selects.collect::<Vec<_>>().join(" UNION ALL ");
        let hashed = world.database.try_texts(&statement, ANSWER_MAX).await?;
        let phones = some.iter().map(|(_, phone)| *phone);
        hashes.extend(hashed.into_iter().zip(phones));
    }
    Some(hashes)
}

/// What the logs tell.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) leaks: Vec<String>,
    pub(crate) panics: Vec<String>,
    /// Lines of level `ERROR`: message and number.
    pub(crate) errors: BTreeMap<String, usize>,
    pub(crate) lines: usize,
}

/// Reads the logs of all programs in the run's folder.
pub(crate) fn logs(folder: &Path) -> Logs {
    let mut logs = Logs::default();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.path());
    for path in names.filter(|path| is_programs(path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            logs.read(&name, &line);
        }
    }
    logs
}

fn is_programs(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("push-")
}

impl Logs {
    fn read(&mut self, name: &str, line: &str) {
        self.lines += 1;
        if line.contains(MARK) {
            self.leaks.push(format!("{name}: {line}"));
        }
        if line.contains("panicked at") {
            self.panics.push(format!("{name}: {line}"));
        }
        if line.contains("\"level\":\"ERROR\"") {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            let message = event
                .get("message")
                .or_else(|| event["fields"].get("message"));
            let message = message.and_then(Value::as_str).unwrap_or(line);
            *self.errors.entry(message.to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_stands() {
        let line = "018F|7|failed|dead_lettered|1000||2000|1|0";
        let (id, row) = row(line).unwrap();
        assert_eq!((id, row.customer, row.status), (0x018f, 7, Status::Failed));
        assert_eq!((row.expires_ms, row.completed_ms), (None, Some(2_000)));
        assert!(row.interrupted && !row.overtaken);
        assert!(super::row("018F|7|gone||1|||0|0").is_none());
        assert!(super::row("018F|7|sent|1").is_none());
    }

    #[test]
    fn secrets_panics_and_errors_are_found() {
        let mut logs = Logs::default();
        logs.read(
            "a",
            &format!("{{\"level\":\"INFO\",\"message\":\"{MARK} title\"}}"),
        );
        logs.read("a", "thread 'main' panicked at src/main.rs:1:1");
        logs.read("a", "{\"level\":\"ERROR\",\"message\":\"no\"}");
        assert_eq!((logs.leaks.len(), logs.panics.len(), logs.lines), (1, 1, 3));
        assert_eq!(logs.errors["no"], 1);
    }
}
