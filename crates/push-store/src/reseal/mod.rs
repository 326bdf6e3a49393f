//! Bringing all values under the key that seals now: those of other keys, and those that are clear.
//!
//! Each table is gone through once in the order of its rows, in small steps, and how far it is stands in
//! `encryption_passes`: so it can stop at any moment, and go on elsewhere. It begins when nobody has said for a while that it
//! writes under another key, and so finds them all, since nobody seals without having said so a moment ago; then the other
//! keys' names are deleted from `encryption_keys`, and there is nothing to do until the next rotation.

pub(crate) mod devices;
pub(crate) mod history;
pub(crate) mod letters;

use std::fmt::Display;

use chrono::TimeDelta;
use push_seal::{KeyId, Keyring, Place, key_of};
use serde::Serialize;
use sqlx::mysql::MySqlRow;
use sqlx::{FromRow, MySqlConnection};

use crate::decode::Row;
use crate::error::StoreError;
use crate::retry::Tries;
use crate::sealing;
use crate::{Store, bulk};

const PASSES: &str =
    "SELECT place, last_id, ended_at IS NOT NULL AS ended FROM encryption_passes WHERE key_id = ?";

const START_PASS: &str = "\
    INSERT INTO encryption_passes (place, key_id) VALUES (?, ?) \
    ON DUPLICATE KEY UPDATE key_id = VALUES(key_id), last_id = 0, started_at = NOW(3), ended_at = NULL";

const GO_ON: &str = "\
    UPDATE encryption_passes SET last_id = ?, ended_at = IF(?, NOW(3), NULL) WHERE place = ? AND key_id = ?";

/// Under which a program may still write, because it said so not long ago.
const STILL_WRITTEN: &str = "\
    SELECT COUNT(*) FROM encryption_keys WHERE key_id <> ? AND used_at > NOW(3) - INTERVAL ? SECOND";

const RETIRE: &str = "\
    DELETE FROM encryption_keys WHERE key_id <> ? \
        AND used_at < (SELECT MIN(started_at) FROM encryption_passes) - INTERVAL ? SECOND";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("PASSES", PASSES),
    ("START_PASS", START_PASS),
    ("GO_ON", GO_ON),
    ("STILL_WRITTEN", STILL_WRITTEN),
    ("RETIRE", RETIRE),
];

/// A table with values that may be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Devices,
    History,
    Letters,
}

impl Table {
    const ALL: [Self; 3] = [Self::Devices, Self::History, Self::Letters];

    const fn name(self) -> &'static str {
        match self {
            Self::Devices => "customer_push_tokens",
            Self::History => "notification_history",
            Self::Letters => "dead_letters",
        }
    }

    const fn look(self) -> &'static str {
        match self {
            Self::Devices => devices::LOOK,
            Self::History => history::LOOK,
            Self::Letters => letters::LOOK,
        }
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealed {
    /// All there is stands under the key that seals now.
    Nothing,
    /// Somebody may still write under another key: to be looked at again later.
    Waiting,
    /// So many rows were brought under it, and there may be more.
    Rows(u64),
}

impl Store {
    /// Looks at the next `rows` rows, and brings those under the key that seals now that are not. `quiet`: for so long
    /// nobody must have said that it writes under another key.
    ///
    /// One at a time may do it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked, or a key is missing; what is done is done.
    pub async fn reseal(&self, rows: u32, quiet: TimeDelta) -> Result<Resealed, StoreError> {
        let ours = self.keys.sealing();
        let others = self.keys_in_use().await?;
        if others.iter().all(|used| used.key == ours) {
            return Ok(Resealed::Nothing);
        }
        let name = ours.as_ref().map_or("", KeyId::as_str);
        let passes: Vec<PassRow> = sqlx::query_as(PASSES)
            .bind(name)
            .fetch_all(&self.pool)
            .await?;
        for table in Table::ALL {
            match passes.iter().find(|pass| pass.place == table.name()) {
                Some(pass) if pass.ended => {}
                Some(pass) => return self.step(table, name, pass.last_id, rows).await,
                None => return self.start(name, quiet).await,
            }
        }
        let retired = sqlx::query(RETIRE)
            .bind(name)
            .bind(quiet.num_seconds())
            .execute(&self.pool)
            .await?
            .rows_affected();
        if retired + 1 >= others.len() as u64 {
            return Ok(Resealed::Nothing);
        }
        // Somebody came back with another key meanwhile.
        self.start(name, quiet).await
    }

