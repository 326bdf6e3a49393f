//! Claiming: one worker at a time has a notification in hand (P2).
//!
//! A job may be in the hands of two workers: the broker delivers again what a worker that lost its
//! connection is still sending, and anybody may publish a copy. The claim decides which of them sends, and
//! whose record counts. It is renewed while the work lasts and ends with the record of the round; when its
//! owner was killed it ends by itself, and whoever claims next learns that somebody was interrupted.
//!
//! A notification with a collapse key is taken together with its key, if it is the newest of it: so of one key one
//! notification at a time is on its way, and a newer one is not shown before an older one (P3). One that is not the newest
//! any more is taken without the key: it is not going to be sent.
//!
//! Time is the database's: workers' clocks need not agree. `claimed_until` is set for as long as a round is
//! in hand; `claimed_by` stays, so that a record whose answer was lost is recognised as one's own.

use std::collections::HashMap;
use std::time::Duration;

use push_core::admit::{Claimed, Recorded};
use push_core::changed::CustomerVersion;
use push_core::id::NotificationId;
use push_core::status::Status;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::TABLE;
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::retry::Tries;

const LOOK: &str = "\
    SELECT history.notification_id, history.status, history.round, history.claimed_by, history.interruptions, \
        history.claimed_until IS NOT NULL AS in_hand, COALESCE(history.claimed_until > NOW(3), FALSE) AS claim_holds, \
        history.collapse_key IS NOT NULL AS collapses, \
        customer.version, erasure.mark IS NOT NULL AS erased, head.notification_id AS newest, head.claimed_by AS key_claimed_by, \
        head.claimed_for AS key_claimed_for, \
        COALESCE(head.claimed_until > NOW(3), FALSE) AS key_is_held \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS job \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(job.id) \
    LEFT JOIN customer_versions AS customer ON customer.customer_id = history.customer_id \
    LEFT JOIN customer_erasures AS erasure ON erasure.customer_id = history.customer_id \
        AND erasure.mark > history.erasure_mark \
    LEFT JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
        AND head.raised_at >= history.created_at";

/// What nobody had in hand before, and has no collapse key: as good as all.
const CLAIM_FIRST: &str = "\
    UPDATE notification_history AS history FORCE INDEX (notification) \
    SET history.claimed_by = ?, history.claimed_until = NOW(3) + INTERVAL ? MICROSECOND \
    WHERE history.notification_id IN (?«, ?») AND history.status = 'pending' AND history.round = 0 \
        AND history.claimed_by IS NULL AND history.collapse_key IS NULL";

/// Changes only what is still as it was when looked at. The key's row is joined where the notification is its newest: both
/// are taken, or neither.
const CLAIM: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', round BIGINT PATH '$.round', \
        was CHAR(32) PATH '$.was', interrupted BIGINT PATH '$.interrupted')) AS job \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(job.id) \
    LEFT JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
        AND head.notification_id = history.notification_id \
    SET history.claimed_by = ?, history.claimed_until = NOW(3) + INTERVAL ? MICROSECOND, \
        history.interruptions = history.interruptions + job.interrupted, \
        head.claimed_by = ?, head.claimed_for = history.notification_id, \
        head.claimed_until = NOW(3) + INTERVAL ? MICROSECOND \
    WHERE history.status = 'pending' AND history.round < job.round AND history.claimed_by <=> UNHEX(job.was) \
        AND (history.claimed_by = ? OR history.claimed_until IS NULL OR history.claimed_until <= NOW(3)) \
        AND ((head.claimed_by = ? AND head.claimed_for = history.notification_id) OR head.claimed_until IS NULL OR head.claimed_until <= NOW(3))";

const RENEW: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', claim CHAR(32) PATH '$.claim')) AS held \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(held.id) \
    LEFT JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
        AND head.claimed_by = UNHEX(held.claim) AND head.claimed_for = history.notification_id \
        AND head.claimed_until IS NOT NULL \
    SET history.claimed_until = NOW(3) + INTERVAL ? MICROSECOND, \
        head.claimed_until = NOW(3) + INTERVAL ? MICROSECOND \
    WHERE history.claimed_by = UNHEX(held.claim) AND history.claimed_until IS NOT NULL";

