//! Recording what a round came to.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::admit::Recorded;
use push_core::id::NotificationId;
use push_core::receipt::Ticket;
use push_core::settle::{DeliveryOutcome, Next, Settlement};
use push_core::status::{Reason, Status};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::MySqlConnection;

use super::deliveries::write_deliveries;
use super::lock::{Locked, lock};
use super::timeline::{bounded, lines};
use super::{ClaimedRound, Due, Recording};
use crate::Store;
use crate::bulk;
use crate::collapse;
use crate::content;
use crate::devices::{DeadToken, switch_off_in};
use crate::erasure::told;
use crate::error::StoreError;
use crate::quiet;
use crate::receipts::open::open;
use crate::retry::Tries;
use crate::sealing;
use crate::stats::{Changes, Standing};

/// The rows are locked, and known to be fresh; the condition is repeated all the same, because a statement that settles
/// must not depend on its caller. The join starts from the array, and finds each row by its key.
const SETTLE: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            claim CHAR(32) PATH '$.claim', \
            round BIGINT PATH '$.round', \
            status MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.status', \
            reason MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.reason', \
            fcm_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.fcm_result', \
            expo_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expo_result', \
            attempts BIGINT PATH '$.attempts', \
            sent_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.sent_at', \
            completed_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.completed_at', \
            due_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.due_at', \
            unpublished TINYINT PATH '$.unpublished', \
            next_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.next_at', \
            next_job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.next_job', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline' \
        )) AS settled \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(settled.id) \
    SET history.status = settled.status, \
        history.reason = settled.reason, \
        history.fcm_result = settled.fcm_result, \
        history.expo_result = settled.expo_result, \
        history.attempts = GREATEST(history.attempts, settled.attempts), \
        history.round = settled.round, \
        history.sent_at = IF(settled.sent_at IS NULL, NULL, COALESCE(history.sent_at, settled.sent_at)), \
        history.completed_at = settled.completed_at, \
        history.due_at = settled.due_at, \
        history.claimed_until = NULL, \
        history.interruptions = 0, \
        history.unpublished = settled.unpublished, \
        history.next_at = settled.next_at, \
        history.next_job = settled.next_job, \
        history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", settled.timeline) \
    WHERE history.status = 'pending' AND history.round < settled.round AND history.claimed_by = UNHEX(settled.claim)"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("SETTLE", SETTLE)];

/// Rows of one [`SETTLE`].
const ROWS_MAX: usize = 200;

impl Store {
    /// Commits settlements, all or none, and says for each, in order, whether it counts: only under the claim that the
    /// round was worked on. Dead tokens are switched off in the same transaction (P5).
    ///
    /// `grace` is what the broker is given, beyond a rung's delay, to bring the next job back before the
    /// reconciler publishes it again. `receipts_after` is how long after this the receipts of Expo's tickets are asked for:
    /// beyond that and the grace they are looked for as well.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was recorded, unless the connection broke during the commit. Record the same
    /// again: what is committed already counts.
    pub async fn record(
        &self,
        rounds: &[ClaimedRound],
        now: DateTime<Utc>,
        grace: Duration,
        receipts_after: Duration,
    ) -> Result<Vec<Recording>, StoreError> {
        self.may_seal().await?;
        let mut tries = Tries::new();
        loop {
            match self.record_once(rounds, now, grace, receipts_after).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn record_once(
        &self,
        rounds: &[ClaimedRound],
        now: DateTime<Utc>,
        grace: Duration,
        receipts_after: Duration,
    ) -> Result<Vec<Recording>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let ids = rounds.iter().map(|round| round.settlement.notification);
        let mut locked = lock(&mut transaction, ids).await?;
        let mut recordings: Vec<_> = rounds
            .iter()
            .map(|round| committed_before(locked.get(&round.settlement.notification), round))
            .collect();
        let mut changes = Changes::default();
        for wave in waves(rounds) {
            let mut fresh = Vec::with_capacity(wave.len());
            for index in wave {
                let (Some(round), Some(recording)) = (rounds.get(index), recordings.get_mut(index))
                else {
                    continue;
                };
                if let Some(row) = take(&mut locked, round) {
                    fresh.push((round, row));
                    *recording = Recording::Recorded;
                }
            }
            write(&mut transaction, &self.keys, &fresh, now, grace).await?;
            erase(&mut transaction, &fresh, now).await?;
            let keyed = fresh.iter().filter(|(_, row)| row.collapses);
            collapse::let_through(
                &mut transaction,
                keyed.map(|(round, _)| (round.settlement.notification, round.claim)),
            )
            .await?;
            let tickets = fresh
                .iter()
                .flat_map(|(round, _)| Ticket::of(&round.settlement));
            open(&mut transaction, tickets, now, receipts_after + grace).await?;
            for (round, row) in &fresh {
                count(&mut changes, &round.settlement, row, now);
            }
        }
        changes.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(recordings)
    }
}

/// Whose customer was erased keeps no content, also where the erasure has looked before it came.
async fn erase(
    connection: &mut MySqlConnection,
    fresh: &[(&ClaimedRound, Locked)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let erased = fresh.iter().map(|(round, _)| &round.settlement);
    let erased = erased.filter(|settlement| match settlement.next {
        Next::Done(ending) => ending.reason() == Some(Reason::Erased),
        Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_) => false,
    });
    let erased: Vec<_> = erased.map(|settlement| settlement.notification).collect();
    content::erase(connection, &erased, &told(now)).await
}

/// Splits a batch so that no part has a notification twice: one statement changes a row once. As good as always there
/// is one part; a batch with a job and its copy has two, and the copy turns out to be stale.
fn waves(rounds: &[ClaimedRound]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<NotificationId, usize> = HashMap::with_capacity(rounds.len());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, round) in rounds.iter().enumerate() {
        let times = seen.entry(round.settlement.notification).or_default();
        match waves.get_mut(*times) {
            Some(wave) => wave.push(index),
            None => waves.push(vec![index]),
        }
        *times += 1;
    }
    waves
}

