//! Replayed bytes that were no job: they are published by whoever runs the operations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use push_seal::Keyring;
use sqlx::FromRow;

use crate::content::{Emptied, letter_content};
use crate::dead_letters::DeadLetterId;
use crate::decode::{Row, millis};
use crate::erasure::BEGINNING;
use crate::error::StoreError;
use crate::{Store, sealing};

const BYTES_DUE: &str = "\
    SELECT id, raw, created_at FROM dead_letters FORCE INDEX (bytes_due) \
    WHERE bytes_due_at <= ? ORDER BY bytes_due_at LIMIT ?";

const BYTES_OUT: &str = "UPDATE dead_letters SET bytes_due_at = NULL WHERE id = ?";

/// Retention left them out while they were to be published, and does not come back for them.
const BYTES_OLD: &str = concat!(
    "UPDATE dead_letters AS letter SET ",
    letter_content!(),
    ", letter.emptied = ? WHERE letter.id = ? AND letter.created_at < ? AND letter.emptied < ?"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("BYTES_DUE", BYTES_DUE),
    ("BYTES_OUT", BYTES_OUT),
    ("BYTES_OLD", BYTES_OLD),
];

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
    /// Bytes that an operator wants to be published again. Those that nobody can make out are not due any more.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked, or a key is missing for all of them.
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
        let (mut due, mut missing) = (Vec::with_capacity(rows.len()), None);
        for row in rows {
            let letter = DeadLetterId(row.id);
            match row.due(&keys) {
                Ok(bytes) => due.push(bytes),
                Err(error) if error.is_unavailable() => missing = Some(error),
                Err(error) => {
                    tracing::error!(%error, "the bytes of a dead letter cannot be published again");
                    self.bytes_published(letter, BEGINNING).await?;
                }
            }
        }
        match missing {
            Some(error) if due.is_empty() => Err(error),
            Some(_) | None => Ok(due),
        }
    }

    /// They are published. What is from `before` that time is emptied: it is too old to be kept.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then they are published once more.
    pub async fn bytes_published(
        &self,
        letter: DeadLetterId,
        before: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(BYTES_OUT)
            .bind(letter.0)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(BYTES_OLD)
            .bind(Emptied::Old.as_u8())
            .bind(letter.0)
            .bind(millis(before))
            .bind(Emptied::Old.as_u8())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
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
