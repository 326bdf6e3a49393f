//! Dead letters under another key.

use chrono::{DateTime, Utc};
use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::{anew, write_anew};
use crate::decode::Row;
use crate::error::StoreError;
use crate::sealing;

pub(super) const LOOK: &str = "\
    SELECT id, LEFT(job, 24) AS first, LEFT(raw, 24) AS second \
    FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?";

/// (MySQL locks no array, hence the inner SELECT.)
const LOCK_SEALED: &str = "\
    SELECT letter.id, letter.notification_id, letter.registration_id, letter.provider, letter.job, letter.raw, \
        letter.created_at \
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = wanted.id \
    FOR UPDATE";

/// What is NULL in the array stays.
const BRING_LETTERS: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id BIGINT UNSIGNED PATH '$.id', \
            job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.job', \
            raw MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.raw' \
        )) AS brought \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = brought.id \
    SET letter.job = COALESCE(brought.job, letter.job), letter.raw = COALESCE(brought.raw, letter.raw)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOOK", LOOK),
    ("LOCK_SEALED", LOCK_SEALED),
    ("BRING_LETTERS", BRING_LETTERS),
];

pub(super) async fn bring(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    ids: &[u64],
) -> Result<(), StoreError> {
    let anew = |row: LetterRow| row.bring(keys);
    write_anew(connection, LOCK_SEALED, BRING_LETTERS, ids, anew).await
}

#[derive(FromRow)]
struct LetterRow {
    id: u64,
    notification_id: Option<Uuid>,
    registration_id: Option<u64>,
    provider: Option<String>,
    job: Option<String>,
    raw: Option<String>,
    created_at: DateTime<Utc>,
}

/// An element of [`BRING_LETTERS`]'s array.
#[derive(Serialize)]
struct Brought {
    id: u64,
    job: Option<String>,
    raw: Option<String>,
}

impl LetterRow {
    fn bring(self, keys: &Keyring) -> Result<Brought, StoreError> {
        let at = Row {
            table: "dead_letters",
            key: self.id,
        };
        let provider = self.provider.as_deref();
        let job = sealing::letter_job(self.notification_id, self.registration_id, provider);
        let raw = sealing::letter_raw(self.created_at);
        Ok(Brought {
            id: self.id,
            job: anew(keys, &job, self.job, &at, "job")?,
            raw: anew(keys, &raw, self.raw, &at, "raw")?,
        })
    }
}
