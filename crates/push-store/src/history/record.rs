//! Recording what a round came to.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::admit::Recorded;
use push_core::id::NotificationId;
use push_core::receipt::Ticket;
use push_core::settle::{DeliveryOutcome, Next, Settlement};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::mysql::MySqlArguments;
use sqlx::query::Query;
use sqlx::{MySql, MySqlConnection};

use super::deliveries::write_deliveries;
use super::lock::{Locked, lock};
use super::timeline::{bounded, lines};
use super::{ClaimedRound, Due, Recording};
use crate::Store;
use crate::bulk;
use crate::collapse;
use crate::content;
use crate::decode::millis;
use crate::devices::{DeadToken, switch_off_in};
use crate::erasure::told;
use crate::error::StoreError;
use crate::quiet;
use crate::receipts::open::open;
use crate::retry::Tries;
use crate::sealing;
use crate::stats::{Changes, Standing};

/// Rounds with which notifications end in the same way. The rows are locked, and known to be fresh; the condition is repeated
/// all the same, because a statement that settles must not depend on its caller.
const SETTLE: &str = concat!(
    "\
    UPDATE notification_history AS history FORCE INDEX (notification) \
    SET history.status = ?, history.reason = ?, history.fcm_result = ?, history.expo_result = ?, \
        history.attempts = GREATEST(history.attempts, ?), history.round = ?, \
        history.sent_at = IF(?, COALESCE(history.sent_at, ?), NULL), history.completed_at = ?, \
        history.due_at = NULL, history.claimed_until = NULL, history.interruptions = 0, history.unpublished = 0, \
        history.next_at = NULL, history.next_job = NULL, \
        history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", CASE history.notification_id WHEN ? THEN ?« WHEN ? THEN ?» END) \
    WHERE history.notification_id IN (?«, ?») AND history.status = 'pending' AND history.round < ? \
        AND history.claimed_by = CASE history.notification_id WHEN ? THEN ?« WHEN ? THEN ?» END"
);

/// Rounds after which notifications go on. The join starts from the array, and finds each row by its key.
const GO_ON: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            claim CHAR(32) PATH '$.claim', \
            round BIGINT PATH '$.round', \
            fcm_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.fcm_result', \
            expo_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expo_result', \
            attempts BIGINT PATH '$.attempts', \
            due_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.due_at', \
            unpublished TINYINT PATH '$.unpublished', \
            next_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.next_at', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline', \
            next_job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.next_job' \
        )) AS settled \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(settled.id) \
    SET history.fcm_result = settled.fcm_result, \
        history.expo_result = settled.expo_result, \
        history.attempts = GREATEST(history.attempts, settled.attempts), \
        history.round = settled.round, \
        history.sent_at = NULL, \
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
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("SETTLE", SETTLE), ("GO_ON", GO_ON)];

/// Rows of one [`SETTLE`], which looks for each among all of them.
const SETTLED_MAX: usize = 64;

/// Rows of one [`GO_ON`].
const WAITS_MAX: usize = 200;

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
    settle(connection, keys, fresh, now, grace).await?;
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

/// Changes the rows themselves.
async fn settle(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    fresh: &[(&ClaimedRound, Locked)],
    now: DateTime<Utc>,
    grace: Duration,
) -> Result<(), StoreError> {
    let (mut ends, mut waits): (HashMap<End, Vec<_>>, Vec<_>) = Default::default();
    for (round, _) in fresh {
        let settlement = &round.settlement;
        match &settlement.next {
            Next::Done(ending) => ends
                .entry(End::of(settlement, *ending))
                .or_default()
                .push(*round),
            next @ (Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_)) => {
                waits.push(Wait::of(keys, round, next, now, grace)?);
            }
        }
    }
    let mut changed = 0;
    for (end, rounds) in &ends {
        for some in bulk::some_rows(rounds, SETTLED_MAX) {
            let update = end.update(some, now);
            changed += update.execute(&mut *connection).await?.rows_affected();
        }
    }
    for some in bulk::arrays(&waits, WAITS_MAX)? {
        let update = sqlx::query(GO_ON).bind(some.json);
        changed += update.execute(&mut *connection).await?.rows_affected();
    }
    if changed == fresh.len() as u64 {
        Ok(())
    } else {
        // Locked and fresh, and yet not changed: rather nothing than half a record.
        Err(StoreError::Unusable("a settlement did not change its row"))
    }
}

