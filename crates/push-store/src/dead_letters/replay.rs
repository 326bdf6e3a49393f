//! Replaying dead letters: in one transaction they are marked, and their notification is pending again, with the job that
//! tries them. Whoever dies after the commit leaves the publishing to the reconciler (P1); whoever comes second finds the
//! letters marked, and sends nothing (P2).

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use push_core::id::{NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::outcome::Sent;
use push_core::provider::{PerProvider, Provider};
use push_core::replay::{self, Ended, Letter};
use push_core::status::{ProviderResult, Reason, Status};
use push_core::timeline::{Step, TimelineEntry};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::letter::closed_key;
use super::lock::{LockedLetter, array, lock};
use super::{DeadLetterId, KeptBytes, Refusal, Replay, Replayed, ReplayedJob};
use crate::Store;
use crate::bulk;
use crate::decode::{Row, millis};
use crate::erasure::erased_among;
use crate::error::StoreError;
use crate::history::TABLE;
use crate::history::content::NotificationRow;
use crate::history::lock::{Locked, lock as lock_history};
use crate::history::timeline::{bounded, lines};
use crate::retry::Tries;
use crate::sealing;
use crate::stats::{Changes, Standing};

const ABOUT: &str = "\
    SELECT letter.notification_id \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS wanted \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = wanted.id \
    WHERE letter.notification_id IS NOT NULL";

const STANDING: &str = "\
    SELECT history.notification_id, history.customer_id, history.notification_type, history.title, history.body, \
        history.data, history.image_url, history.sealed, history.priority, history.collapse_key, history.created_at, \
        history.send_at, history.expires_at, history.round, history.fcm_result, history.expo_result, history.reason \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS wanted \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(wanted.id)";

const MAYBE: &str = "\
    SELECT delivery.notification_id, delivery.registration_id, delivery.provider \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS wanted \
    STRAIGHT_JOIN notification_deliveries AS delivery FORCE INDEX (PRIMARY) \
        ON delivery.notification_id = UNHEX(wanted.id) \
    WHERE delivery.maybe_delivered";

/// A claim that nobody ended stays, and that workers were interrupted is not forgotten, but for how often: whoever takes
/// the job then knows that it may have been sent already.
const REOPEN: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            round BIGINT PATH '$.round', \
            expires_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expires_at', \
            due_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.due_at', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline', \
            next_job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.next_job' \
        )) AS replayed \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(replayed.id) \
    SET history.status = 'pending', \
        history.reason = NULL, \
        history.completed_at = NULL, \
        history.expires_at = replayed.expires_at, \
        history.interruptions = LEAST(history.interruptions, 1), \
        history.due_at = replayed.due_at, \
        history.unpublished = FALSE, \
        history.next_at = NULL, \
        history.next_job = replayed.next_job, \
        history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", replayed.timeline) \
    WHERE history.status <> 'pending' AND history.round = replayed.round"
);

const MARK: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS chosen \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = chosen.id \
    SET letter.bytes_due_at = IF(letter.raw IS NULL, NULL, ?), letter.replayed_at = ?, letter.replayed_by = ?, \
        letter.dedupe_key = ",
    closed_key!(),
    " WHERE letter.replayed_at IS NULL AND letter.discarded_at IS NULL"
);

/// Also where its key has no head any more, or never had one.
const OVERTAKEN: &str = "\
    SELECT history.notification_id \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS listed \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(listed.id) \
    WHERE history.collapse_key IS NOT NULL AND EXISTS (SELECT 1 \
        FROM notification_history AS newer FORCE INDEX (by_customer) \
        WHERE newer.customer_id = history.customer_id AND newer.created_at >= history.created_at \
            AND newer.collapse_key = history.collapse_key AND newer.id > history.id \
            AND (newer.send_at IS NULL OR newer.send_at <= NOW(3)))";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("ABOUT", ABOUT),
    ("STANDING", STANDING),
    ("OVERTAKEN", OVERTAKEN),
    ("MAYBE", MAYBE),
    ("REOPEN", REOPEN),
    ("MARK", MARK),
];

/// What became of many.
#[derive(Default)]
pub(crate) struct Replays {
    /// Of each letter that exists, in the order of the key.
    pub(crate) letters: Vec<(DeadLetterId, Result<(), Refusal>)>,
    /// What is to be published once it is committed.
    pub(crate) jobs: Vec<ReplayedJob>,
}

