//! A step of an operation: some letters, and the operation's own row, in one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::status::Ending;
use push_seal::Keyring;
use sqlx::types::Json;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::create::open;
use super::erase::erase_step;
use super::{ALREADY_HANDLED, OperationId, Parameters, Work, failure};
use crate::Store;
use crate::dead_letters::discard::discard_in;
use crate::dead_letters::filter::{Bind as _, Shape, of_shape};
use crate::dead_letters::lock::array;
use crate::dead_letters::replay::replay_in;
use crate::dead_letters::{DeadLetterId, Discard, LetterPlace, Refusal, Replay, ReplayedJob};
use crate::decode::{JsonText, millis};
use crate::erasure::Scope;
use crate::error::StoreError;
use crate::retry::Tries;

macro_rules! next {
    ($index:literal, $equal:literal) => {
        concat!(
            "SELECT id, created_at FROM dead_letters FORCE INDEX (",
            $index,
            ") WHERE ",
            $equal,
            "created_at >= ? AND created_at <= ? AND (created_at > ? OR id > ?) AND id <= ? \
             ORDER BY created_at, id LIMIT ?"
        )
    };
}

const NEXT_STATE: &str = of_shape!(State, next);
const NEXT_STATE_REASON: &str = of_shape!(StateReason, next);
const NEXT_STATE_PROVIDER: &str = of_shape!(StateProvider, next);
const NEXT_STATE_REASON_PROVIDER: &str = of_shape!(StateReasonProvider, next);
const NEXT_CUSTOMER: &str = of_shape!(Customer, next);
const NEXT_NOTIFICATION: &str = of_shape!(Notification, next);

const ANY_WORK: &str = "\
    SELECT CAST(EXISTS (SELECT 1 FROM operations WHERE state = 'running') \
        OR EXISTS (SELECT 1 FROM dead_letters WHERE bytes_due_at <= ?) AS SIGNED)";

const RUNNING: &str = "\
    SELECT operation_id, created_by, parameters, version, last_id, last_at, next_at, total, done, failed, failures \
    FROM operations FORCE INDEX (state_oldest) WHERE state = 'running' ORDER BY created_at LIMIT ?";

/// Whoever has taken a step since, or cancelled it, has another version.
const HOLD: &str = "\
    SELECT version FROM operations WHERE operation_id = ? AND state = 'running' AND version = ? FOR UPDATE";

const WAITING: &str = "\
    SELECT dead_letter_id FROM operation_letters WHERE operation_id = ? AND dead_letter_id > ? \
    ORDER BY dead_letter_id LIMIT ?";

const WAIT: &str = "\
    INSERT IGNORE INTO operation_letters (operation_id, dead_letter_id) \
    SELECT ?, id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS letter";

const NO_LONGER_WAIT: &str = "\
    DELETE waiting FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS letter \
    STRAIGHT_JOIN operation_letters AS waiting FORCE INDEX (PRIMARY) \
        ON waiting.operation_id = ? AND waiting.dead_letter_id = letter.id";

const MOVE: &str = "\
    UPDATE operations SET version = version + 1, last_id = ?, last_at = ?, next_at = ?, total = ?, done = ?, \
        failed = ?, failures = ?, state = IF(?, 'done', 'running'), finished_at = ? \
    WHERE operation_id = ? AND state = 'running' AND version = ?";

const FAIL: &str = "\
    UPDATE operations SET state = 'failed', version = version + 1, finished_at = ? \
    WHERE operation_id = ? AND state = 'running'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("NEXT_STATE", NEXT_STATE),
    ("NEXT_STATE_REASON", NEXT_STATE_REASON),
    ("NEXT_STATE_PROVIDER", NEXT_STATE_PROVIDER),
    ("NEXT_STATE_REASON_PROVIDER", NEXT_STATE_REASON_PROVIDER),
    ("NEXT_CUSTOMER", NEXT_CUSTOMER),
    ("NEXT_NOTIFICATION", NEXT_NOTIFICATION),
    ("ANY_WORK", ANY_WORK),
    ("RUNNING", RUNNING),
    ("HOLD", HOLD),
    ("WAITING", WAITING),
    ("WAIT", WAIT),
    ("NO_LONGER_WAIT", NO_LONGER_WAIT),
    ("MOVE", MOVE),
    ("FAIL", FAIL),
];

const fn statement(shape: Shape) -> &'static str {
    match shape {
        Shape::Any | Shape::State => NEXT_STATE,
        Shape::Reason | Shape::StateReason => NEXT_STATE_REASON,
        Shape::Provider | Shape::StateProvider => NEXT_STATE_PROVIDER,
        Shape::ReasonProvider | Shape::StateReasonProvider => NEXT_STATE_REASON_PROVIDER,
        Shape::Customer => NEXT_CUSTOMER,
        Shape::Notification => NEXT_NOTIFICATION,
    }
}

