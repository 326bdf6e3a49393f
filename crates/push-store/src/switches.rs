//! The operators' levers: whether a provider is paused.

use chrono::{DateTime, Utc};
use push_core::provider::{PerProvider, Provider};
use sqlx::FromRow;

use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const TABLE: &str = "provider_switches";

const SWITCHES: &str = "SELECT provider, paused, changed_by, changed_at FROM provider_switches";

/// Who had it this way first stays named. The columns are set in the order of writing: `paused` last.
const SWITCH: &str = "\
    INSERT INTO provider_switches (provider, paused, changed_by, changed_at) VALUES (?, ?, ?, NOW(3)) \
    ON DUPLICATE KEY UPDATE \
        changed_by = IF(paused = VALUES(paused), changed_by, VALUES(changed_by)), \
        changed_at = IF(paused = VALUES(paused), changed_at, VALUES(changed_at)), \
        paused = VALUES(paused)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("SWITCHES", SWITCHES), ("SWITCH", SWITCH)];

/// How a provider's switch stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// Nothing is sent there.
    pub paused: bool,
    /// The API key of whoever changed it last.
    pub changed_by: Option<String>,
    /// When; `None`: never.
    pub changed_at: Option<DateTime<Utc>>,
}

impl Store {
    /// All switches. One that nobody ever touched is off.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switches(&self) -> Result<PerProvider<Switch>, StoreError> {
        let rows: Vec<SwitchRow> = sqlx::query_as(SWITCHES).fetch_all(&self.pool).await?;
        let mut switches = PerProvider::<Switch>::default();
        for row in rows {
            let at = Row {
                table: TABLE,
                key: &row.provider,
            };
            let provider = at.read("provider", Provider::from_spelling(&row.provider))?;
            *switches.get_mut(provider) = Switch {
                paused: row.paused,
                changed_by: row.changed_by,
                changed_at: Some(row.changed_at),
            };
        }
        Ok(switches)
    }

    /// Pauses a provider, or has it go on. Doing it twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switch(
        &self,
        provider: Provider,
        paused: bool,
        by: &str,
    ) -> Result<(), StoreError> {
        let by: String = by.chars().take(BY_CHARS_MAX).collect();
        sqlx::query(SWITCH)
            .bind(provider.as_str())
            .bind(paused)
            .bind(by)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// The width of `changed_by`.
const BY_CHARS_MAX: usize = 64;

#[derive(FromRow)]
struct SwitchRow {
    provider: String,
    paused: bool,
    changed_by: Option<String>,
    changed_at: DateTime<Utc>,
}
