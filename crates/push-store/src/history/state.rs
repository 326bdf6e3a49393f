//! Where notifications stand: for `Prefer: wait`.

use std::collections::HashMap;

use push_core::id::NotificationId;
use push_core::status::{ProviderResult, Reason, Status};
use sqlx::FromRow;
use uuid::Uuid;

use super::{State, TABLE};
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;

const STATES: &str = "\
    SELECT history.notification_id, history.status, history.fcm_result, history.expo_result, history.reason, \
        history.attempts \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS wanted \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(wanted.id)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("STATES", STATES)];

impl Store {
    /// Where each stands. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn states(
        &self,
        ids: &[NotificationId],
    ) -> Result<HashMap<NotificationId, State>, StoreError> {
        let mut states = HashMap::with_capacity(ids.len());
        for some in ids.chunks(KEYS_MAX) {
            let rows: Vec<StateRow> = sqlx::query_as(STATES)
                .bind(bulk::ids(some)?)
                .fetch_all(&self.pool)
                .await?;
            for row in rows {
                states.insert(row.notification_id.into(), row.try_into()?);
            }
        }
        Ok(states)
    }
}

/// The columns of a [`State`]. Flattened into rows that hold more.
#[derive(FromRow)]
pub(super) struct StateRow {
    pub(super) notification_id: Uuid,
    status: String,
    fcm_result: String,
    expo_result: String,
    reason: Option<String>,
    attempts: u32,
}

impl TryFrom<StateRow> for State {
    type Error = StoreError;

    fn try_from(row: StateRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        Ok(Self {
            status: at.read("status", Status::from_spelling(&row.status))?,
            fcm: at.read("fcm_result", ProviderResult::from_spelling(&row.fcm_result))?,
            expo: at.read(
                "expo_result",
                ProviderResult::from_spelling(&row.expo_result),
            )?,
            reason: at.read_nullable("reason", row.reason, |text| Reason::from_spelling(&text))?,
            attempts: row.attempts,
        })
    }
}
