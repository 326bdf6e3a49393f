//! Recording dead letters, and ending the notifications they are about.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use push_core::admit::Recorded;
use push_core::id::{CustomerId, NotificationId, RegistrationId};
use push_core::job::{About, GiveUpReason, Job};
use push_core::provider::{PerProvider, Provider};
use push_core::status::{Ending, ProviderResult, Reason};
use push_core::timeline::{Step, TimelineEntry};
use push_seal::Keyring;
use sqlx::MySqlConnection;

use super::DeadLetterRecord;
use super::letter::{INSERT, Letter, LetterRow, letters, tries};
use crate::decode::millis;
use crate::erasure::erased_among;
use crate::error::StoreError;
use crate::history::lock::{Locked, lock};
use crate::history::timeline::{bounded, lines};
use crate::retry::Tries;
use crate::stats::{Changes, Standing};
use crate::{Kept, Store, bulk, content, erasure};

/// The index is forced: by `status_due` it would lock the other pending ones as well.
const END: &str = concat!(
    "\
    UPDATE notification_history FORCE INDEX (notification) SET status = ?, reason = ?, fcm_result = ?, expo_result = ?, \
        attempts = GREATEST(attempts, ?), round = ?, \
        sent_at = IF(? IS NULL, NULL, COALESCE(sent_at, ?)), completed_at = ?, due_at = NULL, \
        next_at = NULL, next_job = NULL, \
        timeline = CONCAT(",
    bounded!("timeline"),
    ", ?) \
    WHERE notification_id = ? AND status = 'pending' AND round < ?"
);

const GIVE_UP_DELIVERY: &str = "\
    UPDATE notification_deliveries SET outcome = 'dead_lettered' \
    WHERE notification_id = ? AND registration_id = ? AND provider = ? AND outcome <> 'accepted'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("END", END), ("GIVE_UP_DELIVERY", GIVE_UP_DELIVERY)];

/// Rows of one INSERT.
const ROWS_MAX: usize = 100;

