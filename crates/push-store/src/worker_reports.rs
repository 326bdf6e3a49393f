//! What the running workers tell of themselves. Time is the database's, so that no clocks have to agree.

use std::time::Duration;

use push_core::lane::WorkerReport;
use sqlx::FromRow;
use uuid::Uuid;

use crate::Store;
use crate::error::StoreError;

const REPORT: &str = "\
    INSERT INTO worker_reports (worker, report, seen_at) VALUES (?, ?, NOW(3)) \
    ON DUPLICATE KEY UPDATE report = VALUES(report), seen_at = VALUES(seen_at)";

/// Whoever said nothing for so long is gone.
const REPORTS: &str = "\
    SELECT worker, report, CAST(GREATEST(TIMESTAMPDIFF(MICROSECOND, seen_at, NOW(3)), 0) AS UNSIGNED) AS age_micros \
    FROM worker_reports WHERE seen_at >= NOW(3) - INTERVAL 10 SECOND ORDER BY worker LIMIT 1000";

const FORGET: &str = "DELETE FROM worker_reports WHERE worker = ?";

const FORGET_GONE: &str =
    "DELETE FROM worker_reports WHERE seen_at < NOW(3) - INTERVAL 60 SECOND LIMIT 1000";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("REPORT", REPORT),
    ("REPORTS", REPORTS),
    ("FORGET", FORGET),
    ("FORGET_GONE", FORGET_GONE),
];

/// A worker, and what it told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenWorker {
    /// Its process.
    pub worker: Uuid,
    /// What it told.
    pub report: WorkerReport,
    /// How long ago, by the database's clock.
    pub age: Duration,
}

impl Store {
    /// A worker tells of itself, and removes those that are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn report_worker(
        &self,
        worker: Uuid,
        report: &WorkerReport,
    ) -> Result<(), StoreError> {
        let report = serde_json::to_string(report)
            .map_err(|_| StoreError::Unusable("a report could not be written as JSON"))?;
        sqlx::query(REPORT)
            .bind(worker)
            .bind(report)
            .execute(&self.pool)
            .await?;
        sqlx::query(FORGET_GONE).execute(&self.pool).await?;
        Ok(())
    }

    /// A worker takes its leave.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then it is seen for some seconds more.
    pub async fn forget_worker(&self, worker: Uuid) -> Result<(), StoreError> {
        sqlx::query(FORGET).bind(worker).execute(&self.pool).await?;
        Ok(())
    }

    /// The workers that run. What a newer program wrote and this one cannot read is left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn workers(&self) -> Result<Vec<SeenWorker>, StoreError> {
        let rows: Vec<ReportRow> = sqlx::query_as(REPORTS).fetch_all(&self.pool).await?;
        let seen = rows.into_iter().filter_map(|row| {
            Some(SeenWorker {
                worker: row.worker,
                report: serde_json::from_str(&row.report).ok()?,
                age: Duration::from_micros(row.age_micros),
            })
        });
        Ok(seen.collect())
    }
}

#[derive(FromRow)]
struct ReportRow {
    worker: Uuid,
    report: String,
    age_micros: u64,
}