impl Store {
    /// Replays one dead letter, or says why not. What it answers with is to be published: the notification is pending
    /// again, and if nobody does, the reconciler will.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn replay_dead_letter(
        &self,
        id: DeadLetterId,
        how: &Replay,
        now: DateTime<Utc>,
    ) -> Result<Result<Replayed, Refusal>, StoreError> {
        self.may_seal().await?;
        let replay = |keys: Keyring| async move {
            let mut transaction = self.pool.begin().await?;
            let mut replays = replay_in(&mut transaction, &keys, &[id], how, now).await?;
            transaction.commit().await?;
            let job = replays.jobs.pop();
            let (_, judged) = replays.letters.pop().unwrap_or((id, Err(Refusal::Unknown)));
            Ok(judged.map(|()| job.map_or(Replayed::Bytes, Replayed::Job)))
        };
        let mut tries = Tries::new();
        loop {
            match self.opening(replay).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }
}

/// Replays those that can be. Letters of one notification become one job.
pub(crate) async fn replay_in(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    ids: &[DeadLetterId],
    how: &Replay,
    now: DateTime<Utc>,
) -> Result<Replays, StoreError> {
    // The history first, as the recorder does.
    let about: Vec<Uuid> = sqlx::query_scalar(ABOUT)
        .bind(array(ids)?)
        .fetch_all(&mut *connection)
        .await?;
    let locked = lock_history(connection, about.into_iter().map(NotificationId::from)).await?;
    let letters = lock(connection, ids).await?.into_iter();
    let letters: Vec<_> = letters
        .map(|letter| letter.open(keys))
        .collect::<Result<_, _>>()?;
    let known = Known::read(connection, keys, locked).await?;
    let known = known.without_erased(connection).await?;
    let judge = |letter: &LockedLetter| (DeadLetterId(letter.id), known.judge(letter, how, now));
    let mut judged: BTreeMap<DeadLetterId, Result<(), Refusal>> =
        letters.iter().map(judge).collect();
    let reopened = known.reopen(&letters, &mut judged, how, now);
    write(connection, keys, &reopened, &judged, how, now).await?;
    known.count(&reopened).write(connection).await?;
    Ok(Replays {
        letters: judged.into_iter().collect(),
        jobs: reopened
            .into_iter()
            .map(|reopened| reopened.replayed)
            .collect(),
    })
}

/// What is known of the letters' notifications.
struct Known {
    locked: HashMap<NotificationId, Locked>,
    /// Or why it cannot be taken up again.
    ended: HashMap<NotificationId, Result<Ended, Refusal>>,
    /// As what they are counted.
    standings: HashMap<NotificationId, Standing>,
    maybe: Vec<(NotificationId, RegistrationId, Provider)>,
}

/// A notification that is to be pending again.
struct Reopened {
    replayed: ReplayedJob,
    /// The last round that was recorded.
    round: u32,
    told: String,
}

impl Known {
    async fn read(
        connection: &mut MySqlConnection,
        keys: &Keyring,
        locked: HashMap<NotificationId, Locked>,
    ) -> Result<Self, StoreError> {
        let has_ended = |locked: &Locked| locked.recorded.status != Status::Pending;
        let ids: Vec<_> = locked
            .iter()
            .filter(|(_, locked)| has_ended(locked))
            .map(|(id, _)| *id)
            .collect();
        let (mut ended, mut standings, mut maybe) = (HashMap::new(), HashMap::new(), Vec::new());
        if !ids.is_empty() {
            let ids = bulk::ids(&ids)?;
            let rows: Vec<EndedRow> = sqlx::query_as(STANDING)
                .bind(&ids)
                .fetch_all(&mut *connection)
                .await?;
            for row in rows {
                let id = row.notification.notification_id.into();
                if let Some(locked) = locked.get(&id)
                    && let Some(standing) = row.standing(locked)?
                {
                    standings.insert(id, standing);
                }
                ended.insert(id, row.read(keys)?);
            }
            let overtaken: Vec<Uuid> = sqlx::query_scalar(OVERTAKEN)
                .bind(&ids)
                .fetch_all(&mut *connection)
                .await?;
            for id in overtaken {
                ended.insert(id.into(), Err(Refusal::Superseded));
            }
            let rows: Vec<MaybeRow> = sqlx::query_as(MAYBE)
                .bind(&ids)
                .fetch_all(connection)
                .await?;
            maybe = rows.into_iter().filter_map(MaybeRow::target).collect();
        }
        Ok(Self {
            locked,
            ended,
            standings,
            maybe,
        })
    }

    /// What was accepted before its customer was erased is not sent any more.
    async fn without_erased(
        mut self,
        connection: &mut MySqlConnection,
    ) -> Result<Self, StoreError> {
        let ended = self.ended.keys().copied();
        for id in erased_among(connection, ended.collect::<Vec<_>>()).await? {
            self.ended.insert(id, Err(Refusal::ContentGone));
        }
        Ok(self)
    }

