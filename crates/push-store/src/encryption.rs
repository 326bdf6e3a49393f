//! `encryption_keys`: under which keys the database may hold values. A program says there what it writes under, and looks
//! whether it can read all the rest.

use chrono::{DateTime, Utc};
use push_seal::{KeyId, Keyring, Place};
use sqlx::FromRow;

use crate::Store;
use crate::error::{StoreError, Unavailable};
use crate::sealing;

const USE_KEY: &str = "\
    INSERT INTO encryption_keys (key_id, proof, used_at) VALUES (?, ?, NOW(3)) \
    ON DUPLICATE KEY UPDATE used_at = NOW(3)";

const KEYS_IN_USE: &str = "SELECT key_id, proof, used_at FROM encryption_keys ORDER BY key_id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("USE_KEY", USE_KEY), ("KEYS_IN_USE", KEYS_IN_USE)];

/// What a key seals to show that it is the same.
const PROOF: &str = "push";

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
        self.keys_in_use().await
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