/// Without a trace where nothing was sent; else at once free to be claimed, and known to be interrupted. Its key is free
/// then only when the claim would have ended: what was sent may still be on its way.
const LET_GO: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', claim CHAR(32) PATH '$.claim', \
        sent TINYINT PATH '$.sent')) AS held \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(held.id) \
    LEFT JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
        AND head.claimed_by = UNHEX(held.claim) AND head.claimed_for = history.notification_id \
    SET history.claimed_until = IF(held.sent, NOW(3), NULL), \
        head.claimed_until = IF(held.sent, head.claimed_until, NULL) \
    WHERE history.claimed_by = UNHEX(held.claim) AND history.claimed_until IS NOT NULL";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOOK", LOOK),
    ("CLAIM_FIRST", CLAIM_FIRST),
    ("CLAIM", CLAIM),
    ("RENEW", RENEW),
    ("LET_GO", LET_GO),
];

/// Whose claim it is: one a batch of jobs that a worker admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId(Uuid);

impl ClaimId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) const fn as_uuid(self) -> Uuid {
        self.0
    }

    pub(crate) fn hex(self) -> String {
        self.0.simple().to_string()
    }

    pub(crate) fn is(self, claimed_by: Option<Uuid>) -> bool {
        claimed_by == Some(self.0)
    }
}

/// A round that a worker wants to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The notification.
    pub notification: NotificationId,
    /// The round of its job.
    pub round: u32,
}

/// A notification, after a worker tried to claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claiming {
    /// What the database knows of it.
    pub claimed: Claimed,
    /// At which version its customer was: what was read of it at an earlier one does not hold any more.
    pub version: CustomerVersion,
}

/// A round that a worker has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The notification.
    pub notification: NotificationId,
    /// Under which claim.
    pub claim: ClaimId,
    /// Whether any of it may have been sent.
    pub sent: bool,
}

impl Store {
    /// Takes each notification in hand for `lasting`, under the claim `by`, where its round is news and nobody else
    /// has it; and says what is recorded of each. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; some may be claimed all the same, and can be claimed again
    /// under the same id.
    pub async fn claim(
        &self,
        by: ClaimId,
        claims: &[Claim],
        lasting: Duration,
    ) -> Result<HashMap<NotificationId, Claiming>, StoreError> {
        // Locked in the order of the key, as everywhere.
        let mut claims = claims.to_vec();
        claims.sort_unstable();
        let mut claimed = HashMap::with_capacity(claims.len());
        let mut connection = self.pool.acquire().await?;
        for some in claims.chunks(KEYS_MAX) {
            let mut seen = look(&mut connection, some).await?;
            let free: Vec<_> = some
                .iter()
                .filter_map(|claim| seen.get(&claim.notification)?.to_take(by, *claim))
                .collect();
            let keys = free.iter().filter(|free| free.with_key).count();
            if take(&mut connection, by, &free, lasting).await? == (free.len() + keys) as u64 {
                for row in &free {
                    seen.entry(row.notification)
                        .and_modify(|seen| seen.taken(by, row));
                }
            } else {
                // Somebody else was faster with some of them.
                seen = look(&mut connection, some).await?;
            }
            claimed.extend(
                seen.into_iter()
                    .map(|(id, seen)| (id, seen.claimed(id, by))),
            );
        }
        Ok(claimed)
    }

    /// The work goes on: the claims last for `lasting` from now. One that is over and was taken by somebody else, or
    /// whose round is recorded, stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn renew_claims(&self, held: &[Held], lasting: Duration) -> Result<(), StoreError> {
        for some in sorted(held).chunks(KEYS_MAX) {
            let mut tries = Tries::new();
            loop {
                let renewed = sqlx::query(RENEW)
                    .bind(bulk::array(some)?)
                    .bind(micros(lasting))
                    .bind(micros(lasting))
                    .execute(&self.pool)
                    .await;
                match renewed.map_err(StoreError::from) {
                    Err(error) if tries.again(&error).await => {}
                    result => break result.map(drop)?,
                }
            }
        }
        Ok(())
    }

    /// The work ends without a record: the rounds may be claimed by others at once.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then the claims end by themselves.
    pub async fn let_go(&self, held: &[Held]) -> Result<(), StoreError> {
        for some in sorted(held).chunks(KEYS_MAX) {
            let mut tries = Tries::new();
            loop {
                let told = sqlx::query(LET_GO)
                    .bind(bulk::array(some)?)
                    .execute(&self.pool)
                    .await;
                match told.map_err(StoreError::from) {
                    Err(error) if tries.again(&error).await => {}
                    result => break result.map(drop)?,
                }
            }
        }
        Ok(())
    }
}