    async fn start(&self, name: &str, quiet: TimeDelta) -> Result<Resealed, StoreError> {
        let written: i64 = sqlx::query_scalar(STILL_WRITTEN)
            .bind(name)
            .bind(quiet.num_seconds())
            .fetch_one(&self.pool)
            .await?;
        if written > 0 {
            return Ok(Resealed::Waiting);
        }
        let mut transaction = self.pool.begin().await?;
        for table in Table::ALL {
            sqlx::query(START_PASS)
                .bind(table.name())
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Resealed::Rows(0))
    }

    async fn step(
        &self,
        table: Table,
        name: &str,
        last: u64,
        limit: u32,
    ) -> Result<Resealed, StoreError> {
        let seen: Vec<SeenRow> = sqlx::query_as(table.look())
            .bind(last)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        self.may_seal().await?;
        let ours = self.keys.sealing();
        let others: Vec<u64> = seen
            .iter()
            .filter(|row| row.is_under_another(ours))
            .map(|row| row.id)
            .collect();
        for some in others.chunks(ROWS_MAX) {
            let mut tries = Tries::new();
            loop {
                match self.opening(|keys| self.bring(keys, table, some)).await {
                    Err(error) if tries.again(&error).await => {}
                    result => break result?,
                }
            }
        }
        sqlx::query(GO_ON)
            .bind(seen.last().map_or(last, |row| row.id))
            .bind(seen.len() < limit as usize)
            .bind(table.name())
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(Resealed::Rows(others.len() as u64))
    }

    /// Brings these rows under the key, in one transaction.
    async fn bring(&self, keys: Keyring, table: Table, ids: &[u64]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        match table {
            Table::Devices => devices::bring(&mut transaction, &keys, ids).await?,
            Table::History => history::bring(&mut transaction, &keys, ids).await?,
            Table::Letters => letters::bring(&mut transaction, &keys, ids).await?,
        }
        Ok(transaction.commit().await?)
    }
}

/// Rows of one transaction: others wait for them no longer than that takes.
const ROWS_MAX: usize = 100;

#[derive(FromRow)]
struct PassRow {
    place: String,
    last_id: u64,
    ended: bool,
}

/// The starts of a row's values, as far as they say under which key each stands.
#[derive(FromRow)]
struct SeenRow {
    id: u64,
    first: Option<String>,
    second: Option<String>,
}

impl SeenRow {
    fn is_under_another(&self, ours: Option<KeyId>) -> bool {
        let values = [&self.first, &self.second];
        values
            .into_iter()
            .flatten()
            .any(|value| key_of(value) != ours)
    }
}

/// Locks rows, and writes what `anew` makes of each.
async fn write_anew<R, B>(
    connection: &mut MySqlConnection,
    lock: &'static str,
    write: &'static str,
    ids: &[u64],
    anew: impl Fn(R) -> Result<B, StoreError>,
) -> Result<(), StoreError>
where
    R: for<'row> FromRow<'row, MySqlRow> + Send + Unpin,
    B: Serialize,
{
    let rows: Vec<R> = sqlx::query_as(lock)
        .bind(bulk::array(ids)?)
        .fetch_all(&mut *connection)
        .await?;
    let brought: Vec<B> = rows.into_iter().map(anew).collect::<Result<_, _>>()?;
    sqlx::query(write)
        .bind(bulk::array(&brought)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// A value under the key that seals now. One that does not open is left as it is, and logged: it holds up no other.
fn anew<K: Display>(
    keys: &Keyring,
    place: &Place,
    value: Option<String>,
    at: &Row<K>,
    column: &'static str,
) -> Result<Option<String>, StoreError> {
    let Some(value) = value.filter(|value| key_of(value) != keys.sealing()) else {
        return Ok(None);
    };
    match sealing::open(keys, place, value, at, column) {
        Ok(clear) => sealing::seal(keys, place, clear).map(Some),
        Err(error) => left(error).map(|()| None),
    }
}

fn left(error: StoreError) -> Result<(), StoreError> {
    if error.is_unavailable() {
        return Err(error);
    }
    tracing::error!(%error, "a value cannot be sealed anew; it stays as it is");
    Ok(())
}
