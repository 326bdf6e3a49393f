//! Recording receipts, and what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{NotificationId, RegistrationId};
use push_core::ladder::RetryDelay;
use push_core::outcome::{Cause, ProviderMessageId};
use push_core::provider::{Platform, Provider};
use push_core::receipt::{self, Answer, Failure, Rhythm, Ticket, Verdict};
use push_core::settle::DeliveryOutcome;
use push_core::status::Status;
use push_core::timeline::TimelineEntry;
use push_core::token::{ExpoToken, MaskedToken, Token};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::due::{LaterRow, TicketRow, push_back};
use super::ended::{Ended, Ending};
use super::{Noted, ReceiptsRecorded};
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::devices::{DeadKey, DeadToken, open_token, switch_off_keys_in};
use crate::error::StoreError;
use crate::hash;
use crate::history::lock::{Locked, lock};
use crate::retry::Tries;
use crate::stats;

const TICKETS_OF: &str = "\
    SELECT ticket.notification_id, ticket.registration_id, ticket.ticket_id, ticket.accepted_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS asked \
    STRAIGHT_JOIN expo_tickets AS ticket FORCE INDEX (PRIMARY) ON ticket.notification_id = UNHEX(asked.id)";

const DELIVERIES_OF: &str = "\
    SELECT delivery.notification_id, delivery.registration_id, delivery.provider, delivery.platform, \
        delivery.token_hash, delivery.token_masked, delivery.outcome, delivery.provider_id, delivery.attempts, \
        delivery.error_code, delivery.error_text, delivery.receipt, delivery.at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS asked \
    STRAIGHT_JOIN notification_deliveries AS delivery FORCE INDEX (PRIMARY) \
        ON delivery.notification_id = UNHEX(asked.id)";

const NOTE_RECEIPTS: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            registration BIGINT UNSIGNED PATH '$.registration', \
            outcome MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.outcome', \
            receipt MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.receipt', \
            error_code MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_code', \
            error_text MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_text' \
        )) AS noted \
    STRAIGHT_JOIN notification_deliveries AS delivery FORCE INDEX (PRIMARY) \
        ON delivery.notification_id = UNHEX(noted.id) AND delivery.registration_id = noted.registration \
        AND delivery.provider = 'expo' \
    SET delivery.outcome = noted.outcome, delivery.receipt = noted.receipt, \
        delivery.error_code = noted.error_code, delivery.error_text = noted.error_text";

const CLOSE_TICKETS: &str = "\
    DELETE ticket FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', registration BIGINT UNSIGNED PATH '$.registration')) AS done \
    STRAIGHT_JOIN expo_tickets AS ticket FORCE INDEX (PRIMARY) \
        ON ticket.notification_id = UNHEX(done.id) AND ticket.registration_id = done.registration";

/// Those that are off now; one that was registered again after its ticket is not.
const TOKENS_OFF: &str = "\
    SELECT device.id, device.customer_id, device.expo_push_token \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$')) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (expo_token_once) \
        ON device.expo_token_hash = UNHEX(dead.hash) \
    WHERE device.expo_dead_at IS NOT NULL";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("TICKETS_OF", TICKETS_OF),
    ("DELIVERIES_OF", DELIVERIES_OF),
    ("NOTE_RECEIPTS", NOTE_RECEIPTS),
    ("CLOSE_TICKETS", CLOSE_TICKETS),
    ("TOKENS_OFF", TOKENS_OFF),
];