const fn status(next: &Next) -> Status {
    match next {
        Next::Done(ending) => ending.status(),
        Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_) => Status::Pending,
    }
}

/// How notifications end, but for what each has of its own.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct End {
    status: Status,
    reason: Option<Reason>,
    fcm: ProviderResult,
    expo: ProviderResult,
    attempts: u32,
    round: u32,
}

impl End {
    pub(crate) fn of(settlement: &Settlement, ending: Ending) -> Self {
        Self {
            status: ending.status(),
            reason: ending.reason(),
            fcm: settlement.results.fcm,
            expo: settlement.results.expo,
            attempts: settlement.attempts,
            round: settlement.round,
        }
    }

    /// [`SETTLE`] for these.
    pub(crate) fn update(
        &self,
        rounds: &[&ClaimedRound],
        now: DateTime<Utc>,
    ) -> Query<'static, MySql, MySqlArguments> {
        let now = millis(now);
        let mut end = sqlx::query(bulk::for_rows(SETTLE, rounds.len()))
            .bind(self.status.as_str())
            .bind(self.reason.map(|reason| reason.as_str()))
            .bind(self.fcm.as_str())
            .bind(self.expo.as_str())
            .bind(self.attempts)
            .bind(self.round)
            .bind(self.status == Status::Sent)
            .bind(now)
            .bind(now);
        let id = |round: &ClaimedRound| round.settlement.notification.as_uuid();
        for round in rounds {
            end = end.bind(id(round)).bind(lines(&round.settlement.timeline));
        }
        for round in rounds {
            end = end.bind(id(round));
        }
        end = end.bind(self.round);
        for round in rounds {
            end = end.bind(id(round)).bind(round.claim.as_uuid());
        }
        end
    }
}

/// An element of [`GO_ON`]'s array.
#[derive(Serialize)]
pub(crate) struct Wait {
    id: String,
    claim: String,
    round: u32,
    fcm_result: &'static str,
    expo_result: &'static str,
    attempts: u32,
    due_at: String,
    unpublished: u8,
    next_at: String,
    timeline: String,
    next_job: Option<String>,
}

impl Wait {
    pub(crate) fn of(
        keys: &Keyring,
        round: &ClaimedRound,
        next: &Next,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<Self, StoreError> {
        let settlement = &round.settlement;
        let after =
            |at: DateTime<Utc>, wait| at + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let (next_at, job) = match next {
            Next::Done(_) => (now, None),
            Next::Wait(rung, job) => (after(now, rung.as_duration()), Some(job)),
            Next::Later(at, job) => (*at, Some(job)),
            Next::DeadLetter(job) => (now, Some(job)),
        };
        let (due, grace) = match next {
            // In no queue: it waits here.
            Next::Later(..) => (Due::Timed, Duration::ZERO),
            Next::Done(_) | Next::Wait(..) | Next::DeadLetter(_) => (Due::Overdue, grace),
        };
        let place = sealing::next_job(settlement.notification.as_uuid());
        let job = job.map(|job| sealing::seal_job(keys, &place, job));
        Ok(Self {
            id: bulk::id(settlement.notification),
            claim: round.claim.hex(),
            round: settlement.round,
            fcm_result: settlement.results.fcm.as_str(),
            expo_result: settlement.results.expo.as_str(),
            attempts: settlement.attempts,
            due_at: bulk::time(after(next_at, grace)),
            unpublished: due.unpublished(),
            next_at: bulk::time(next_at),
            timeline: lines(&settlement.timeline),
            next_job: job.transpose()?,
        })
    }
}