/// Operations that are worked on side by side at most; the others wait for their turn.
const RUNNING_MAX: u32 = 20;
/// A step is a quarter of a second's letters, and no more than keep a transaction short.
const STEPS_PER_SECOND: u32 = 4;
const LETTERS_MAX: u32 = 250;
/// When to look again at letters that wait for a replay that is under way.
const WAITING_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// An operation as its last step left it.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its id.
    pub id: OperationId,
    /// No step before.
    pub next_at: Option<DateTime<Utc>>,
    by: String,
    parameters: Parameters,
    version: u32,
    pub(super) last: Option<LetterPlace>,
    pub(super) total: u64,
    pub(super) done: u64,
    failed: u64,
    pub(super) failures: BTreeMap<String, u64>,
}

impl Running {
    /// Whether it needs the broker.
    #[must_use]
    pub const fn publishes(&self) -> bool {
        matches!(self.parameters.work, Work::Replay { .. })
    }

    /// Whether what nothing can be done with is tried again, until it can be.
    #[must_use]
    pub const fn is_patient(&self) -> bool {
        matches!(self.parameters.work, Work::Erase { .. })
    }

    /// What it does: `operations.kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.parameters.work.kind()
    }
}

/// How to take a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As many letters as its pace allows.
    Full,
    /// One, because a larger step failed.
    One,
    /// One, which nobody can make anything of: it is counted as failed, and left as it is. (A notification that is to be
    /// erased: passed over until the next time.)
    SkipOne,
}

/// How to take a step, and where the last one stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// How many letters.
    pub step: Step,
    /// The last of those that had to wait that was looked at: [`Taken::waited`].
    pub waited: DeadLetterId,
    /// What the broker is given to bring a job before the reconciler publishes it again.
    pub due_after: Duration,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// To be published.
    pub jobs: Vec<ReplayedJob>,
    /// Letters, or notifications, that were handled.
    pub done: u64,
    /// Letters that could not be.
    pub failed: u64,
    /// How notifications ended that had been waiting.
    pub ended: Vec<Ending>,
    /// Whether that was the last.
    pub finished: bool,
    /// For the next step.
    pub waited: DeadLetterId,
}

impl Store {
    /// Whether there is anything for who runs the operations.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn any_operation(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let any: i64 = sqlx::query_scalar(ANY_WORK)
            .bind(millis(now))
            .fetch_one(&self.pool)
            .await?;
        Ok(any == 1)
    }

    /// The operations that are running, the oldest first. One that cannot be read has failed hereby.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn running_operations(&self, now: DateTime<Utc>) -> Result<Vec<Running>, StoreError> {
        let rows: Vec<RunningRow> = sqlx::query_as(RUNNING)
            .bind(RUNNING_MAX)
            .fetch_all(&self.pool)
            .await?;
        let mut running = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.operation_id;
            match row.running() {
                Some(one) => running.push(one),
                None => {
                    tracing::error!(operation.id = %id, "an operation's parameters cannot be read; it has failed");
                    sqlx::query(FAIL)
                        .bind(millis(now))
                        .bind(id)
                        .execute(&self.pool)
                        .await?;
                }
            }
        }
        Ok(running)
    }

    /// Takes the next step of an operation: letters, history and progress, all or nothing. `None`: somebody else has
    /// taken it, or has cancelled the operation.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn take_step(
        &self,
        running: &Running,
        how: &How,
        now: DateTime<Utc>,
    ) -> Result<Option<Taken>, StoreError> {
        self.may_seal().await?;
        let step = |keys| self.take_step_once(keys, running, how, now);
        let mut tries = Tries::new();
        loop {
            match self.opening(step).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn take_step_once(
        &self,
        keys: Keyring,
        running: &Running,
        how: &How,
        now: DateTime<Utc>,
    ) -> Result<Option<Taken>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let held: Option<u32> = sqlx::query_scalar(HOLD)
            .bind(running.id.0)
            .bind(running.version)
            .fetch_optional(&mut *transaction)
            .await?;
        if held.is_none() {
            return Ok(None);
        }
        if let Work::Erase { customer, mark } = running.parameters.work {
            let scope = Scope { customer, mark };
            let taken = erase_step(&mut transaction, &keys, running, scope, how.step, now).await?;
            transaction.commit().await?;
            return Ok(Some(taken));
        }
        let chosen = choose(&mut transaction, running, how.step, how.waited).await?;
        let acted = act(&mut transaction, &keys, running, how, &chosen.ids, now).await?;
        remember(&mut transaction, running.id, &acted.judged).await?;
        let taken = progress(&mut transaction, running, &chosen, acted, now).await?;
        transaction.commit().await?;
        Ok(taken)
    }
}

