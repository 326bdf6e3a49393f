//! Tokens under another key.

use push_core::provider::Provider;
use push_seal::Keyring;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};

use super::{anew, write_anew};
use crate::decode::Row;
use crate::error::StoreError;
use crate::sealing;

pub(super) const LOOK: &str = "\
    SELECT id, LEFT(fcm_token, 24) AS first, LEFT(expo_push_token, 24) AS second \
    FROM customer_push_tokens WHERE id > ? ORDER BY id LIMIT ?";

/// (MySQL locks no array, hence the inner SELECT.)
const LOCK_DEVICES: &str = "\
    SELECT device.id, device.customer_id, device.fcm_token, device.expo_push_token \
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (PRIMARY) ON device.id = wanted.id \
    FOR UPDATE";

/// What is NULL in the array stays. For everybody else nothing has changed.
const BRING_DEVICES: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id BIGINT UNSIGNED PATH '$.id', \
            fcm MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.fcm', \
            expo MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expo' \
        )) AS brought \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (PRIMARY) ON device.id = brought.id \
    SET device.fcm_token = COALESCE(brought.fcm, device.fcm_token), \
        device.expo_push_token = COALESCE(brought.expo, device.expo_push_token), \
        device.updated_at = device.updated_at";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOOK", LOOK),
    ("LOCK_DEVICES", LOCK_DEVICES),
    ("BRING_DEVICES", BRING_DEVICES),
];

pub(super) async fn bring(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    ids: &[u64],
) -> Result<(), StoreError> {
    let anew = |row: DeviceRow| row.bring(keys);
    write_anew(connection, LOCK_DEVICES, BRING_DEVICES, ids, anew).await
}

#[derive(FromRow)]
struct DeviceRow {
    id: u64,
    customer_id: i64,
    fcm_token: Option<String>,
    expo_push_token: Option<String>,
}

/// An element of [`BRING_DEVICES`]'s array.
#[derive(Serialize)]
struct Brought {
    id: u64,
    fcm: Option<String>,
    expo: Option<String>,
}

impl DeviceRow {
    fn bring(self, keys: &Keyring) -> Result<Brought, StoreError> {
        let at = Row {
            table: "customer_push_tokens",
            key: self.id,
        };
        let place = |provider| sealing::token(provider, self.customer_id);
        let (fcm, expo) = (place(Provider::Fcm), place(Provider::Expo));
        Ok(Brought {
            id: self.id,
            fcm: anew(keys, &fcm, self.fcm_token, &at, "fcm_token")?,
            expo: anew(keys, &expo, self.expo_push_token, &at, "expo_push_token")?,
        })
    }
}