impl Store {
    /// Commits what asking for receipts came to, all or none, and what follows: dead tokens are switched off in the
    /// same transaction (P5), and a notification of which nothing is accepted any more has failed. To record the same
    /// again changes nothing.
    ///
    /// `grace` is what the broker is given, beyond a delay, to bring a reminder back before the reconciler makes a new
    /// one.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was recorded, unless the connection broke during the commit.
    pub async fn record_receipts(
        &self,
        answers: &[(Ticket, Answer)],
        rhythm: Rhythm,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<ReceiptsRecorded, StoreError> {
        self.may_seal().await?;
        let record = |keys| self.record_receipts_once(keys, answers, rhythm, now, grace);
        let mut tries = Tries::new();
        loop {
            match self.opening(record).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn record_receipts_once(
        &self,
        keys: Keyring,
        answers: &[(Ticket, Answer)],
        rhythm: Rhythm,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<ReceiptsRecorded, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let ids: BTreeSet<_> = answers
            .iter()
            .map(|(ticket, _)| ticket.notification)
            .collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let locked = lock(&mut transaction, ids.iter().copied()).await?;
        let mut book = Book {
            rhythm,
            now,
            locked,
            tickets: tickets_of(&mut transaction, &ids).await?,
            deliveries: deliveries_of(&mut transaction, &ids).await?,
            changes: Changes::default(),
        };
        let noted = answers
            .iter()
            .map(|(ticket, answer)| book.note(ticket, answer));
        let noted: Vec<_> = noted.collect();
        let recorded = book.write(&mut transaction, &keys, grace).await?;
        transaction.commit().await?;
        Ok(ReceiptsRecorded { noted, ..recorded })
    }
}

/// A delivery of Expo's.
pub(super) type Key = (NotificationId, RegistrationId);

/// What is known of the notifications that some receipts are about; nobody else changes it meanwhile.
struct Book {
    rhythm: Rhythm,
    now: DateTime<Utc>,
    locked: HashMap<NotificationId, Locked>,
    tickets: HashMap<Key, Ticket>,
    deliveries: HashMap<NotificationId, Vec<DeliveryRow>>,
    changes: Changes,
}

/// What is to be written.
#[derive(Default)]
struct Changes {
    noted: BTreeSet<Key>,
    closed: Vec<Ticket>,
    later: Vec<(Ticket, RetryDelay)>,
    dead: Vec<DeadKey>,
    timeline: BTreeMap<NotificationId, Vec<TimelineEntry>>,
    /// Deliveries that have failed since their notification ended.
    failed: BTreeSet<Key>,
    counters: stats::Changes,
}

impl Book {
    fn note(&mut self, asked: &Ticket, answer: &Answer) -> Noted {
        let key = (asked.notification, asked.registration);
        let is_open = |ticket: &&Ticket| ticket.ticket == asked.ticket;
        let Some(ticket) = self.tickets.get(&key).filter(is_open).cloned() else {
            return Noted::Stale;
        };
        let locked = self.locked.get(&asked.notification);
        let delivery = self
            .deliveries
            .get_mut(&asked.notification)
            .and_then(|rows| rows.iter_mut().find(|row| row.has(&ticket)));
        let (Some(locked), Some(delivery)) = (locked, delivery) else {
            // Erased, or sent again since.
            self.close(ticket);
            return Noted::Stale;
        };
        let token = delivery.token_masked.clone().unwrap_or_default();
        let verdict = match (delivery.verdict(), answer) {
            (Some(verdict), _) => verdict,
            (None, Answer::Receipt(receipt)) => {
                let verdict = Verdict::of(receipt);
                if delivery.say(&verdict) {
                    let (counted, expo) = (&locked.counted, Provider::Expo);
                    self.changes
                        .counters
                        .not_reached(counted, expo, delivery.at);
                }
                self.changes.noted.insert(key);
                self.changes
                    .tell(key.0, receipt::told(&token, &verdict, self.now));
                if delivery.outcome == DeliveryOutcome::TokenDead {
                    self.changes
                        .dead
                        .extend(delivery.dead_key(ticket.accepted_at));
                }
                verdict
            }
            (None, Answer::Absent | Answer::NotNow(_)) => {
                let Some(wait) = self.rhythm.again(answer, ticket.accepted_at, self.now) else {
                    delivery.receipt = Some(Verdict::NONE.to_owned());
                    self.changes.noted.insert(key);
                    self.changes
                        .tell(key.0, receipt::told_none(&token, self.now));
                    self.close(ticket);
                    return Noted::GivenUp;
                };
                self.changes.later.push((ticket, wait));
                return Noted::Later(wait);
            }
        };
        match (verdict.failure, locked.recorded.status) {
            (None, _) => {}
            // Its next round would record results that know nothing of this: when it has ended.
            (Some(_), Status::Pending) => {
                self.changes.later.push((ticket, self.rhythm.first));
                return Noted::Later(self.rhythm.first);
            }
            (Some(_), Status::Sent | Status::Failed | Status::Suppressed) => {
                self.changes.noted.insert(key);
                self.changes.failed.insert(key);
            }
        }
        self.close(ticket);
        Noted::Recorded
    }

    async fn write(
        self,
        connection: &mut MySqlConnection,
        keys: &Keyring,
        grace: Duration,
    ) -> Result<ReceiptsRecorded, StoreError> {
        let Self {
            now,
            locked,
            mut deliveries,
            mut changes,
            ..
        } = self;
        let timelines = std::mem::take(&mut changes.timeline);
        let ended = Ending {
            deliveries: &mut deliveries,
            failed: &changes.failed,
            locked: &locked,
            counters: &mut changes.counters,
            now,
            keys,
        };
        let ended = ended.write(connection, timelines).await?;
        changes
            .write(connection, keys, ended, deliveries, now, grace)
            .await
    }

    /// Nobody asks for it any more; what comes again is a copy.
    fn close(&mut self, ticket: Ticket) {
        self.tickets
            .remove(&(ticket.notification, ticket.registration));
        self.changes.closed.push(ticket);
    }
}

impl Changes {
    fn tell(&mut self, id: NotificationId, entry: TimelineEntry) {
        self.timeline.entry(id).or_default().push(entry);
    }

    async fn write(
        self,
        connection: &mut MySqlConnection,
        keys: &Keyring,
        Ended { failed, letters }: Ended,
        deliveries: HashMap<NotificationId, Vec<DeliveryRow>>,
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<ReceiptsRecorded, StoreError> {
        let Self {
            noted,
            closed,
            later,
            dead,
            counters,
            ..
        } = self;
        counters.write(&mut *connection).await?;
        let rows = deliveries.values().flatten();
        let noted = rows.filter(|row| row.is_in(&noted));
        let mut noted: Vec<_> = noted.map(NotedRow::of).collect();
        noted.sort_unstable();
        for some in noted.chunks(KEYS_MAX) {
            sqlx::query(NOTE_RECEIPTS)
                .bind(bulk::array(some)?)
                .execute(&mut *connection)
                .await?;
        }
        let mut closed: Vec<_> = closed.iter().map(ClosedRow::of).collect();
        closed.sort_unstable();
        for some in closed.chunks(KEYS_MAX) {
            sqlx::query(CLOSE_TICKETS)
                .bind(bulk::array(some)?)
                .execute(&mut *connection)
                .await?;
        }
        let due = |wait: RetryDelay| {
            now + TimeDelta::from_std(wait.as_duration() + grace).unwrap_or(TimeDelta::MAX)
        };
        let later = later
            .iter()
            .map(|(ticket, wait)| LaterRow::of(ticket, due(*wait)));
        push_back(connection, later.collect()).await?;
        switch_off_keys_in(connection, Provider::Expo, dead.iter().cloned()).await?;
        Ok(ReceiptsRecorded {
            noted: Vec::new(),
            failed,
            dead: tokens_off(connection, keys, &dead).await?,
            letters,
        })
    }
}

async fn tickets_of(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
) -> Result<HashMap<Key, Ticket>, StoreError> {
    let mut tickets = HashMap::new();
    for some in ids.chunks(KEYS_MAX) {
        let rows: Vec<TicketRow> = sqlx::query_as(TICKETS_OF)
            .bind(bulk::ids(some)?)
            .fetch_all(&mut *connection)
            .await?;
        tickets.extend(rows.into_iter().map(|row| {
            let ticket = Ticket::from(row);
            ((ticket.notification, ticket.registration), ticket)
        }));
    }
    Ok(tickets)
}

async fn deliveries_of(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
) -> Result<HashMap<NotificationId, Vec<DeliveryRow>>, StoreError> {
    let mut deliveries: HashMap<_, Vec<DeliveryRow>> = HashMap::new();
    for some in ids.chunks(KEYS_MAX) {
        let rows: Vec<DeliveryColumns> = sqlx::query_as(DELIVERIES_OF)
            .bind(bulk::ids(some)?)
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            let row = DeliveryRow::try_from(row)?;
            deliveries.entry(row.notification).or_default().push(row);
        }
    }
    Ok(deliveries)
}

async fn tokens_off(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    dead: &[DeadKey],
) -> Result<Vec<DeadToken>, StoreError> {
    let at: BTreeMap<_, _> = dead
        .iter()
        .map(|key| (key.hash.as_slice(), key.at))
        .collect();
    let hashes: Vec<_> = at.keys().map(|hash| bulk::hex(hash)).collect();
    let mut off = Vec::new();
    for some in hashes.chunks(KEYS_MAX) {
        let rows: Vec<OffRow> = sqlx::query_as(TOKENS_OFF)
            .bind(bulk::array(some)?)
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            let token = match row.token(keys) {
                Ok(token) => token,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a token that is off cannot be read");
                    continue;
                }
            };
            let token = token.and_then(|token| ExpoToken::parse(&token).ok());
            off.extend(token.and_then(|token| {
                let at = *at.get(hash::of_token(token.reveal()).as_slice())?;
                let token = Token::Expo(token);
                Some(DeadToken { token, at })
            }));
        }
    }
    Ok(off)
}

/// A device whose token at Expo is off.
#[derive(FromRow)]
struct OffRow {
    id: u64,
    customer_id: i64,
    expo_push_token: Option<String>,
}

impl OffRow {
    fn token(self, keys: &Keyring) -> Result<Option<String>, StoreError> {
        let at = Row {
            table: "customer_push_tokens",
            key: self.id,
        };
        open_token(
            keys,
            self.expo_push_token,
            Provider::Expo,
            self.customer_id,
            &at,
        )
    }
}

/// The last word on a device at a provider.
pub(super) struct DeliveryRow {
    pub(super) notification: NotificationId,
    pub(super) registration: RegistrationId,
    pub(super) provider: Provider,
    pub(super) platform: Option<Platform>,
    token_hash: Option<Vec<u8>>,
    pub(super) token_masked: Option<String>,
    pub(super) outcome: DeliveryOutcome,
    provider_id: Option<ProviderMessageId>,
    pub(super) attempts: u32,
    error: Option<Cause>,
    receipt: Option<String>,
    /// When the provider was asked last.
    at: DateTime<Utc>,
}

impl DeliveryRow {
    fn has(&self, ticket: &Ticket) -> bool {
        self.provider == Provider::Expo
            && self.registration == ticket.registration
            && self.provider_id.as_ref() == Some(&ticket.ticket)
    }