/// An earlier try of this record was committed, and only its answer was lost.
fn committed_before(row: Option<&Locked>, round: &ClaimedRound) -> Recording {
    let ours = |row: &Locked| {
        let last = row.recorded.round == round.settlement.round && !row.in_hand;
        last && round.claim.is(row.claimed_by)
    };
    if row.is_some_and(ours) {
        Recording::Recorded
    } else {
        Recording::Stale
    }
}

/// The row of a settlement that counts; from then on the same round is stale.
fn take(locked: &mut HashMap<NotificationId, Locked>, round: &ClaimedRound) -> Option<Locked> {
    let settlement = &round.settlement;
    let row = locked
        .get_mut(&settlement.notification)
        .filter(|row| row.awaits(settlement.round) && round.claim.is(row.claimed_by))?;
    row.recorded = Recorded {
        status: status(&settlement.next),
        round: settlement.round,
    };
    let before = row.clone();
    if row.recorded.status != Status::Sent {
        row.sent_at = None;
    }
    Some(before)
}

fn count(changes: &mut Changes, settlement: &Settlement, row: &Locked, now: DateTime<Utc>) {
    let taken = settlement
        .deliveries
        .iter()
        .filter(|delivery| delivery.outcome == DeliveryOutcome::Accepted);
    for delivery in taken {
        changes.reached(&row.counted, delivery.token.provider(), delivery.at);
    }
    match settlement.next {
        Next::Done(ending) => {
            let standing = Standing {
                ending,
                results: settlement.results,
                sent_at: row.sent_at.or(Some(now)),
            };
            changes.moved(&row.counted, None, Some(&standing));
        }
        Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_) => {}
    }
}

async fn write(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    fresh: &[(&ClaimedRound, Locked)],
    now: DateTime<Utc>,
    grace: Duration,
) -> Result<(), StoreError> {
    write_deliveries(connection, fresh).await?;
    let changes: Vec<Change> = fresh
        .iter()
        .map(|(round, _)| Change::of(keys, round, now, grace))
        .collect::<Result<_, _>>()?;
    for some in bulk::arrays(&changes, ROWS_MAX)? {
        let changed = sqlx::query(SETTLE)
            .bind(some.json)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        if changed != some.rows as u64 {
            // Locked and fresh, and yet not changed: rather nothing than half a record.
            return Err(StoreError::Unusable("a settlement did not change its row"));
        }
    }
    let dead: Vec<DeadToken> = fresh
        .iter()
        .flat_map(|(round, _)| round.settlement.dead_tokens())
        .map(|(token, at)| DeadToken {
            token: token.clone(),
            at,
        })
        .collect();
    if !dead.is_empty() {
        switch_off_in(connection, &dead).await?;
    }
    quiet::put_off(connection, fresh, now).await
}

const fn status(next: &Next) -> Status {
    match next {
        Next::Done(ending) => ending.status(),
        Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_) => Status::Pending,
    }
}

/// An element of [`SETTLE`]'s array.
#[derive(Serialize)]
pub(crate) struct Change {
    id: String,
    claim: String,
    round: u32,
    status: &'static str,
    fcm_result: &'static str,
    expo_result: &'static str,
    attempts: u32,
    reason: Option<&'static str>,
    sent_at: Option<String>,
    completed_at: Option<String>,
    due_at: Option<String>,
    unpublished: u8,
    next_at: Option<String>,
    timeline: String,
    next_job: Option<String>,
}

impl Change {
    pub(crate) fn of(
        keys: &Keyring,
        round: &ClaimedRound,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<Self, StoreError> {
        let settlement = &round.settlement;
        let status = status(&settlement.next);
        let after = |wait| now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let (reason, next_at, next_job) = match &settlement.next {
            Next::Done(ending) => (ending.reason(), None, None),
            Next::Wait(rung, job) => (None, Some(after(rung.as_duration())), Some(job)),
            Next::Later(at, job) => (None, Some(*at), Some(job)),
            Next::DeadLetter(job) => (None, Some(now), Some(job)),
        };
        let (due, grace) = match &settlement.next {
            // In no queue: it waits here.
            Next::Later(..) => (Due::Timed, Duration::ZERO),
            Next::Done(_) | Next::Wait(..) | Next::DeadLetter(_) => (Due::Overdue, grace),
        };
        let place = sealing::next_job(settlement.notification.as_uuid());
        let next_job = next_job.map(|job| sealing::seal_job(keys, &place, job));
        let due_at = next_at.map(|at| at + TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX));
        Ok(Self {
            id: bulk::id(settlement.notification),
            claim: round.claim.hex(),
            round: settlement.round,
            status: status.as_str(),
            fcm_result: settlement.results.fcm.as_str(),
            expo_result: settlement.results.expo.as_str(),
            attempts: settlement.attempts,
            timeline: lines(&settlement.timeline),
            reason: reason.map(|reason| reason.as_str()),
            sent_at: (status == Status::Sent).then(|| bulk::time(now)),
            completed_at: (status != Status::Pending).then(|| bulk::time(now)),
            due_at: due_at.map(bulk::time),
            unpublished: due.unpublished(),
            next_at: next_at.map(bulk::time),
            next_job: next_job.transpose()?,
        })
    }
}
