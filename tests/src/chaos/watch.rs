//! Looks at the books after every fault (P8): while everything is still falling.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::crowd::Crowd;
use super::world::World;
use crate::books::{NEVER, TOKEN_TWICE};
use crate::metrics::Metrics;

/// Rows that are looked at after a fault, the newest: what is older was looked at before, and all are in the end.
const NEWEST: u32 = 20_000;
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Between two tries while the database is away.
const PAUSE: Duration = Duration::from_millis(200);
/// A finding repeats itself after each fault.
const FINDINGS_MAX: usize = 50;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    findings: Mutex<Vec<String>>,
    looks: Mutex<usize>,
}

impl Watch {
    /// One look for each fault that is told; while the database is away they are made up for by the next.
    pub(crate) async fn run(&self, crowd: &Crowd, mut faults: mpsc::UnboundedReceiver<()>) {
        let mut known = 0;
        let mut told = Vec::new();
        while faults.recv_many(&mut told, 1_000).await > 0 {
            told.clear();
            while !self.look(crowd, &mut known).await {
                sleep(PAUSE).await;
            }
            *self.looks.lock().expect("nobody panics with it") += 1;
        }
    }

    /// False when the database does not answer.
    async fn look(&self, crowd: &Crowd, known: &mut usize) -> bool {
        let world = &crowd.world;
        let newest =
            format!("h.id > (SELECT COALESCE(MAX(id), 0) FROM notification_history) - {NEWEST}");
        let Some(mut findings) = unbalanced(world, &newest).await else {
            return false;
        };
        let Some(missing) = missing(crowd, known).await else {
            return false;
        };
        findings.extend(missing);
        findings.extend(out_of_balance(world).await);
        let at = world.journal.elapsed().as_secs();
        for finding in findings {
            world.journal.say(&format!("the books: {finding}"));
            let mut all = self.findings.lock().expect("nobody panics with it");
            if all.len() < FINDINGS_MAX {
                all.push(format!("{finding}, after {at} s"));
            }
        }
        true
    }

    /// How often it has looked, and what it found.
    pub(crate) fn finish(&self) -> (usize, Vec<String>) {
        let findings = std::mem::take(&mut *self.findings.lock().expect("nobody panics with it"));
        (*self.looks.lock().expect("nobody panics with it"), findings)
    }
}

/// What must hold for none of these rows, in one look; `None` when the database does not answer.
pub(crate) async fn unbalanced(world: &World, which: &str) -> Option<Vec<String>> {
    let sums = NEVER
        .iter()
        .map(|(condition, _)| format!("COALESCE(SUM({condition}), 0)"));
    let sums: Vec<_> = sums.collect();
    let statement = format!(
        "SELECT CONCAT_WS('|', {}) FROM notification_history h WHERE {which}",
        sums.join(", ")
    );
    let counted = world.database.try_texts(&statement, ANSWER_MAX).await?;
    let (statement, twice) = TOKEN_TWICE;
    let statement = statement.replacen("COUNT(*)", "CAST(COUNT(*) AS CHAR)", 1);
    let tokens = world.database.try_texts(&statement, ANSWER_MAX).await?;
    let counts = counted.iter().flat_map(|line| line.split('|'));
    let counts = counts.chain(tokens.iter().map(String::as_str));
    let meanings = NEVER.iter().map(|(_, meaning)| *meaning).chain([twice]);
    let found = counts.zip(meanings).filter(|(count, _)| *count != "0");
    Some(
        found
            .map(|(count, meaning)| format!("{meaning} ({count})"))
            .collect(),
    )
}

/// Accepted means committed: whatever a caller was told since the last look is there.
async fn missing(crowd: &Crowd, known: &mut usize) -> Option<Option<String>> {
    let told: Vec<u128> = {
        let told = crowd.told.lock().expect("nobody panics with it");
        told.accepted[*known..].iter().map(|(id, _)| *id).collect()
    };
    if told.is_empty() {
        return Some(None);
    }
    let ids: Vec<_> = told.iter().map(|id| format!("X'{id:032x}'")).collect();
    let statement = format!(
        "SELECT CAST(COUNT(*) AS CHAR) FROM notification_history WHERE notification_id IN ({})",
        ids.join(",")
    );
    let found = crowd
        .world
        .database
        .try_texts(&statement, ANSWER_MAX)
        .await?;
    *known += told.len();
    let found: usize = found.first()?.parse().ok()?;
    Some((found != told.len()).then(|| format!("{} accepted, {found} committed", told.len())))
}

/// The programs' own word for it.
async fn out_of_balance(world: &World) -> Vec<String> {
    let told = world.metrics().await;
    let wrong = told.iter().filter_map(|(name, text)| {
        let wrong = Metrics::parse(text).sum("push_books_out_of_balance", "")?;
        (wrong.abs() >= 0.5).then(|| format!("{name} says push_books_out_of_balance {wrong}"))
    });
    wrong.collect()
}
