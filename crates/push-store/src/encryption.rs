//! `encryption_keys`: under which keys the database may hold values. A program says there what it writes under, and looks
//! whether it can read all the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use push_seal::{KeyId, Keyring, Place};
use sqlx::FromRow;

use crate::Store;
use crate::error::{StoreError, Unavailable};
use crate::sealing;

const USE_KEY: &str = "\
    INSERT INTO encryption_keys (key_id, proof, used_at) VALUES (?, ?, NOW(3)) \
    ON DUPLICATE KEY UPDATE used_at = NOW(3)";

const KEYS_IN_USE: &str = "SELECT key_id, proof, used_at FROM encryption_keys ORDER BY key_id";

const KEY_IN_USE: &str = "SELECT key_id, proof, used_at FROM encryption_keys WHERE key_id = ?";

const STILL_USED: &str = "UPDATE encryption_keys SET used_at = NOW(3) WHERE key_id = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("USE_KEY", USE_KEY),
    ("KEYS_IN_USE", KEYS_IN_USE),
    ("KEY_IN_USE", KEY_IN_USE),
    ("STILL_USED", STILL_USED),
];

/// What a key seals to show that it is the same.
const PROOF: &str = "push";

/// For so long a program may seal after it has said with which key. Together with the 60 s after which the server ends a
/// silent transaction that is less than the two minutes that the others wait (see [`crate::reseal`]): whoever was frozen or
/// cut off says it again first.
const SAID_FOR: TimeDelta = TimeDelta::seconds(45);

/// When a program said last which key it seals with, in milliseconds; by the clock of the day, which goes on while a machine
/// sleeps.
#[derive(Clone, Default)]
pub(crate) struct LastSaid(Arc<AtomicI64>);

impl LastSaid {
    pub(crate) fn at(&self, now: DateTime<Utc>) {
        self.0.store(now.timestamp_millis(), Ordering::Relaxed);
    }

    /// `None`: never.
    fn ago(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let last = Some(self.0.load(Ordering::Relaxed)).filter(|last| *last != 0)?;
        TimeDelta::try_milliseconds(now.timestamp_millis().saturating_sub(last))
    }
}

/// Under which values of the database may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInUse {
    /// The key; `None`: they are clear.
    pub key: Option<KeyId>,
    /// When a program said last that it writes under it.
    pub used_at: DateTime<Utc>,
}

impl Store {
    /// The keys that this program has.
    #[must_use]
    pub const fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Looks whether this program has all keys that the database's values are sealed with.
    ///
    /// # Errors
    /// [`Unavailable::KeyMissing`] and [`Unavailable::KeyDiffers`] name the key that it has not.
    pub async fn keys_in_use(&self) -> Result<Vec<KeyInUse>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(KEYS_IN_USE).fetch_all(&self.pool).await?;
        rows.into_iter().map(|row| row.read(&self.keys)).collect()
    }

    /// Says which key this program seals with, before it does and as long as it does: then it may write.
    ///
    /// # Errors
    /// As [`Store::keys_in_use`].
    pub async fn use_keys(&self) -> Result<Vec<KeyInUse>, StoreError> {
        // Before it says so itself: with a wrong key it must not.
        let now = Utc::now();
        self.keys_in_use().await?;
        let key = self.keys.sealing();
        let proof = key
            .map(|key| sealing::seal(&self.keys, &place(key), PROOF.to_owned()))
            .transpose()?;
        sqlx::query(USE_KEY)
            .bind(key.as_ref().map_or("", KeyId::as_str))
            .bind(proof)
            .execute(&self.pool)
            .await?;
        self.keys_said.at(now);
        self.keys_in_use().await
    }

    /// Says it again where that was too long ago, before anything is sealed. What was under way may be ended by a program that
    /// lacks a key which came up meanwhile, as long as its own is in use.
    pub(crate) async fn may_seal(&self) -> Result<(), StoreError> {
        let now = Utc::now();
        match self.keys_said.ago(now) {
            Some(ago) if (TimeDelta::zero()..SAID_FOR).contains(&ago) => Ok(()),
            Some(_) if self.is_still_used(now).await? => Ok(()),
            Some(_) | None => self.use_keys().await.map(drop),
        }
    }

    /// Says it, if the key is in use.
    async fn is_still_used(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let key = self.keys.sealing();
        let name = key.as_ref().map_or("", KeyId::as_str);
        let row: Option<KeyRow> = sqlx::query_as(KEY_IN_USE)
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(false) };
        row.read(&self.keys)?;
        let said = sqlx::query(STILL_USED)
            .bind(name)
            .execute(&self.pool)
            .await?
            .rows_affected()
            > 0;
        if said {
            self.keys_said.at(now);
        }
        Ok(said)
    }

    /// What `ask` finds. Where it meets a value under a key that this program lacks, it is looked who has that key. If somebody
    /// does, all waits for it. If nobody does, the value is a damaged one, which is in no other's way: it is asked once more
    /// with keys that say so.
    pub(crate) async fn opening<T, F>(&self, ask: impl Fn(Keyring) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        match ask(self.keys.clone()).await {
            Err(StoreError::Unavailable(Unavailable::KeyMissing(key))) => {
                self.keys_in_use().await?;
                tracing::warn!(%key, "something is sealed with an encryption key that no program uses: it counts as damaged");
                ask(self.keys.clone().as_all_there_are()).await
            }
            answered => answered,
        }
    }
}

fn place(key: KeyId) -> Place {
    Place::of("encryption_keys.proof", &[key.as_str().as_bytes()])
}

#[derive(FromRow)]
struct KeyRow {
    key_id: String,
    proof: Option<String>,
    used_at: DateTime<Utc>,
}

impl KeyRow {
    fn read(self, keys: &Keyring) -> Result<KeyInUse, StoreError> {
        let key = KeyId::parse(&self.key_id);
        if let Some(key) = key {
            if keys.ids().all(|id| id != key) {
                return Err(Unavailable::KeyMissing(key).into());
            }
            let proof = self.proof.unwrap_or_default();
            if keys.open(&place(key), proof).as_deref() != Ok(PROOF) {
                return Err(Unavailable::KeyDiffers(key).into());
            }
        }
        Ok(KeyInUse {
            key,
            used_at: self.used_at,
        })
    }
}
