//! Which devices a push can go to.

use std::collections::HashMap;

use push_core::id::{CustomerId, DeviceId, RegistrationId};
use push_core::plan::Device;
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken};
use sqlx::FromRow;

use super::TABLE;
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;

const ACTIVE: &str = "\
    SELECT device.id, device.customer_id, device.device_id, device.platform, \
        IF(device.fcm_dead_at IS NULL, device.fcm_token, NULL) AS fcm_token, \
        IF(device.expo_dead_at IS NULL, device.expo_push_token, NULL) AS expo_push_token \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (customer_device) ON device.customer_id = wanted.id \
    WHERE device.is_active";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("ACTIVE", ACTIVE)];

impl Store {
    /// The devices of many customers in one query, with live tokens only. A device without a live
    /// token, and a customer without such a device, is left out. A row that cannot be read is logged and left
    /// out as well: one bad row must not stop the pushes to all others.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn active_devices(
        &self,
        customers: &[CustomerId],
    ) -> Result<HashMap<CustomerId, Vec<Device>>, StoreError> {
        let mut devices: HashMap<CustomerId, Vec<Device>> = HashMap::new();
        for some in customers.chunks(KEYS_MAX) {
            let rows: Vec<ActiveRow> = sqlx::query_as(ACTIVE)
                .bind(bulk::customers(some)?)
                .fetch_all(&self.pool)
                .await?;
            for row in rows {
                match row.read() {
                    Ok((
                        _,
                        Device {
                            fcm: None,
                            expo: None,
                            ..
                        },
                    )) => {}
                    Ok((customer, device)) => devices.entry(customer).or_default().push(device),
                    Err(error) => {
                        tracing::error!(%error, "a device cannot be read; no push goes there")
                    }
                }
            }
        }
        for devices in devices.values_mut() {
            devices.sort_unstable_by_key(|device| device.registration.0);
            devices.dedup_by_key(|device| device.registration);
        }
        Ok(devices)
    }
}

#[derive(FromRow)]
struct ActiveRow {
    id: u64,
    customer_id: i64,
    device_id: Option<String>,
    platform: String,
    fcm_token: Option<String>,
    expo_push_token: Option<String>,
}

impl ActiveRow {
    fn read(self) -> Result<(CustomerId, Device), StoreError> {
        let at = Row {
            table: TABLE,
            key: self.id,
        };
        let customer = at.read("customer_id", CustomerId::try_from(self.customer_id).ok())?;
        let device = Device {
            registration: RegistrationId(self.id),
            device_id: at
                .read_nullable("device_id", self.device_id, |id| DeviceId::parse(&id).ok())?,
            platform: at.read("platform", Platform::from_spelling(&self.platform))?,
            fcm: at.read_nullable("fcm_token", self.fcm_token, |token| {
                FcmToken::parse(&token).ok()
            })?,
            expo: at.read_nullable("expo_push_token", self.expo_push_token, |token| {
                ExpoToken::parse(&token).ok()
            })?,
        };
        Ok((customer, device))
    }
}
