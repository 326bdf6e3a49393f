//! Content, and jobs that come next, under another key.

use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::{anew, left};
use crate::bulk;
use crate::decode::Row;
use crate::error::StoreError;
use crate::history::StoredContent;
use crate::history::content::{ContentRow, sealed};
use crate::sealing;

/// What retention or erasure has emptied is under no key.
pub(super) const LOOK: &str = "\
    SELECT id, IF(LENGTH(title) = 0 AND LENGTH(body) = 0 AND sealed IS NULL, NULL, COALESCE(LEFT(sealed, 24), '')) AS first, \
        LEFT(next_job, 24) AS second \
    FROM notification_history WHERE id > ? ORDER BY id LIMIT ?";

/// (MySQL locks no array, hence the inner SELECT.)
const LOCK_CONTENT: &str = "\
    SELECT history.id, history.notification_id, history.title, history.body, history.data, history.image_url, \
        history.sealed, history.next_job \
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (PRIMARY) ON history.id = wanted.id \
    FOR UPDATE";

const BRING_CONTENT: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id BIGINT UNSIGNED PATH '$.id', \
            title MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.title', \
            image_url MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.image_url', \
            body MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.body', \
            data MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.data', \
            sealed MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.sealed' \
        )) AS brought \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (PRIMARY) ON history.id = brought.id \
    SET history.title = brought.title, history.body = brought.body, history.data = brought.data, \
        history.image_url = brought.image_url, history.sealed = brought.sealed";

const BRING_JOBS: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id BIGINT UNSIGNED PATH '$.id', \
            job MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.job' \
        )) AS brought \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (PRIMARY) ON history.id = brought.id \
    SET history.next_job = brought.job";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOOK", LOOK),
    ("LOCK_CONTENT", LOCK_CONTENT),
    ("BRING_CONTENT", BRING_CONTENT),
    ("BRING_JOBS", BRING_JOBS),
];

pub(super) async fn bring(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    ids: &[u64],
) -> Result<(), StoreError> {
    let rows: Vec<HistoryRow> = sqlx::query_as(LOCK_CONTENT)
        .bind(bulk::array(ids)?)
        .fetch_all(&mut *connection)
        .await?;
    let (mut contents, mut jobs) = (Vec::new(), Vec::new());
    for row in rows {
        let at = Row {
            table: "notification_history",
            key: row.notification_id,
        };
        let place = sealing::next_job(row.notification_id);
        let job = anew(keys, &place, row.next_job, &at, "next_job")?;
        jobs.extend(job.map(|job| BroughtJob { id: row.id, job }));
        if !row.content.is_emptied() && row.content.key() != keys.sealing() {
            match row.content.open(keys, row.notification_id) {
                Ok(content) => {
                    contents.push(Brought::of(keys, row.id, row.notification_id, content)?);
                }
                Err(error) => left(error)?,
            }
        }
    }
    for some in bulk::arrays(&contents, ids.len())? {
        sqlx::query(BRING_CONTENT)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    for some in bulk::arrays(&jobs, ids.len())? {
        sqlx::query(BRING_JOBS)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct HistoryRow {
    id: u64,
    notification_id: Uuid,
    #[sqlx(flatten)]
    content: ContentRow,
    next_job: Option<String>,
}

/// An element of [`BRING_CONTENT`]'s array.
#[derive(Serialize)]
struct Brought {
    id: u64,
    title: String,
    image_url: Option<String>,
    body: String,
    data: Option<String>,
    sealed: Option<String>,
}

/// An element of [`BRING_JOBS`]'s array.
#[derive(Serialize)]
struct BroughtJob {
    id: u64,
    job: String,
}

impl Brought {
    fn of(
        keys: &Keyring,
        id: u64,
        notification: Uuid,
        content: StoredContent,
    ) -> Result<Self, StoreError> {
        Ok(match sealed(keys, notification, &content)? {
            Some(sealed) => Self {
                id,
                title: String::new(),
                image_url: None,
                body: String::new(),
                data: None,
                sealed: Some(sealed),
            },
            None => Self {
                id,
                title: content.title,
                image_url: content.image_url,
                body: content.body,
                // A map of strings always serializes.
                data: Some(serde_json::to_string(&content.data).unwrap_or_default()),
                sealed: None,
            },
        })
    }
}