impl Store {
    /// Commits dead letters, all or none, and in the same transaction ends the notifications that they are
    /// about. To record the same again is harmless.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was recorded, unless the connection broke during the commit.
    pub async fn record_dead_letters(
        &self,
        records: &[DeadLetterRecord],
        now: DateTime<Utc>,
    ) -> Result<Vec<Kept>, StoreError> {
        self.may_seal().await?;
        let mut tries = Tries::new();
        loop {
            match self.record_dead_letters_once(records, now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn record_dead_letters_once(
        &self,
        records: &[DeadLetterRecord],
        now: DateTime<Utc>,
    ) -> Result<Vec<Kept>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let about: Vec<About> = records.iter().map(DeadLetterRecord::about).collect();
        let ids = about.iter().filter_map(|about| about.notification);
        let mut locked = lock(&mut transaction, ids).await?;
        let erased = erased_among(&mut transaction, locked.keys().copied()).await?;
        let strangers = strangers(&about, &locked);
        let mut changes = Changes::default();
        let mut kept_each = Vec::with_capacity(records.len());
        let mut rows: Vec<Letter> = Vec::new();
        let (mut emptied, mut poison) = (Vec::new(), Vec::new());
        for (record, about) in records.iter().zip(&about) {
            let kept = match record {
                DeadLetterRecord::Poison { .. } => {
                    poison.extend(about.notification.filter(|id| erased.contains(id)));
                    Kept::Only
                }
                DeadLetterRecord::Job { job, reason } => {
                    let is_erased = erased.contains(&job.notification.id);
                    let kept = end(
                        &mut transaction,
                        &mut locked,
                        &mut changes,
                        job,
                        (!is_erased).then_some(*reason),
                        now,
                    )
                    .await?;
                    if is_erased && kept != Kept::Not {
                        emptied.push(job.notification.id);
                    }
                    kept
                }
            };
            if kept != Kept::Not {
                rows.extend(letters(record));
            }
            kept_each.push(kept);
        }
        insert(&mut transaction, &self.keys, &rows, now).await?;
        content::erase(&mut transaction, &emptied, &erasure::told(now)).await?;
        content::erase_letters(&mut transaction, &poison).await?;
        erasure::erase_strangers(&mut transaction, &strangers).await?;
        changes.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(kept_each)
    }
}

/// Keeps dead letters whose notifications have ended already.
pub(crate) async fn keep(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    records: &[DeadLetterRecord],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows: Vec<Letter> = records.iter().flat_map(letters).collect();
    insert(connection, keys, &rows, now).await
}

async fn insert(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    rows: &[Letter<'_>],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows: Vec<LetterRow> = rows
        .iter()
        .map(|letter| LetterRow::of(keys, letter, now))
        .collect::<Result<_, _>>()?;
    for some in bulk::arrays(&rows, ROWS_MAX)? {
        sqlx::query(INSERT)
            .bind(millis(now))
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The customers of what is no notification of ours.
fn strangers(about: &[About], locked: &HashMap<NotificationId, Locked>) -> Vec<CustomerId> {
    let is_ours = |about: &&About| {
        let id = about.notification;
        id.is_some_and(|id| locked.contains_key(&id))
    };
    let strange = about.iter().filter(|about| !is_ours(about));
    strange.filter_map(|about| about.customer).collect()
}

/// Ends the job's notification, if the job is the one that it waits for. A job whose round has been recorded is a
/// copy: its successor is on its way and must not be cut off. Without a `reason` its customer was erased.
async fn end(
    connection: &mut MySqlConnection,
    locked: &mut HashMap<NotificationId, Locked>,
    changes: &mut Changes,
    job: &Job,
    reason: Option<GiveUpReason>,
    now: DateTime<Utc>,
) -> Result<Kept, StoreError> {
    let id = job.notification.id;
    let Some(row) = locked.get_mut(&id) else {
        // Not ours, or deleted: nothing to end, but something to look at.
        return Ok(Kept::Only);
    };
    if !row.awaits(job.round) {
        return Ok(Kept::Not);
    }
    let ending = ending(job, reason);
    row.recorded = Recorded {
        status: ending.status(),
        round: job.round,
    };
    let standing = Standing {
        ending,
        results: settled_each(job),
        sent_at: row.sent_at.or(Some(now)),
    };
    changes.moved(&row.counted, None, Some(&standing));
    for (registration, provider) in given_up_targets(job) {
        sqlx::query(GIVE_UP_DELIVERY)
            .bind(id.as_uuid())
            .bind(registration.0)
            .bind(provider.as_str())
            .execute(&mut *connection)
            .await?;
    }
    write_end(connection, job, ending, reason, now).await?;
    Ok(Kept::AndEnded(ending))
}

async fn write_end(
    connection: &mut MySqlConnection,
    job: &Job,
    ending: Ending,
    reason: Option<GiveUpReason>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let now = millis(now);
    let results = settled_each(job);
    let changed = sqlx::query(END)
        .bind(ending.status().as_str())
        .bind(ending.reason().map(Reason::as_str))
        .bind(results.fcm.as_str())
        .bind(results.expo.as_str())
        .bind(tries(job))
        .bind(job.round)
        .bind((ending == Ending::Sent).then_some(now))
        .bind((ending == Ending::Sent).then_some(now))
        .bind(now)
        .bind(lines(&told(job, ending, reason, now)))
        .bind(job.notification.id.as_uuid())
        .bind(job.round)
        .execute(connection)
        .await?
        .rows_affected();
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Unusable(
            "a dead letter did not end its notification",
        ))
    }
}

/// Those given up one by one, and those still left in a job that was given up as a whole.
fn given_up_targets(job: &Job) -> impl Iterator<Item = (RegistrationId, Provider)> {
    let given_up = job
        .progress
        .given_up
        .iter()
        .map(|target| (target.registration, target.provider));
    let left = job
        .targets
        .iter()
        .flatten()
        .map(|target| (target.registration, target.provider));
    given_up.chain(left)
}

fn ending(job: &Job, reason: Option<GiveUpReason>) -> Ending {
    let results = &job.progress.results;
    if [results.fcm, results.expo].contains(&ProviderResult::Success) {
        Ending::Sent
    } else if reason.is_none() {
        Ending::Suppressed(Reason::Erased)
    } else {
        Ending::Failed(Reason::DeadLettered)
    }
}

const fn settled_each(job: &Job) -> PerProvider<ProviderResult> {
    PerProvider {
        fcm: settled(job.progress.results.fcm),
        expo: settled(job.progress.results.expo),
    }
}

/// What is queued no longer.
pub(crate) const fn settled(result: ProviderResult) -> ProviderResult {
    match result {
        ProviderResult::Queued => ProviderResult::NotSent,
        ProviderResult::Success | ProviderResult::Failed | ProviderResult::NotSent => result,
    }
}

fn told(
    job: &Job,
    ending: Ending,
    reason: Option<GiveUpReason>,
    now: DateTime<Utc>,
) -> [TimelineEntry; 2] {
    let why = reason.map_or("", GiveUpReason::as_str);
    let kept = match job.progress.given_up.len() {
        given_up if job.is_given_up() && given_up > 0 => {
            format!("kept as {given_up} dead letter(s)")
        }
        _ => format!("kept as a dead letter: {why}"),
    };
    let ended = match ending.reason() {
        Some(reason) => format!("{}: {reason}", ending.status()),
        None => ending.status().to_string(),
    };
    [
        TimelineEntry::new(now, Step::DeadLettered, kept),
        TimelineEntry::new(now, Step::Settled, ended),
    ]
}
