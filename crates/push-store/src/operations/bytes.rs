//! Replayed bytes that were no job: they are published by whoever runs the operations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use push_seal::Keyring;
use sqlx::FromRow;

use crate::dead_letters::DeadLetterId;
use crate::decode::{Row, millis};
use crate::error::StoreError;
use crate::{Store, sealing};

const BYTES_DUE: &str = "\
    SELECT id, raw, created_at FROM dead_letters FORCE INDEX (bytes_due) \
    WHERE bytes_due_at <= ? ORDER BY bytes_due_at LIMIT ?";

const BYTES_OUT: &str = "UPDATE dead_letters SET bytes_due_at = NULL WHERE id = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("BYTES_DUE", BYTES_DUE), ("BYTES_OUT", BYTES_OUT)];

/// Bytes that are to be published as they were.
#[derive(Clone, PartialEq, Eq)]
pub struct DueBytes {
    /// The dead letter.
    pub letter: DeadLetterId,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Shows no bytes: they may hold anything.
impl std::fmt::Debug for DueBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DueBytes({}, {} bytes)", self.letter.0, self.bytes.len())
    }
}

impl Store {
    /// Bytes that an operator wants to be published again.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn due_bytes(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<DueBytes>, StoreError> {
        self.opening(|keys| self.due_bytes_with(keys, now, limit))
            .await
    }

    async fn due_bytes_with(
        &self,
        keys: Keyring,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<DueBytes>, StoreError> {
        let rows: Vec<BytesRow> = sqlx::query_as(BYTES_DUE)
            .bind(millis(now))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(|row| row.due(&keys)).collect()
    }

    /// They are published.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then they are published once more.
    pub async fn bytes_published(&self, letter: DeadLetterId) -> Result<(), StoreError> {
        sqlx::query(BYTES_OUT)
            .bind(letter.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[derive(FromRow)]
struct BytesRow {
    id: u64,
    raw: Option<String>,
    created_at: DateTime<Utc>,
}

impl BytesRow {
    fn due(self, keys: &Keyring) -> Result<DueBytes, StoreError> {
        let at = Row {
            table: "dead_letters",
            key: self.id,
        };
        let place = sealing::letter_raw(self.created_at);
        let raw = self
            .raw
            .map(|raw| sealing::open(keys, &place, raw, &at, "raw"));
        let bytes = raw.transpose()?.and_then(|raw| STANDARD.decode(raw).ok());
        Ok(DueBytes {
            letter: DeadLetterId(self.id),
            bytes: at.read("raw", bytes)?,
        })
    }
}
