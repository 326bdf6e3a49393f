//! What notifications that had ended come to when a receipt turns out bad.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use push_core::id::NotificationId;
use push_core::job::{GiveUpReason, GivenUp, Job, Progress, TrailEntry};
use push_core::outcome::{Cause, Sent};
use push_core::provider::PerProvider;
use push_core::receipt::{Failure, recount};
use push_core::settle::DeliveryOutcome;
use push_core::status::{self, ProviderResult, Reason, Status};
use push_core::timeline::{Step, TimelineEntry};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use super::record::{DeliveryRow, Key};
use crate::DeadLetterRecord;
use crate::bulk::{self, KEYS_MAX};
use crate::dead_letters::record::keep;
use crate::decode::Row;
use crate::error::StoreError;
use crate::history::content::NotificationRow;
use crate::history::lock::Locked;
use crate::history::timeline::{bounded, lines};
use crate::stats;

const TO_TAKE_BACK: &str = "\
    SELECT history.notification_id, history.customer_id, history.notification_type, history.title, history.body, \
        history.data, history.image_url, history.sealed, history.priority, history.collapse_key, history.created_at, \
        history.send_at, history.expires_at, history.status, history.reason, history.round, history.fcm_result, history.expo_result \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS failed \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(failed.id)";

/// What is NULL in the array stays as it is.
const TAKE_BACK: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            round BIGINT PATH '$.round', \
            status MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.status', \
            reason MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.reason', \
            expo_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expo_result', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline' \
        )) AS told \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(told.id) \
    SET history.sent_at = IF(told.status IS NULL, history.sent_at, NULL), \
        history.reason = COALESCE(told.reason, history.reason), \
        history.expo_result = COALESCE(told.expo_result, history.expo_result), \
        history.round = COALESCE(told.round, history.round), \
        history.status = COALESCE(told.status, history.status), \
        history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", told.timeline) \
    WHERE told.status IS NULL OR history.status = 'sent'"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("TO_TAKE_BACK", TO_TAKE_BACK), ("TAKE_BACK", TAKE_BACK)];

/// What came of it.
pub(super) struct Ended {
    /// How many had been sent, and have failed.
    pub(super) failed: u64,
    /// What is kept for a replay.
    pub(super) letters: Vec<DeadLetterRecord>,
}

/// What notifications that had ended come to now.
pub(super) struct Ending<'a> {
    /// All that is known of their devices.
    pub(super) deliveries: &'a mut HashMap<NotificationId, Vec<DeliveryRow>>,
    /// The deliveries that have failed just now.
    pub(super) failed: &'a BTreeSet<Key>,
    pub(super) locked: &'a HashMap<NotificationId, Locked>,
    pub(super) counters: &'a mut stats::Changes,
    pub(super) now: DateTime<Utc>,
    pub(super) keys: &'a Keyring,
}

impl Ending<'_> {
    /// Writes the timelines, and what those come to that have deliveries which have failed.
    pub(super) async fn write(
        mut self,
        connection: &mut MySqlConnection,
        mut timelines: BTreeMap<NotificationId, Vec<TimelineEntry>>,
    ) -> Result<Ended, StoreError> {
        let mut changes: BTreeMap<NotificationId, Change> = BTreeMap::new();
        let mut ended = Ended {
            failed: 0,
            letters: Vec::new(),
        };
        let ids: BTreeSet<_> = self.failed.iter().map(|(id, _)| *id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        for row in ended_rows(connection, &ids).await? {
            let id = row.notification.notification_id.into();
            let timeline = timelines.entry(id).or_default();
            let Some((change, letter)) = self.end(id, row, timeline)? else {
                continue;
            };
            ended.failed += u64::from(change.status.is_some());
            ended.letters.extend(letter);
            changes.insert(id, change);
        }
        let rows = timelines.into_iter().map(|(id, entries)| ToldRow {
            id: bulk::id(id),
            change: changes.remove(&id).unwrap_or_default(),
            timeline: lines(&entries),
        });
        let rows: Vec<_> = rows.collect();
        for some in bulk::arrays(&rows, KEYS_MAX)? {
            sqlx::query(TAKE_BACK)
                .bind(some.json)
                .execute(&mut *connection)
                .await?;
        }
        keep(connection, self.keys, &ended.letters, self.now).await?;
        Ok(ended)
    }

    fn end(
        &mut self,
        id: NotificationId,
        row: EndedRow,
        timeline: &mut Vec<TimelineEntry>,
    ) -> Result<Option<(Change, Option<DeadLetterRecord>)>, StoreError> {
        let (Some(rows), Some(locked)) = (self.deliveries.get_mut(&id), self.locked.get(&id))
        else {
            return Ok(None);
        };
        let standing = Standing::of(&row)?;
        let just_now = rows.iter_mut().filter(|row| row.is_in(self.failed));
        let letter = letter(self.keys, row, &standing, just_now, self.now)?;
        let change = Change::of(&standing, rows, letter.as_ref(), timeline, self.now);
        let counted_before = standing.counted(locked.sent_at);
        let counted_after = change.counted(&standing, locked.sent_at);
        self.counters.moved(
            &locked.counted,
            counted_before.as_ref(),
            counted_after.as_ref(),
        );
        Ok(Some((change, letter)))
    }
}

async fn ended_rows(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
) -> Result<Vec<EndedRow>, StoreError> {
    let mut rows = Vec::with_capacity(ids.len());
    for some in ids.chunks(KEYS_MAX) {
        let found: Vec<EndedRow> = sqlx::query_as(TO_TAKE_BACK)
            .bind(bulk::ids(some)?)
            .fetch_all(&mut *connection)
            .await?;
        rows.extend(found);
    }
    Ok(rows)
}