    pub(super) fn is_in(&self, keys: &BTreeSet<Key>) -> bool {
        self.provider == Provider::Expo && keys.contains(&(self.notification, self.registration))
    }

    /// What its receipt said, if that is recorded.
    fn verdict(&self) -> Option<Verdict> {
        let said = self.receipt.clone()?;
        let failure = self.error.clone().map(|cause| Failure {
            outcome: self.outcome,
            cause,
        });
        Some(Verdict { said, failure })
    }

    /// Whether it was accepted until now, and is not any more.
    fn say(&mut self, verdict: &Verdict) -> bool {
        let was_accepted = self.outcome == DeliveryOutcome::Accepted;
        self.receipt = Some(verdict.said.clone());
        if let Some(Failure { outcome, cause }) = &verdict.failure {
            self.outcome = *outcome;
            self.error = Some(cause.clone());
        }
        was_accepted && self.outcome != DeliveryOutcome::Accepted
    }

    fn dead_key(&self, at: DateTime<Utc>) -> Option<DeadKey> {
        let hash = self.token_hash.clone()?;
        Some(DeadKey { hash, at })
    }

    /// Why its receipt says that it was not delivered.
    pub(super) fn failed_by_receipt(&self) -> Option<Cause> {
        self.receipt.as_ref().and(self.error.clone())
    }