    /// Whether a letter can be replayed.
    fn judge(
        &self,
        letter: &LockedLetter,
        how: &Replay,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = letter.closed() {
            return Err(refusal);
        }
        if letter.emptied > 0 {
            return Err(Refusal::ContentGone);
        }
        if let (Some(raw), Some(length)) = (&letter.raw, letter.raw_bytes) {
            let base64 = raw.clone();
            let kept = KeptBytes { base64, length };
            return kept
                .complete()
                .then_some(())
                .ok_or(Refusal::IncompleteBytes);
        }
        let id = letter.notification_id.ok_or(Refusal::Unreadable)?;
        let locked = self
            .locked
            .get(&id.into())
            .ok_or(Refusal::UnknownNotification)?;
        if locked.recorded.status == Status::Pending {
            return Err(Refusal::Pending);
        }
        let expires_at = match self.ended.get(&id.into()) {
            None => return Err(Refusal::UnknownNotification),
            Some(Err(refusal)) => return Err(*refusal),
            Some(Ok(ended)) => ended.notification.expires_at,
        };
        if as_core(letter, Sent::SurelyNot).is_none() {
            return Err(Refusal::Unreadable);
        }
        let until = replay::deadline(expires_at, how.extend_ttl, now);
        until.map(drop).ok_or(Refusal::Expired)
    }

    /// The jobs of the letters that can be replayed.
    fn reopen(
        &self,
        letters: &[LockedLetter],
        judged: &mut BTreeMap<DeadLetterId, Result<(), Refusal>>,
        how: &Replay,
        now: DateTime<Utc>,
    ) -> Vec<Reopened> {
        let mut by_notification: BTreeMap<NotificationId, Vec<&LockedLetter>> = BTreeMap::new();
        for letter in letters {
            let chosen = judged.get(&DeadLetterId(letter.id)) == Some(&Ok(()));
            if let (true, None, Some(id)) = (chosen, &letter.raw, letter.notification_id) {
                by_notification.entry(id.into()).or_default().push(letter);
            }
        }
        let mut reopened = Vec::with_capacity(by_notification.len());
        for (id, letters) in by_notification {
            match self.reopen_one(id, &letters, how, now) {
                Some(one) => reopened.push(one),
                None => {
                    for letter in letters {
                        judged.insert(DeadLetterId(letter.id), Err(Refusal::Unreadable));
                    }
                }
            }
        }
        reopened
    }

    fn reopen_one(
        &self,
        id: NotificationId,
        letters: &[&LockedLetter],
        how: &Replay,
        now: DateTime<Utc>,
    ) -> Option<Reopened> {
        let mut ended = self.ended.get(&id)?.clone().ok()?;
        let before = ended.notification.expires_at;
        ended.notification.expires_at = millis(replay::deadline(before, how.extend_ttl, now)?);
        let extended = ended.notification.expires_at != before;
        let until = ended
            .notification
            .expires_at
            .to_rfc3339_opts(SecondsFormat::Millis, true);
        let round = ended.round;
        let parts: Vec<Letter> = letters
            .iter()
            .filter_map(|letter| as_core(letter, self.sent(id, letter)))
            .collect();
        let job = replay::replay(ended, &parts)?;
        let what: Vec<_> = letters.iter().map(|letter| letter.told()).collect();
        let mut told = format!("replayed by {}: {}", how.by, what.join(", "));
        if extended {
            told += &format!("; to be sent before {until}");
        }
        Some(Reopened {
            replayed: ReplayedJob {
                job: Box::new(job),
                was: self.locked.get(&id)?.recorded.status,
            },
            round,
            told,
        })
    }

    /// They are pending again.
    fn count(&self, reopened: &[Reopened]) -> Changes {
        let mut changes = Changes::default();
        for reopened in reopened {
            let id = reopened.replayed.job.notification.id;
            if let Some(locked) = self.locked.get(&id) {
                changes.moved(&locked.counted, self.standings.get(&id), None);
            }
        }
        changes
    }

    /// Whether some try may have reached the letter's device all the same.
    fn sent(&self, id: NotificationId, letter: &LockedLetter) -> Sent {
        let target = letter
            .registration_id
            .map(RegistrationId)
            .zip(letter.provider());
        let maybe = target.is_some_and(|(registration, provider)| {
            self.maybe.contains(&(id, registration, provider))
        });
        if maybe { Sent::Maybe } else { Sent::SurelyNot }
    }
}

