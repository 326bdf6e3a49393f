//! Which devices a push can go to, what the customer wants, and at which version that is so.

use std::collections::HashMap;

use push_core::changed::CustomerVersion;
use push_core::id::{CustomerId, DeviceId, RegistrationId};
use push_core::plan::Device;
use push_core::preferences::Preferences;
use push_core::provider::{Platform, Provider};
use push_core::token::{ExpoToken, FcmToken};
use push_seal::Keyring;
use sqlx::FromRow;

use super::{Customer, TABLE, open_token};
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;
use crate::preferences::PreferencesRow;

/// One statement, so that version, preferences and devices are of one moment.
const ACTIVE: &str = "\
    SELECT wanted.id AS customer_id, customer.version, \
        device.id, device.device_id, device.platform, \
        IF(device.fcm_dead_at IS NULL, device.fcm_token, NULL) AS fcm_token, \
        IF(device.expo_dead_at IS NULL, device.expo_push_token, NULL) AS expo_push_token, \
        preference.push_enabled, preference.types, preference.quiet_start, preference.quiet_end, preference.time_zone, \
        preference.locale \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted \
    LEFT JOIN customer_push_tokens AS device FORCE INDEX (customer_device) \
        ON device.customer_id = wanted.id AND device.is_active \
    LEFT JOIN customer_versions AS customer ON customer.customer_id = wanted.id \
    LEFT JOIN notification_preferences AS preference ON preference.customer_id = wanted.id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("ACTIVE", ACTIVE)];

impl Store {
    /// Many customers with their devices and preferences in one query: an entry for each, whether it has any or not. A row
    /// that cannot be read is logged and left out: one bad row must not stop the pushes to all others.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn customers(
        &self,
        customers: &[CustomerId],
    ) -> Result<HashMap<CustomerId, Customer>, StoreError> {
        self.opening(|keys| self.customers_with(keys, customers))
            .await
    }

    async fn customers_with(
        &self,
        keys: Keyring,
        customers: &[CustomerId],
    ) -> Result<HashMap<CustomerId, Customer>, StoreError> {
        let mut found = HashMap::with_capacity(customers.len());
        for some in customers.chunks(KEYS_MAX) {
            let rows: Vec<ActiveRow> = sqlx::query_as(ACTIVE)
                .bind(bulk::customers(some)?)
                .fetch_all(&self.pool)
                .await?;
            for row in rows {
                let Ok(id) = CustomerId::try_from(row.customer_id) else {
                    continue;
                };
                let customer = found.entry(id).or_insert_with(|| Customer {
                    version: CustomerVersion(row.version.unwrap_or_default()),
                    preferences: row.preferences(id),
                    devices: Vec::new(),
                    off: Vec::new(),
                });
                match row.device(&keys) {
                    Ok(device) => customer.devices.extend(device),
                    // It could be read with the key: to take it for no device would lose a push.
                    Err(error) if error.is_unavailable() => return Err(error),
                    Err(error) => {
                        tracing::error!(%error, "a device cannot be read; no push goes there")
                    }
                }
            }
        }
        for some in customers.chunks(KEYS_MAX) {
            for (id, off) in self.tokens_off(some).await? {
                if let Some(customer) = found.get_mut(&id) {
                    customer.off.push(off);
                }
            }
        }
        for customer in found.values_mut() {
            customer
                .devices
                .sort_unstable_by_key(|device| device.registration.0);
            customer.devices.dedup_by_key(|device| device.registration);
        }
        Ok(found)
    }
}

#[derive(FromRow)]
struct ActiveRow {
    customer_id: i64,
    /// `None`: the customer never changed.
    version: Option<u64>,
    /// `None`: the customer has no active device.
    id: Option<u64>,
    device_id: Option<String>,
    platform: Option<String>,
    fcm_token: Option<String>,
    expo_push_token: Option<String>,
    #[sqlx(flatten)]
    preferences: PreferencesRow,
}

impl ActiveRow {
    fn preferences(&self, customer: CustomerId) -> Preferences {
        let preferences = self.preferences.clone().read(customer);
        preferences.unwrap_or_else(|error| {
            tracing::error!(%error, "preferences cannot be read; taken as if there were none");
            Preferences::default()
        })
    }

    /// The device, if there is one that can be reached.
    fn device(self, keys: &Keyring) -> Result<Option<Device>, StoreError> {
        let Some(id) = self.id else {
            return Ok(None);
        };
        let at = Row {
            table: TABLE,
            key: id,
        };
        let customer = self.customer_id;
        let (fcm, expo) = (self.fcm_token, self.expo_push_token);
        let open = |token, provider| open_token(keys, token, provider, customer, &at);
        let platform = self.platform.as_deref().and_then(Platform::from_spelling);
        let device = Device {
            registration: RegistrationId(id),
            device_id: at
                .read_nullable("device_id", self.device_id, |id| DeviceId::parse(&id).ok())?,
            platform: at.read("platform", platform)?,
            fcm: at.read_nullable("fcm_token", open(fcm, Provider::Fcm)?, |token| {
                FcmToken::parse(&token).ok()
            })?,
            expo: at.read_nullable("expo_push_token", open(expo, Provider::Expo)?, |token| {
                ExpoToken::parse(&token).ok()
            })?,
        };
        Ok(Some(device).filter(|device| device.fcm.is_some() || device.expo.is_some()))
    }
}