    pub(super) fn masked(&self) -> Option<MaskedToken> {
        self.token_masked.clone().map(MaskedToken::from_stored)
    }
}

#[derive(FromRow)]
struct DeliveryColumns {
    notification_id: Uuid,
    registration_id: u64,
    provider: String,
    platform: Option<String>,
    token_hash: Option<Vec<u8>>,
    token_masked: Option<String>,
    outcome: String,
    provider_id: Option<String>,
    attempts: u32,
    error_code: Option<String>,
    error_text: Option<String>,
    receipt: Option<String>,
    at: DateTime<Utc>,
}

impl TryFrom<DeliveryColumns> for DeliveryRow {
    type Error = StoreError;

    fn try_from(row: DeliveryColumns) -> Result<Self, StoreError> {
        let at = Row {
            table: "notification_deliveries",
            key: row.notification_id,
        };
        let text = row.error_text.unwrap_or_default();
        Ok(Self {
            notification: row.notification_id.into(),
            registration: RegistrationId(row.registration_id),
            provider: at.read("provider", Provider::from_spelling(&row.provider))?,
            platform: at.read_nullable("platform", row.platform, |text| {
                Platform::from_spelling(&text)
            })?,
            token_hash: row.token_hash,
            token_masked: row.token_masked,
            outcome: at.read("outcome", DeliveryOutcome::from_spelling(&row.outcome))?,
            provider_id: row.provider_id.as_deref().map(ProviderMessageId::new),
            attempts: row.attempts,
            error: row.error_code.map(|code| Cause { code, text }),
            receipt: row.receipt,
            at: row.at,
        })
    }
}

/// An element of [`NOTE_RECEIPTS`]' array, in the order of the key.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct NotedRow<'a> {
    id: String,
    registration: u64,
    outcome: &'static str,
    receipt: Option<&'a str>,
    error_code: Option<&'a str>,
    error_text: Option<&'a str>,
}

impl<'a> NotedRow<'a> {
    fn of(row: &'a DeliveryRow) -> Self {
        Self {
            id: bulk::id(row.notification),
            registration: row.registration.0,
            outcome: row.outcome.as_str(),
            receipt: row.receipt.as_deref(),
            error_code: row.error.as_ref().map(|cause| cause.code.as_str()),
            error_text: row.error.as_ref().map(|cause| cause.text.as_str()),
        }
    }
}

/// An element of [`CLOSE_TICKETS`]' array, in the order of the key.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct ClosedRow {
    id: String,
    registration: u64,
}

impl ClosedRow {
    fn of(ticket: &Ticket) -> Self {
        Self {
            id: bulk::id(ticket.notification),
            registration: ticket.registration.0,
        }
    }
}