/// The letters of a step.
struct Chosen {
    ids: Vec<DeadLetterId>,
    /// The last one that the filter gave.
    last: Option<LetterPlace>,
    /// The filter gives no more.
    exhausted: bool,
    /// Where to go on with those that had to wait.
    next_waiting: DeadLetterId,
}

async fn choose(
    connection: &mut MySqlConnection,
    running: &Running,
    step: Step,
    waited: DeadLetterId,
) -> Result<Chosen, StoreError> {
    let limit = match step {
        Step::Full => (running.parameters.per_second / STEPS_PER_SECOND).clamp(1, LETTERS_MAX),
        Step::One | Step::SkipOne => 1,
    };
    let filter = open(&running.parameters.filter);
    let (lower, after, id) = match running.last {
        Some(place) => (filter.lower().max(place.at), place.at, place.id.0),
        None => (
            filter.lower(),
            DateTime::UNIX_EPOCH + TimeDelta::seconds(1),
            0,
        ),
    };
    let found: Vec<(u64, DateTime<Utc>)> = sqlx::query_as(statement(filter.shape()))
        .values(filter.values())
        .bind(lower)
        .bind(filter.upper())
        .bind(after)
        .bind(id)
        .bind(running.parameters.up_to)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let place = |(id, at): &(u64, DateTime<Utc>)| LetterPlace {
        at: *at,
        id: DeadLetterId(*id),
    };
    let mut ids: Vec<_> = found.iter().map(|(id, _)| DeadLetterId(*id)).collect();
    let exhausted = ids.len() < limit as usize;
    let mut next_waiting = waited;
    if exhausted {
        // Then what had to wait, round and round: those that still have to are not in the way of the others.
        let room = limit as usize - ids.len();
        let waiting: Vec<u64> = sqlx::query_scalar(WAITING)
            .bind(running.id.0)
            .bind(waited.0)
            .bind(u32::try_from(room).unwrap_or(limit))
            .fetch_all(connection)
            .await?;
        next_waiting = match waiting.last() {
            Some(last) if waiting.len() == room => DeadLetterId(*last),
            Some(_) | None => DeadLetterId(0),
        };
        ids.extend(waiting.into_iter().map(DeadLetterId));
    }
    Ok(Chosen {
        next_waiting,
        ids,
        last: found.last().map(place).or(running.last),
        exhausted,
    })
}

/// What became of the letters of a step.
struct Acted {
    judged: Vec<(DeadLetterId, Result<(), Refusal>)>,
    jobs: Vec<ReplayedJob>,
}

async fn act(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    running: &Running,
    how: &How,
    ids: &[DeadLetterId],
    now: DateTime<Utc>,
) -> Result<Acted, StoreError> {
    let only = |judged| Acted {
        judged,
        jobs: Vec::new(),
    };
    if ids.is_empty() {
        return Ok(only(Vec::new()));
    }
    if how.step == Step::SkipOne {
        let skip = |id: &DeadLetterId| (*id, Err(Refusal::Unreadable));
        return Ok(only(ids.iter().map(skip).collect()));
    }
    match &running.parameters.work {
        Work::Replay { .. } => {
            let replay = Replay {
                by: running.by.clone(),
                extend_ttl: running.parameters.work.extend_ttl(),
                due_after: how.due_after,
            };
            let replays = replay_in(connection, keys, ids, &replay, now).await?;
            Ok(Acted {
                judged: replays.letters,
                jobs: replays.jobs,
            })
        }
        Work::Discard { reason } => {
            let discard = Discard {
                by: running.by.clone(),
                reason: reason.clone(),
            };
            discard_in(connection, ids, &discard, now).await.map(only)
        }
        Work::Erase { .. } => Err(StoreError::Unusable("to erase is not about letters")),
    }
}

