//! How operations stand.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::{OperationId, OperationState, OperationView, Parameters};
use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const OPERATION: &str = "\
    SELECT operation_id, kind, state, parameters, total, done, failed, failures, created_by, created_at, finished_at, \
        CAST((SELECT COUNT(*) FROM operation_letters AS waiting \
            WHERE waiting.operation_id = operations.operation_id) AS SIGNED) AS waiting \
    FROM operations WHERE operation_id = ?";

const OPERATIONS: &str = "\
    SELECT operation_id, kind, state, parameters, total, done, failed, failures, created_by, created_at, finished_at, \
        CAST((SELECT COUNT(*) FROM operation_letters AS waiting \
            WHERE waiting.operation_id = operations.operation_id) AS SIGNED) AS waiting \
    FROM operations FORCE INDEX (PRIMARY) WHERE operation_id < ? ORDER BY operation_id DESC LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("OPERATION", OPERATION), ("OPERATIONS", OPERATIONS)];

impl Store {
    /// The operation; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn operation(&self, id: OperationId) -> Result<Option<OperationView>, StoreError> {
        let row: Option<OperationRow> = sqlx::query_as(OPERATION)
            .bind(id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(OperationRow::view).transpose()
    }

    /// The newest `limit` operations that are older than `before`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn operations(
        &self,
        before: Option<OperationId>,
        limit: u32,
    ) -> Result<Vec<OperationView>, StoreError> {
        let rows: Vec<OperationRow> = sqlx::query_as(OPERATIONS)
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(OperationRow::view).collect()
    }
}

#[derive(FromRow)]
struct OperationRow {
    operation_id: Uuid,
    kind: String,
    state: String,
    parameters: Option<String>,
    total: u64,
    done: u64,
    failed: u64,
    failures: Option<Json<BTreeMap<String, u64>>>,
    created_by: Option<String>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    waiting: i64,
}

impl OperationRow {
    fn view(self) -> Result<OperationView, StoreError> {
        let at = Row {
            table: "operations",
            key: self.operation_id,
        };
        // A newer program may have written what this one does not know.
        let parameters: Option<Parameters> = self
            .parameters
            .and_then(|parameters| serde_json::from_str(&parameters).ok());
        let (work, filter, per_second) = match parameters {
            Some(known) => (Some(known.work), known.filter, known.per_second),
            None => (None, crate::Filter::default(), 0),
        };
        Ok(OperationView {
            id: OperationId(self.operation_id),
            work,
            kind: self.kind,
            state: at.read("state", OperationState::from_spelling(&self.state))?,
            total: self.total,
            done: self.done,
            failed: self.failed,
            failures: self.failures.map(|failures| failures.0).unwrap_or_default(),
            waiting: u64::try_from(self.waiting).unwrap_or(0),
            filter,
            per_second,
            by: self.created_by,
            created_at: self.created_at,
            finished_at: self.finished_at,
        })
    }
}
