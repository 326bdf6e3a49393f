//! Switching devices and tokens off.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::provider::Provider;
use push_core::token::Token;
use serde::Serialize;
use sqlx::MySqlConnection;

use super::Identification;
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::millis;
use crate::error::StoreError;
use crate::hash;
use crate::retry::Tries;

const OFF_DEVICE: &str = "\
    UPDATE customer_push_tokens SET is_active = FALSE, \
        fcm_dead_at = IF(fcm_token IS NULL, NULL, COALESCE(fcm_dead_at, ?)), \
        expo_dead_at = IF(expo_push_token IS NULL, NULL, COALESCE(expo_dead_at, ?)) \
    WHERE customer_id = ? AND device_id = ? AND is_active";

const OFF_FCM: &str = "\
    UPDATE customer_push_tokens SET fcm_dead_at = ?, \
        is_active = (is_active AND expo_push_token IS NOT NULL AND expo_dead_at IS NULL) \
    WHERE fcm_token_hash = ? AND customer_id = ? AND fcm_dead_at IS NULL";

const OFF_EXPO: &str = "\
    UPDATE customer_push_tokens SET expo_dead_at = ?, \
        is_active = (is_active AND fcm_token IS NOT NULL AND fcm_dead_at IS NULL) \
    WHERE expo_token_hash = ? AND customer_id = ? AND expo_dead_at IS NULL";

// Whose live tokens these are, locked in the order of the key; then they are switched off, and their devices where
// no live token is left. (MySQL refuses `FOR UPDATE` for an array, hence the inner SELECT.)

const FCM_OWNERS: &str = "\
    SELECT device.customer_id \
    FROM (SELECT UNHEX(hash) AS hash, CAST(died AS DATETIME(3)) AS died FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS listed) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (fcm_token_once) \
        ON device.fcm_token_hash = dead.hash \
    WHERE device.fcm_dead_at IS NULL AND device.registered_at <= dead.died \
    FOR UPDATE";

const FCM_DEAD: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (fcm_token_once) \
        ON device.fcm_token_hash = UNHEX(dead.hash) \
    SET device.fcm_dead_at = CAST(dead.died AS DATETIME(3)), \
        device.is_active = (device.is_active AND device.expo_push_token IS NOT NULL AND device.expo_dead_at IS NULL) \
    WHERE device.fcm_dead_at IS NULL AND device.registered_at <= CAST(dead.died AS DATETIME(3))";

const EXPO_OWNERS: &str = "\
    SELECT device.customer_id \
    FROM (SELECT UNHEX(hash) AS hash, CAST(died AS DATETIME(3)) AS died FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS listed) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (expo_token_once) \
        ON device.expo_token_hash = dead.hash \
    WHERE device.expo_dead_at IS NULL AND device.registered_at <= dead.died \
    FOR UPDATE";

const EXPO_DEAD: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (expo_token_once) \
        ON device.expo_token_hash = UNHEX(dead.hash) \
    SET device.expo_dead_at = CAST(dead.died AS DATETIME(3)), \
        device.is_active = (device.is_active AND device.fcm_token IS NOT NULL AND device.fcm_dead_at IS NULL) \
    WHERE device.expo_dead_at IS NULL AND device.registered_at <= CAST(dead.died AS DATETIME(3))";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("OFF_DEVICE", OFF_DEVICE),
    ("OFF_FCM", OFF_FCM),
    ("OFF_EXPO", OFF_EXPO),
    ("FCM_OWNERS", FCM_OWNERS),
    ("FCM_DEAD", FCM_DEAD),
    ("EXPO_OWNERS", EXPO_OWNERS),
    ("EXPO_DEAD", EXPO_DEAD),
];