/// Writes down which letters have to wait, and which no longer.
async fn remember(
    connection: &mut MySqlConnection,
    id: OperationId,
    judged: &[(DeadLetterId, Result<(), Refusal>)],
) -> Result<(), StoreError> {
    let (waiting, handled): (Vec<_>, Vec<_>) = judged
        .iter()
        .partition(|(_, judged)| *judged == Err(Refusal::Pending));
    let ids =
        |some: Vec<&(DeadLetterId, _)>| some.into_iter().map(|(id, _)| *id).collect::<Vec<_>>();
    if !waiting.is_empty() {
        sqlx::query(WAIT)
            .bind(id.0)
            .bind(array(&ids(waiting))?)
            .execute(&mut *connection)
            .await?;
    }
    if !handled.is_empty() {
        sqlx::query(NO_LONGER_WAIT)
            .bind(array(&ids(handled))?)
            .bind(id.0)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Moves the operation on, at its pace.
async fn progress(
    connection: &mut MySqlConnection,
    running: &Running,
    chosen: &Chosen,
    acted: Acted,
    now: DateTime<Utc>,
) -> Result<Option<Taken>, StoreError> {
    let mut taken = Taken {
        jobs: acted.jobs,
        waited: chosen.next_waiting,
        ..Taken::default()
    };
    let mut failures = running.failures.clone();
    for (_, judged) in &acted.judged {
        match judged {
            Ok(()) => taken.done += 1,
            Err(Refusal::Pending) => {}
            Err(refusal) => {
                taken.failed += 1;
                *failures.entry(failure(*refusal).to_owned()).or_default() += 1;
            }
        }
    }
    let still_waiting: Option<u64> = sqlx::query_scalar(WAITING)
        .bind(running.id.0)
        .bind(0_u64)
        .bind(1_u32)
        .fetch_optional(&mut *connection)
        .await?;
    taken.finished = chosen.exhausted && still_waiting.is_none();
    let done = running.done + taken.done;
    let mut failed = running.failed + taken.failed;
    if taken.finished {
        // What the filter meant at the beginning, and does not any more: somebody else was faster.
        let elsewhere = running.total.saturating_sub(done + failed);
        if elsewhere > 0 {
            *failures.entry(ALREADY_HANDLED.to_owned()).or_default() += elsewhere;
            failed += elsewhere;
            taken.failed += elsewhere;
        }
    }
    let moved = Moved {
        last: chosen.last.map(|last| (last.at, last.id.0)),
        next_at: now + pause(running, chosen, &taken),
        done,
        failed,
        failures,
        finished: taken.finished,
    };
    moved.write(connection, running, now).await?;
    Ok(Some(taken))
}

/// Where an operation stands after a step.
pub(super) struct Moved {
    pub(super) last: Option<(DateTime<Utc>, u64)>,
    pub(super) next_at: DateTime<Utc>,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) finished: bool,
}

impl Moved {
    pub(super) async fn write(
        self,
        connection: &mut MySqlConnection,
        running: &Running,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let moved = sqlx::query(MOVE)
            .bind(self.last.map_or(0, |(_, id)| id))
            .bind(self.last.map(|(at, _)| millis(at)))
            .bind(millis(self.next_at))
            .bind(running.total.max(self.done + self.failed))
            .bind(self.done)
            .bind(self.failed)
            .bind(Json(&self.failures))
            .bind(self.finished)
            .bind(self.finished.then(|| millis(now)))
            .bind(running.id.0)
            .bind(running.version)
            .execute(connection)
            .await?
            .rows_affected();
        if moved == 1 {
            Ok(())
        } else {
            Err(StoreError::Unusable(
                "an operation that was held did not move",
            ))
        }
    }
}

/// As long as its letters are worth at its pace.
fn pause(running: &Running, chosen: &Chosen, taken: &Taken) -> TimeDelta {
    let letters = i64::try_from(chosen.ids.len()).unwrap_or(i64::MAX);
    let micros =
        letters.saturating_mul(1_000_000) / i64::from(running.parameters.per_second.max(1));
    let paced = TimeDelta::microseconds(micros);
    let idle = taken.done + taken.failed == 0;
    if idle {
        paced.max(WAITING_PAUSE)
    } else {
        paced
    }
}

#[derive(FromRow)]
struct RunningRow {
    operation_id: Uuid,
    created_by: Option<String>,
    parameters: Option<String>,
    version: u32,
    last_id: u64,
    last_at: Option<DateTime<Utc>>,
    next_at: Option<DateTime<Utc>>,
    total: u64,
    done: u64,
    failed: u64,
    failures: Option<JsonText>,
}

impl RunningRow {
    fn running(self) -> Option<Running> {
        let last = |at| LetterPlace {
            at,
            id: DeadLetterId(self.last_id),
        };
        Some(Running {
            id: OperationId(self.operation_id),
            next_at: self.next_at,
            by: self.created_by.unwrap_or_default(),
            parameters: serde_json::from_str(&self.parameters?).ok()?,
            version: self.version,
            last: self.last_at.map(last),
            total: self.total,
            done: self.done,
            failed: self.failed,
            // Only figures: without them it goes on.
            failures: self
                .failures
                .and_then(|JsonText(failures)| serde_json::from_str(&failures).ok())
                .unwrap_or_default(),
        })
    }
}