/// The dead letter of what could be sent again: one job for all devices that are given up `just_now`. (Those of before
/// have one already: a second one could be replayed as well.) Without its content there is nothing to send again, and the
/// push is refused for good.
fn letter<'a>(
    keys: &Keyring,
    row: EndedRow,
    standing: &Standing,
    just_now: impl Iterator<Item = &'a mut DeliveryRow>,
    now: DateTime<Utc>,
) -> Result<Option<DeadLetterRecord>, StoreError> {
    let mut given_up: Vec<_> = just_now.filter_map(given_up).collect();
    let Some((_, reason, _)) = given_up.first() else {
        return Ok(None);
    };
    let reason = *reason;
    let notification = match row.notification.read(keys) {
        Ok(notification) => notification,
        Err(error) if error.is_unavailable() => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "a push that could be sent again has no content any more: no dead letter");
            for (delivery, ..) in given_up {
                delivery.outcome = DeliveryOutcome::Refused;
            }
            return Ok(None);
        }
    };
    let mut progress = Progress {
        results: standing.results,
        ..Progress::default()
    };
    for (delivery, reason, cause) in &mut given_up {
        delivery.outcome = DeliveryOutcome::DeadLettered;
        progress.remember(TrailEntry {
            at: now,
            provider: delivery.provider,
            registration: delivery.registration,
            cause: cause.clone(),
        });
        progress.given_up.push(GivenUp {
            registration: delivery.registration,
            provider: delivery.provider,
            platform: delivery.platform,
            token: delivery.masked(),
            reason: *reason,
            cause: cause.clone(),
            tries: delivery.attempts,
            // What is recorded is asked for when it is replayed.
            sent: Sent::SurelyNot,
        });
    }
    let job = Job {
        round: standing.round.saturating_add(1),
        targets: Some(Vec::new()),
        progress,
        ..Job::first(notification)
    };
    Ok(Some(DeadLetterRecord::Job {
        job: Box::new(job),
        reason,
    }))
}

/// A delivery that is given up now, and why.
fn given_up(delivery: &mut DeliveryRow) -> Option<(&mut DeliveryRow, GiveUpReason, Cause)> {
    let failure = Failure {
        outcome: delivery.outcome,
        cause: delivery.failed_by_receipt()?,
    };
    let reason = failure.given_up()?;
    Some((delivery, reason, failure.cause))
}

/// How a notification stood before.
struct Standing {
    status: Status,
    reason: Option<Reason>,
    round: u32,
    results: PerProvider<ProviderResult>,
}

impl Standing {
    fn of(row: &EndedRow) -> Result<Self, StoreError> {
        let at = Row {
            table: "notification_history",
            key: row.notification.notification_id,
        };
        let result = |column, text: &str| at.read(column, ProviderResult::from_spelling(text));
        Ok(Self {
            status: at.read("status", Status::from_spelling(&row.status))?,
            reason: at.read_nullable("reason", row.reason.as_deref(), Reason::from_spelling)?,
            round: row.round,
            results: PerProvider {
                fcm: result("fcm_result", &row.fcm_result)?,
                expo: result("expo_result", &row.expo_result)?,
            },
        })
    }

    fn counted(&self, sent_at: Option<DateTime<Utc>>) -> Option<stats::Standing> {
        stats::Standing::of(self.status, self.reason, self.results, sent_at)
    }
}

#[derive(FromRow)]
struct EndedRow {
    #[sqlx(flatten)]
    notification: NotificationRow,
    status: String,
    reason: Option<String>,
    round: u32,
    fcm_result: String,
    expo_result: String,
}

/// What becomes of a notification; what is `None` stays.
#[derive(Default, Serialize)]
struct Change {
    round: Option<u32>,
    status: Option<Status>,
    reason: Option<Reason>,
    expo_result: Option<ProviderResult>,
}

impl Change {
    /// A dead letter takes the round that its job has, as always: nothing else may come under it.
    fn of(
        standing: &Standing,
        deliveries: &[DeliveryRow],
        letter: Option<&DeadLetterRecord>,
        timeline: &mut Vec<TimelineEntry>,
        now: DateTime<Utc>,
    ) -> Self {
        let rows = deliveries.iter().map(|row| (row.provider, row.outcome));
        let (results, ending) = recount(standing.results, &rows.collect::<Vec<_>>());
        if letter.is_some() {
            let text = "kept as a dead letter";
            timeline.push(TimelineEntry::new(now, Step::DeadLettered, text));
        }
        let ending = ending.filter(|_| standing.status == Status::Sent);
        if let Some(ending) = ending {
            let reason = ending.reason().map_or("", Reason::as_str);
            let text = format!("{}: {reason}", ending.status());
            timeline.push(TimelineEntry::new(now, Step::Settled, text));
        }
        Self {
            round: letter.map(|_| standing.round.saturating_add(1)),
            status: ending.map(status::Ending::status),
            reason: ending.and_then(status::Ending::reason),
            expo_result: Some(results.expo),
        }
    }

    fn counted(
        &self,
        before: &Standing,
        sent_at: Option<DateTime<Utc>>,
    ) -> Option<stats::Standing> {
        let results = PerProvider {
            fcm: before.results.fcm,
            expo: self.expo_result.unwrap_or(before.results.expo),
        };
        stats::Standing::of(
            self.status.unwrap_or(before.status),
            self.reason.or(before.reason),
            results,
            sent_at.filter(|_| self.status.is_none()),
        )
    }
}

/// An element of [`TAKE_BACK`]'s array.
#[derive(Serialize)]
struct ToldRow {
    id: String,
    #[serde(flatten)]
    change: Change,
    timeline: String,
}
