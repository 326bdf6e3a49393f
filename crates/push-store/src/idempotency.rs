//! `idempotency_keys`: a request that comes again gets the answer of its first time, and does nothing.
//!
//! A key is committed together with what its request did, in one transaction: there is never one without the other,
//! whatever breaks. The table's primary key lets one of several replicas through and the others wait for its commit.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::history::Item;
use crate::{Store, hash};

/// The table of the rows that are read here.
const TABLE: &str = "idempotency_keys";

/// How long a key is kept. An older one counts as absent, purged or not.
pub const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

const KEPT: &str = "\
    SELECT kept.key_hash, kept.body_hash, kept.http_status, kept.answer, kept.created_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$')) AS wanted \
    STRAIGHT_JOIN idempotency_keys AS kept ON kept.key_hash = UNHEX(wanted.hash)";

/// What stands there stays, unless its time is over. `created_at` comes last: the others look at its old value.
const KEEP: &str = "\
    INSERT INTO idempotency_keys (key_hash, body_hash, http_status, answer, created_at) \
    SELECT UNHEX(key_hex), UNHEX(body_hex), status, reply, asked_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            key_hex CHAR(64) PATH '$.key', \
            body_hex CHAR(64) PATH '$.body', \
            asked_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.asked_at', \
            status BIGINT PATH '$.status', \
            reply MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.reply' \
        )) AS asked \
    ON DUPLICATE KEY UPDATE \
        body_hash = IF(idempotency_keys.created_at <= ?, VALUES(body_hash), idempotency_keys.body_hash), \
        http_status = IF(idempotency_keys.created_at <= ?, VALUES(http_status), idempotency_keys.http_status), \
        answer = IF(idempotency_keys.created_at <= ?, VALUES(answer), idempotency_keys.answer), \
        created_at = IF(idempotency_keys.created_at <= ?, VALUES(created_at), idempotency_keys.created_at)";

const PURGE: &str =
    "DELETE FROM idempotency_keys WHERE created_at <= ? ORDER BY created_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("KEPT", KEPT), ("KEEP", KEEP), ("PURGE", PURGE)];

/// A caller's name for a request, and what the request asked for: both as hashes, so that the table repeats neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdempotencyKey {
    key: Vec<u8>,
    request: Vec<u8>,
}

impl IdempotencyKey {
    /// `key` belongs to `caller`. `body` has one spelling for each JSON value; the endpoint is a part of what is asked for.
    #[must_use]
    pub fn new(caller: &str, key: &str, endpoint: &str, body: &str) -> Self {
        Self {
            key: hash::of_parts(&[caller.as_bytes(), key.as_bytes()]),
            request: hash::of_parts(&[endpoint.as_bytes(), body.as_bytes()]),
        }
    }
}

/// An answer that is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its HTTP status. `None`: the first caller wished to wait for the outcome, and gets this body only if that takes too long.
    pub status: Option<u16>,
    /// Its body. Unlike that of any other request that made something: it names what it made.
    pub body: String,
}

/// Composes the answer that a request is to get again, of what became of each of its notifications. `None`: it was
/// refused, none of them is accepted, and the key is not kept.
pub type Compose = dyn Fn(&[Item]) -> Option<KeptAnswer> + Send + Sync;

/// A request's key, and the answer that it will get if it is the first.
#[derive(Clone)]
pub struct Keyed {
    /// The key.
    pub key: IdempotencyKey,
    /// Makes the answer.
    pub answer: Arc<Compose>,
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What a key says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// Nothing: the key is not there.
    Nothing,
    /// This request was the first.
    First,
    /// The same was asked before, and answered so.
    Before(&'a KeptAnswer),
    /// Something else was asked before.
    Other,
}

/// Keys that are there, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<Vec<u8>, KeptKey>);

#[derive(Debug)]
struct KeptKey {
    request: Vec<u8>,
    answer: KeptAnswer,
}

impl Kept {
    /// `own`: the answer that was added for this request, unless another one's was there.
    pub(crate) fn say(&self, asked: &IdempotencyKey, own: Option<&KeptAnswer>) -> Said<'_> {
        match self.0.get(&asked.key) {
            None => Said::Nothing,
            Some(kept) if kept.request != asked.request => Said::Other,
            Some(kept) if Some(&kept.answer) == own => Said::First,
            Some(kept) => Said::Before(&kept.answer),
        }
    }

    /// Reads those that are there and whose time is not over.
    pub(crate) async fn look(
        &mut self,
        connection: &mut MySqlConnection,
        asked: impl Iterator<Item = &IdempotencyKey>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut hashes: Vec<String> = asked.map(|asked| bulk::hex(&asked.key)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        for some in hashes.chunks(KEYS_MAX) {
            let rows: Vec<KeptRow> = sqlx::query_as(KEPT)
                .bind(bulk::array(some)?)
                .fetch_all(&mut *connection)
                .await?;
            for row in rows
                .into_iter()
                .filter(|row| row.created_at > now - KEPT_FOR)
            {
                let (hash, kept) = row.read()?;
                self.0.insert(hash, kept);
            }
        }
        Ok(())
    }
}

/// Adds those that are not there yet, and waits for whoever is adding one of them at this moment. Of several with one
/// key the first counts.
pub(crate) async fn keep(
    connection: &mut MySqlConnection,
    asked: impl Iterator<Item = (&IdempotencyKey, &KeptAnswer)>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // In the order of the key: locks are taken in that order.
    let mut first: BTreeMap<&[u8], KeepRow<'_>> = BTreeMap::new();
    for (key, answer) in asked {
        first.entry(&key.key).or_insert_with(|| KeepRow {
            key: bulk::hex(&key.key),
            body: bulk::hex(&key.request),
            asked_at: bulk::time(now),
            status: answer.status,
            reply: &answer.body,
        });
    }
    let over = now - KEPT_FOR;
    let rows: Vec<KeepRow<'_>> = first.into_values().collect();
    for some in bulk::arrays(&rows, KEYS_MAX)? {
        sqlx::query(KEEP)
            .bind(some.json)
            .bind(over)
            .bind(over)
            .bind(over)
            .bind(over)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// How the same request was answered before under its key, if it was.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn kept_answer(
        &self,
        asked: &IdempotencyKey,
        now: DateTime<Utc>,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let mut kept = Kept::default();
        let mut connection = self.pool.acquire().await?;
        kept.look(&mut connection, std::iter::once(asked), now)
            .await?;
        Ok(match kept.say(asked, None) {
            Said::Before(answer) => Some(answer.clone()),
            Said::Nothing | Said::First | Said::Other => None,
        })
    }

    /// Deletes keys that were first used before `until`, `limit` at most, oldest first. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_idempotency_keys(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE, until, limit).await
    }
}

/// An element of [`KEEP`]'s array.
#[derive(Serialize)]
struct KeepRow<'a> {
    key: String,
    body: String,
    asked_at: String,
    status: Option<u16>,
    reply: &'a str,
}

#[derive(FromRow)]
struct KeptRow {
    key_hash: Vec<u8>,
    body_hash: Vec<u8>,
    http_status: Option<u16>,
    answer: Option<String>,
    created_at: DateTime<Utc>,
}

impl KeptRow {
    fn read(self) -> Result<(Vec<u8>, KeptKey), StoreError> {
        let at = Row {
            table: TABLE,
            key: bulk::hex(&self.key_hash),
        };
        let answer = KeptAnswer {
            status: self.http_status,
            body: at.read("answer", self.answer)?,
        };
        let request = self.body_hash;
        Ok((self.key_hash, KeptKey { request, answer }))
    }
}