async fn look(
    connection: &mut MySqlConnection,
    claims: &[Claim],
) -> Result<HashMap<NotificationId, Seen>, StoreError> {
    let ids: Vec<_> = claims.iter().map(|claim| claim.notification).collect();
    let rows: Vec<SeenRow> = sqlx::query_as(LOOK)
        .bind(bulk::ids(&ids)?)
        .fetch_all(&mut *connection)
        .await?;
    rows.into_iter()
        .map(|row| Ok((row.notification_id.into(), row.try_into()?)))
        .collect()
}

/// How many rows were changed: of notifications, and of their keys.
async fn take(
    connection: &mut MySqlConnection,
    by: ClaimId,
    free: &[ToTake],
    lasting: Duration,
) -> Result<u64, StoreError> {
    let (first, others): (Vec<&ToTake>, Vec<&ToTake>) = free.iter().partition(|row| row.first);
    let mut taken = 0;
    for some in first.chunks(bulk::IDS_MAX) {
        taken += take_first(connection, by, some, lasting).await?;
    }
    if !others.is_empty() {
        taken += take_others(connection, by, &others, lasting).await?;
    }
    Ok(taken)
}

async fn take_first(
    connection: &mut MySqlConnection,
    by: ClaimId,
    free: &[&ToTake],
    lasting: Duration,
) -> Result<u64, StoreError> {
    let ids: Vec<_> = free.iter().map(|row| row.notification).collect();
    let ids = bulk::padded(&ids);
    let mut tries = Tries::new();
    loop {
        let mut claim = sqlx::query(bulk::for_rows(CLAIM_FIRST, ids.len()))
            .bind(by.0)
            .bind(micros(lasting));
        for id in &ids {
            claim = claim.bind(id.as_uuid());
        }
        match claim
            .execute(&mut *connection)
            .await
            .map_err(StoreError::from)
        {
            Err(error) if tries.again(&error).await => {}
            result => return result.map(|done| done.rows_affected()),
        }
    }
}

async fn take_others(
    connection: &mut MySqlConnection,
    by: ClaimId,
    others: &[&ToTake],
    lasting: Duration,
) -> Result<u64, StoreError> {
    let rows = bulk::array(others)?;
    let mut tries = Tries::new();
    loop {
        let taken = sqlx::query(CLAIM)
            .bind(&rows)
            .bind(by.0)
            .bind(micros(lasting))
            .bind(by.0)
            .bind(micros(lasting))
            .bind(by.0)
            .bind(by.0)
            .execute(&mut *connection)
            .await;
        match taken.map_err(StoreError::from) {
            Err(error) if tries.again(&error).await => {}
            result => return result.map(|done| done.rows_affected()),
        }
    }
}

/// As an interval of the database.
fn micros(lasting: Duration) -> u64 {
    u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX)
}

