//! How many dead letters there are, for the metrics.

use std::collections::BTreeMap;

use push_core::job::GiveUpReason;
use push_core::replay::LetterState;
use sqlx::FromRow;

use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const COUNTS: &str = "\
    SELECT state, reason, CAST(COUNT(*) AS SIGNED) AS letters \
    FROM dead_letters FORCE INDEX (by_state_reason) GROUP BY state, reason";

const RUNNING_COUNT: &str = "SELECT CAST(COUNT(*) AS SIGNED) FROM operations FORCE INDEX (state_oldest) WHERE state = 'running'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("COUNTS", COUNTS), ("RUNNING_COUNT", RUNNING_COUNT)];

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Dead letters; what is missing is none.
    pub by_state: BTreeMap<(LetterState, GiveUpReason), u64>,
    /// Operations that are not over.
    pub operations_running: u64,
}

impl Store {
    /// Counts the dead letters. Reads an index of the whole table: ask every minute, not at every scrape.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn letter_counts(&self) -> Result<LetterCounts, StoreError> {
        let rows: Vec<CountRow> = sqlx::query_as(COUNTS).fetch_all(&self.pool).await?;
        let running: i64 = sqlx::query_scalar(RUNNING_COUNT)
            .fetch_one(&self.pool)
            .await?;
        let by_state = rows.into_iter().map(CountRow::count);
        Ok(LetterCounts {
            by_state: by_state.collect::<Result<_, _>>()?,
            operations_running: u64::try_from(running).unwrap_or(0),
        })
    }
}

#[derive(FromRow)]
struct CountRow {
    state: String,
    reason: String,
    letters: i64,
}

impl CountRow {
    fn count(self) -> Result<((LetterState, GiveUpReason), u64), StoreError> {
        let at = Row {
            table: "dead_letters",
            key: "of a count",
        };
        let state = at.read("state", LetterState::from_spelling(&self.state))?;
        let reason = at.read("reason", GiveUpReason::from_spelling(&self.reason))?;
        Ok(((state, reason), u64::try_from(self.letters).unwrap_or(0)))
    }
}
