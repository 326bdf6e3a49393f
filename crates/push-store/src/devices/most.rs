//! How many devices a customer may have: every push goes to each of them.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, RegistrationId};
use sqlx::MySqlConnection;

use super::DEVICES_MAX;
use crate::bulk::{self, KEYS_MAX};
use crate::error::StoreError;

/// The active ones beyond so many others than the given one, those that were registered longest ago. Locks nothing: rows of
/// a registration that waits for this one are not waited for.
const TOO_MANY: &str = "\
    SELECT id FROM customer_push_tokens FORCE INDEX (customer_device) \
    WHERE customer_id = ? AND is_active AND id <> ? \
    ORDER BY registered_at DESC, id DESC LIMIT 1000000 OFFSET ?";

/// The columns are set in the order of writing.
const OFF_TOO_MANY: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS old \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (PRIMARY) ON device.id = old.id \
    SET device.is_active = FALSE, \
        device.fcm_off_because = IF(device.fcm_token IS NULL OR device.fcm_dead_at IS NOT NULL, \
            device.fcm_off_because, 'too_many'), \
        device.expo_off_because = IF(device.expo_push_token IS NULL OR device.expo_dead_at IS NOT NULL, \
            device.expo_off_because, 'too_many'), \
        device.fcm_dead_at = IF(device.fcm_token IS NULL, NULL, COALESCE(device.fcm_dead_at, ?)), \
        device.expo_dead_at = IF(device.expo_push_token IS NULL, NULL, COALESCE(device.expo_dead_at, ?)) \
    WHERE device.customer_id = ? AND device.is_active";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("TOO_MANY", TOO_MANY), ("OFF_TOO_MANY", OFF_TOO_MANY)];

/// Switches off what the customer has beyond [`DEVICES_MAX`] once `newest` is there. The customer has been counted up in
/// this transaction: so registrations of one customer come here one after the other, and each sees those before.
pub(super) async fn switch_off_too_many(
    connection: &mut MySqlConnection,
    customer: CustomerId,
    newest: RegistrationId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut old: Vec<u64> = sqlx::query_scalar(TOO_MANY)
        .bind(customer.get())
        .bind(newest.0)
        .bind(DEVICES_MAX - 1)
        .fetch_all(&mut *connection)
        .await?;
    old.sort_unstable();
    for some in old.chunks(KEYS_MAX) {
        sqlx::query(OFF_TOO_MANY)
            .bind(bulk::array(some)?)
            .bind(now)
            .bind(now)
            .bind(customer.get())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
