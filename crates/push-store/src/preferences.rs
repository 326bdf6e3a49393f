//! `notification_preferences`: what a customer wants to get, and when. No row: everything, always.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::changed::Changed;
use push_core::id::CustomerId;
use push_core::locale::Locale;
use push_core::notification::NotificationType;
use push_core::preferences::{Preferences, QuietHours, TimeOfDay, zone};
use sqlx::FromRow;
use sqlx::types::Json;

use crate::Store;
use crate::decode::{Row, millis};
use crate::devices::version::count_up;
use crate::error::StoreError;
use crate::quiet;
use crate::retry::Tries;

const TABLE: &str = "notification_preferences";

const PREFERENCES: &str = "\
    SELECT push_enabled, types, quiet_start, quiet_end, time_zone, locale \
    FROM notification_preferences WHERE customer_id = ?";

const SET_PREFERENCES: &str = "\
    INSERT INTO notification_preferences (customer_id, push_enabled, types, quiet_start, quiet_end, time_zone, locale, \
        updated_at) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
    ON DUPLICATE KEY UPDATE push_enabled = VALUES(push_enabled), types = VALUES(types), \
        quiet_start = VALUES(quiet_start), quiet_end = VALUES(quiet_end), time_zone = VALUES(time_zone), \
        locale = VALUES(locale), updated_at = VALUES(updated_at)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("PREFERENCES", PREFERENCES),
    ("SET_PREFERENCES", SET_PREFERENCES),
];

impl Store {
    /// What the customer wants; `None`: never said anything.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn preferences(
        &self,
        customer: CustomerId,
    ) -> Result<Option<Preferences>, StoreError> {
        let row: Option<PreferencesRow> = sqlx::query_as(PREFERENCES)
            .bind(customer.get())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| row.read(customer)).transpose()
    }

    /// From now on the customer wants this, and nothing of what was said before. Whoever has read the customer at an
    /// earlier version finds out by the version that is returned. What waits for the end of quiet hours is due now, and
    /// judged again.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn set_preferences(
        &self,
        customer: CustomerId,
        preferences: &Preferences,
        now: DateTime<Utc>,
    ) -> Result<Vec<Changed>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.set_preferences_once(customer, preferences, now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn set_preferences_once(
        &self,
        customer: CustomerId,
        preferences: &Preferences,
        now: DateTime<Utc>,
    ) -> Result<Vec<Changed>, StoreError> {
        let quiet = preferences.quiet_hours.as_ref();
        let mut transaction = self.pool.begin().await?;
        sqlx::query(SET_PREFERENCES)
            .bind(customer.get())
            .bind(preferences.push_enabled)
            .bind(Json(&preferences.types))
            .bind(quiet.map(|quiet| quiet.start().to_string()))
            .bind(quiet.map(|quiet| quiet.end().to_string()))
            .bind(quiet.map(|quiet| quiet.zone().name()))
            .bind(preferences.locale.as_ref().map(Locale::as_str))
            .bind(millis(now))
            .execute(&mut *transaction)
            .await?;
        let changed = count_up(&mut transaction, &[customer]).await?;
        quiet::release_all(&mut transaction, customer, now).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

/// The columns of [`Preferences`]; all are NULL where there is no row.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct PreferencesRow {
    push_enabled: Option<bool>,
    types: Option<Json<BTreeMap<String, bool>>>,
    quiet_start: Option<String>,
    quiet_end: Option<String>,
    time_zone: Option<String>,
    locale: Option<String>,
}

impl PreferencesRow {
    pub(crate) fn read(self, customer: CustomerId) -> Result<Preferences, StoreError> {
        let at = Row {
            table: TABLE,
            key: customer,
        };
        let types = self.types.map(|types| types.0).unwrap_or_default();
        let types = types.into_iter().map(|(kind, wanted)| {
            let kind = NotificationType::parse(&kind).ok();
            Ok((at.read("types", kind)?, wanted))
        });
        let quiet_hours = match (self.quiet_start, self.quiet_end, self.time_zone) {
            (Some(start), Some(end), Some(name)) => {
                let start = at.read("quiet_start", TimeOfDay::parse(&start).ok())?;
                let end = at.read("quiet_end", TimeOfDay::parse(&end).ok())?;
                let zone = at.read("time_zone", zone(&name).ok())?;
                Some(at.read("quiet_end", QuietHours::new(start, end, zone).ok())?)
            }
            (None, _, _) | (_, None, _) | (_, _, None) => None,
        };
        Ok(Preferences {
            push_enabled: self.push_enabled.unwrap_or(true),
            types: types.collect::<Result<_, StoreError>>()?,
            quiet_hours,
            locale: at
                .read_nullable("locale", self.locale, |locale| Locale::parse(&locale).ok())?,
        })
    }
}