/// Rows in the order of the key: locks are taken in that order.
fn sorted(held: &[Held]) -> Vec<HeldRow> {
    let mut rows: Vec<_> = held
        .iter()
        .map(|held| HeldRow {
            id: bulk::id(held.notification),
            claim: held.claim.hex(),
            sent: u8::from(held.sent),
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// An element of the arrays of [`RENEW`] and [`LET_GO`].
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct HeldRow {
    id: String,
    claim: String,
    sent: u8,
}

/// An element of [`CLAIM`]'s array.
#[derive(Serialize)]
struct ToTake {
    #[serde(skip)]
    notification: NotificationId,
    id: String,
    round: u32,
    was: Option<String>,
    interrupted: u8,
    /// It is the newest of its collapse key.
    #[serde(skip)]
    with_key: bool,
    /// Nobody had it in hand before, and it has no collapse key.
    #[serde(skip)]
    first: bool,
}

/// How a notification stands before it is claimed.
struct Seen {
    recorded: Recorded,
    claimed_by: Option<Uuid>,
    /// A worker took it in hand, and has neither recorded the round nor let it go.
    in_hand: bool,
    claim_holds: bool,
    interruptions: u32,
    collapses: bool,
    version: CustomerVersion,
    /// Its customer was erased after it was accepted.
    erased: bool,
    key: Option<KeySeen>,
}

/// How its collapse key stands.
#[derive(Clone, Copy)]
struct KeySeen {
    /// The newest notification of it.
    newest: NotificationId,
    claimed_by: Option<Uuid>,
    /// One claim is for all that a worker takes at once: only this one has the key.
    claimed_for: Option<Uuid>,
    claim_holds: bool,
}

impl Seen {
    /// An older one of its collapse key is in other hands; `false` where a newer one takes its place anyway.
    fn behind(&self, notification: NotificationId, by: ClaimId) -> bool {
        let ours =
            |key: KeySeen| by.is(key.claimed_by) && key.claimed_for == Some(notification.as_uuid());
        self.key
            .is_some_and(|key| key.newest == notification && key.claim_holds && !ours(key))
    }

    fn to_take(&self, by: ClaimId, claim: Claim) -> Option<ToTake> {
        let news = self.recorded.status == Status::Pending && self.recorded.round < claim.round;
        let ours = by.is(self.claimed_by);
        let free = (ours || !self.claim_holds) && !self.behind(claim.notification, by);
        (news && free).then(|| ToTake {
            notification: claim.notification,
            id: bulk::id(claim.notification),
            round: claim.round,
            was: self.claimed_by.map(|id| id.simple().to_string()),
            interrupted: u8::from(self.in_hand && !ours),
            with_key: self.key.is_some_and(|key| key.newest == claim.notification),
            first: self.claimed_by.is_none() && self.recorded.round == 0 && !self.collapses,
        })
    }

    fn taken(&mut self, by: ClaimId, row: &ToTake) {
        self.claimed_by = Some(by.0);
        self.claim_holds = true;
        self.interruptions += u32::from(row.interrupted);
    }

    fn claimed(&self, notification: NotificationId, by: ClaimId) -> Claiming {
        let claimed = Claimed {
            recorded: self.recorded,
            ours: self.claim_holds && by.is(self.claimed_by),
            erased: self.erased,
            newest: self.key.map(|key| key.newest),
            behind: !self.claim_holds && self.behind(notification, by),
            interruptions: self.interruptions,
        };
        Claiming {
            claimed,
            version: self.version,
        }
    }
}

#[derive(FromRow)]
struct SeenRow {
    notification_id: Uuid,
    status: String,
    round: u32,
    claimed_by: Option<Uuid>,
    interruptions: u32,
    in_hand: bool,
    claim_holds: bool,
    collapses: bool,
    version: Option<u64>,
    erased: bool,
    newest: Option<Uuid>,
    key_claimed_by: Option<Uuid>,
    key_claimed_for: Option<Uuid>,
    key_is_held: bool,
}

impl TryFrom<SeenRow> for Seen {
    type Error = StoreError;

    fn try_from(row: SeenRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        let status = at.read("status", Status::from_spelling(&row.status))?;
        Ok(Self {
            recorded: Recorded {
                status,
                round: row.round,
            },
            claimed_by: row.claimed_by,
            in_hand: row.in_hand,
            claim_holds: row.claim_holds,
            interruptions: row.interruptions,
            collapses: row.collapses,
            version: CustomerVersion(row.version.unwrap_or_default()),
            erased: row.erased,
            key: row.newest.map(|newest| KeySeen {
                newest: newest.into(),
                claimed_by: row.key_claimed_by,
                claimed_for: row.key_claimed_for,
                claim_holds: row.key_is_held,
            }),
        })
    }
}