impl Store {
    /// Switches off what the customer identifies: the whole device by its id, a single token by itself.
    /// `true` when anything was on. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn unregister(
        &self,
        customer: CustomerId,
        identification: &Identification,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.unregister_once(customer, identification, now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn unregister_once(
        &self,
        customer: CustomerId,
        identification: &Identification,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let now = millis(now);
        let mut transaction = self.pool.begin().await?;
        let mut off = 0;
        if let Some(device_id) = &identification.device_id {
            off += sqlx::query(OFF_DEVICE)
                .bind(now)
                .bind(now)
                .bind(customer.get())
                .bind(device_id.as_str())
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        }
        let fcm = identification
            .fcm
            .as_ref()
            .map(|token| (OFF_FCM, token.reveal()));
        let expo = identification
            .expo
            .as_ref()
            .map(|token| (OFF_EXPO, token.reveal()));
        for (statement, token) in fcm.into_iter().chain(expo) {
            off += sqlx::query(statement)
                .bind(now)
                .bind(hash::of_token(token))
                .bind(customer.get())
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        }
        transaction.commit().await?;
        Ok(off > 0)
    }

    /// Switches dead tokens off (P5). Returns the customers whose devices changed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switch_off(&self, dead: &[DeadToken]) -> Result<Vec<CustomerId>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.switch_off_once(dead).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn switch_off_once(&self, dead: &[DeadToken]) -> Result<Vec<CustomerId>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let customers = switch_off_in(&mut transaction, dead).await?;
        transaction.commit().await?;
        Ok(customers)
    }
}

/// A token that its provider has reported as dead.
#[derive(Debug, Clone)]
pub struct DeadToken {
    /// The token.
    pub token: Token,
    /// When the provider said so: what an app registered after that stands.
    pub at: DateTime<Utc>,
}

/// A dead token of which only the key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadKey {
    /// The token's hash.
    pub(crate) hash: Vec<u8>,
    /// What an app registered after this stands.
    pub(crate) at: DateTime<Utc>,
}

impl DeadKey {
    fn of(dead: &DeadToken) -> Self {
        Self {
            hash: hash::of_token(dead.token.reveal()),
            at: dead.at,
        }
    }
}

/// An element of the statements' array.
#[derive(Serialize)]
struct DeadRow {
    hash: String,
    died: String,
}

/// In the order of the key, each with the last report of its death.
fn rows_of(dead: impl Iterator<Item = DeadKey>) -> Vec<DeadRow> {
    let mut last: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    for dead in dead {
        let at = last.entry(bulk::hex(&dead.hash)).or_insert(dead.at);
        *at = dead.at.max(*at);
    }
    last.into_iter()
        .map(|(hash, at)| DeadRow {
            hash,
            died: bulk::time(at),
        })
        .collect()
}

/// [`Store::switch_off`] within a transaction.
pub(crate) async fn switch_off_in(
    connection: &mut MySqlConnection,
    dead: &[DeadToken],
) -> Result<Vec<CustomerId>, StoreError> {
    let mut customers = Vec::new();
    for provider in Provider::ALL {
        let of_it = dead
            .iter()
            .filter(|dead| dead.token.provider() == *provider);
        let keys = of_it.map(DeadKey::of);
        customers.extend(switch_off_keys_in(connection, *provider, keys).await?);
    }
    customers.sort_unstable();
    customers.dedup();
    Ok(customers)
}

/// The same for tokens of one provider that are known by their keys.
pub(crate) async fn switch_off_keys_in(
    connection: &mut MySqlConnection,
    provider: Provider,
    dead: impl Iterator<Item = DeadKey>,
) -> Result<Vec<CustomerId>, StoreError> {
    let mut customers = Vec::new();
    let (owners, switch_off) = match provider {
        Provider::Fcm => (FCM_OWNERS, FCM_DEAD),
        Provider::Expo => (EXPO_OWNERS, EXPO_DEAD),
    };
    for some in rows_of(dead).chunks(KEYS_MAX) {
        let some = bulk::array(some)?;
        let owners: Vec<i64> = sqlx::query_scalar(owners)
            .bind(&some)
            .fetch_all(&mut *connection)
            .await?;
        if owners.is_empty() {
            continue;
        }
        sqlx::query(switch_off)
            .bind(&some)
            .execute(&mut *connection)
            .await?;
        let owners = owners.into_iter().map(CustomerId::try_from);
        customers.extend(owners.filter_map(Result::ok));
    }
    customers.sort_unstable();
    customers.dedup();
    Ok(customers)
}