fn as_core(letter: &LockedLetter, sent: Sent) -> Option<Letter> {
    let target = match letter.registration_id {
        None => None,
        Some(registration) => Some((RegistrationId(registration), letter.provider()?)),
    };
    let job = Job::decode(letter.job.as_ref()?.as_bytes()).ok()?;
    Some(Letter { job, target, sent })
}

async fn write(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    reopened: &[Reopened],
    judged: &BTreeMap<DeadLetterId, Result<(), Refusal>>,
    how: &Replay,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let due = now + TimeDelta::from_std(how.due_after).unwrap_or(TimeDelta::MAX);
    let rows: Vec<ReopenedRow> = reopened
        .iter()
        .map(|reopened| ReopenedRow::of(keys, reopened, due, now))
        .collect::<Result<_, _>>()?;
    for some in bulk::arrays(&rows, ROWS_MAX)? {
        let changed = sqlx::query(REOPEN)
            .bind(some.json)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        if changed != some.rows as u64 {
            return Err(StoreError::Unusable(
                "a replay did not open its notification",
            ));
        }
    }
    let chosen: Vec<_> = judged
        .iter()
        .filter(|(_, judged)| judged.is_ok())
        .map(|(id, _)| *id)
        .collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let changed = sqlx::query(MARK)
        .bind(array(&chosen)?)
        .bind(millis(now))
        .bind(millis(now))
        .bind(&how.by)
        .execute(connection)
        .await?
        .rows_affected();
    if changed == chosen.len() as u64 {
        Ok(())
    } else {
        Err(StoreError::Unusable(
            "an open dead letter was not marked as replayed",
        ))
    }
}

/// Rows of one [`REOPEN`].
const ROWS_MAX: usize = 200;

/// An element of [`REOPEN`]'s array.
#[derive(Serialize)]
struct ReopenedRow {
    id: String,
    round: u32,
    expires_at: String,
    due_at: String,
    timeline: String,
    next_job: String,
}

impl ReopenedRow {
    fn of(
        keys: &Keyring,
        reopened: &Reopened,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let job = &reopened.replayed.job;
        let told = TimelineEntry::new(millis(now), Step::Replayed, reopened.told.as_str());
        let place = sealing::next_job(job.notification.id.as_uuid());
        Ok(Self {
            id: bulk::id(job.notification.id),
            round: reopened.round,
            expires_at: bulk::time(job.notification.expires_at),
            due_at: bulk::time(due),
            timeline: lines(&[told]),
            next_job: sealing::seal_job(keys, &place, job)?,
        })
    }
}

#[derive(FromRow)]
struct EndedRow {
    #[sqlx(flatten)]
    notification: NotificationRow,
    round: u32,
    fcm_result: String,
    expo_result: String,
    reason: Option<String>,
}

impl EndedRow {
    fn read(self, keys: &Keyring) -> Result<Result<Ended, Refusal>, StoreError> {
        let ended_as = |reason: Reason| self.reason.as_deref() == Some(reason.as_str());
        if ended_as(Reason::Erased) || self.notification.is_emptied() {
            return Ok(Err(Refusal::ContentGone));
        }
        if ended_as(Reason::Cancelled) {
            return Ok(Err(Refusal::Cancelled));
        }
        let results = self.results()?;
        Ok(Ok(Ended {
            notification: self.notification.read(keys)?,
            round: self.round,
            results,
        }))
    }

    fn at(&self) -> Row<Uuid> {
        Row {
            table: TABLE,
            key: self.notification.notification_id,
        }
    }

    fn results(&self) -> Result<PerProvider<ProviderResult>, StoreError> {
        let result =
            |column, text: &str| self.at().read(column, ProviderResult::from_spelling(text));
        Ok(PerProvider {
            fcm: result("fcm_result", &self.fcm_result)?,
            expo: result("expo_result", &self.expo_result)?,
        })
    }

    fn standing(&self, locked: &Locked) -> Result<Option<Standing>, StoreError> {
        let reason = self.reason.as_deref();
        let reason = self
            .at()
            .read_nullable("reason", reason, Reason::from_spelling)?;
        let (status, results) = (locked.recorded.status, self.results()?);
        Ok(Standing::of(status, reason, results, locked.sent_at))
    }
}

#[derive(FromRow)]
struct MaybeRow {
    notification_id: Uuid,
    registration_id: u64,
    provider: String,
}

impl MaybeRow {
    fn target(self) -> Option<(NotificationId, RegistrationId, Provider)> {
        let provider = Provider::from_spelling(&self.provider)?;
        let registration = RegistrationId(self.registration_id);
        Some((self.notification_id.into(), registration, provider))
    }
}
