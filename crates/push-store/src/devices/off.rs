//! Switching devices and tokens off.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use push_core::changed::Changed;
use push_core::id::CustomerId;
use push_core::provider::Provider;
use push_core::token::Token;
use serde::Serialize;
use sqlx::MySqlConnection;

use super::Identification;
use super::version::{count_up, versions_in};
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::millis;
use crate::error::StoreError;
use crate::hash;
use crate::retry::Tries;

/// The columns are set in the order of writing.
const OFF_DEVICE: &str = "\
    UPDATE customer_push_tokens SET is_active = FALSE, \
        fcm_off_because = IF(fcm_token IS NULL OR fcm_dead_at IS NOT NULL, fcm_off_because, 'unregistered'), \
        expo_off_because = IF(expo_push_token IS NULL OR expo_dead_at IS NOT NULL, expo_off_because, 'unregistered'), \
        fcm_dead_at = IF(fcm_token IS NULL, NULL, COALESCE(fcm_dead_at, ?)), \
        expo_dead_at = IF(expo_push_token IS NULL, NULL, COALESCE(expo_dead_at, ?)) \
    WHERE customer_id = ? AND device_id = ? AND is_active";

const OFF_FCM: &str = "\
    UPDATE customer_push_tokens SET fcm_dead_at = ?, fcm_off_because = 'unregistered', \
        is_active = (is_active AND expo_push_token IS NOT NULL AND expo_dead_at IS NULL) \
    WHERE fcm_token_hash = ? AND customer_id = ? AND fcm_dead_at IS NULL";

const OFF_EXPO: &str = "\
    UPDATE customer_push_tokens SET expo_dead_at = ?, expo_off_because = 'unregistered', \
        is_active = (is_active AND fcm_token IS NOT NULL AND fcm_dead_at IS NULL) \
    WHERE expo_token_hash = ? AND customer_id = ? AND expo_dead_at IS NULL";

// Whose tokens these are, and whether they are alive, locked in the order of the key; then the live ones are switched
// off, and their devices where no live token is left. (MySQL refuses `FOR UPDATE` for an array, hence the inner SELECT.)

const FCM_OWNERS: &str = "\
    SELECT device.customer_id, device.fcm_dead_at IS NULL AS alive \
    FROM (SELECT UNHEX(hash) AS hash, CAST(died AS DATETIME(3)) AS died FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS listed) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (fcm_token_once) \
        ON device.fcm_token_hash = dead.hash \
    WHERE device.registered_at <= dead.died \
    FOR UPDATE";

const FCM_DEAD: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (fcm_token_once) \
        ON device.fcm_token_hash = UNHEX(dead.hash) \
    SET device.fcm_dead_at = CAST(dead.died AS DATETIME(3)), device.fcm_off_because = 'reported_dead', \
        device.is_active = (device.is_active AND device.expo_push_token IS NOT NULL AND device.expo_dead_at IS NULL) \
    WHERE device.fcm_dead_at IS NULL AND device.registered_at <= CAST(dead.died AS DATETIME(3))";

const EXPO_OWNERS: &str = "\
    SELECT device.customer_id, device.expo_dead_at IS NULL AS alive \
    FROM (SELECT UNHEX(hash) AS hash, CAST(died AS DATETIME(3)) AS died FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS listed) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (expo_token_once) \
        ON device.expo_token_hash = dead.hash \
    WHERE device.registered_at <= dead.died \
    FOR UPDATE";

const EXPO_DEAD: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (hash CHAR(64) PATH '$.hash', died CHAR(23) PATH '$.died')) AS dead \
    STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (expo_token_once) \
        ON device.expo_token_hash = UNHEX(dead.hash) \
    SET device.expo_dead_at = CAST(dead.died AS DATETIME(3)), device.expo_off_because = 'reported_dead', \
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
    /// The change, when anything was on. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn unregister(
        &self,
        customer: CustomerId,
        identification: &Identification,
        now: DateTime<Utc>,
    ) -> Result<Option<Changed>, StoreError> {
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
    ) -> Result<Option<Changed>, StoreError> {
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
        let changed = if off > 0 {
            count_up(&mut transaction, &[customer]).await?
        } else {
            Vec::new()
        };
        transaction.commit().await?;
        Ok(changed.into_iter().next())
    }

    /// Switches dead tokens off (P5), and says whose they are: those that were off already included, because whoever
    /// switched them off may not have come to tell.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switch_off(&self, dead: &[DeadToken]) -> Result<Vec<SwitchedOff>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.switch_off_once(dead).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn switch_off_once(&self, dead: &[DeadToken]) -> Result<Vec<SwitchedOff>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let mut owners = switch_off_in(&mut transaction, dead).await?;
        let customers: Vec<_> = owners.keys().copied().collect();
        let versions = versions_in(&mut transaction, &customers).await?;
        transaction.commit().await?;
        let told = versions.into_iter().map(|changed| SwitchedOff {
            changed,
            just_now: owners.remove(&changed.customer).unwrap_or(false),
        });
        Ok(told.collect())
    }
}

/// An owner of dead tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchedOff {
    /// The customer, and the version at which the tokens are known to be dead.
    pub changed: Changed,
    /// Whether this call did it, and nothing else: the version before is as good, for who knows of these tokens.
    pub just_now: bool,
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

/// Owners of dead tokens, and of each whether any of the tokens was alive.
type Owners = HashMap<CustomerId, bool>;

/// [`Store::switch_off`] within a transaction.
pub(crate) async fn switch_off_in(
    connection: &mut MySqlConnection,
    dead: &[DeadToken],
) -> Result<Owners, StoreError> {
    let mut owners = Owners::new();
    for provider in Provider::ALL {
        let of_it = dead
            .iter()
            .filter(|dead| dead.token.provider() == *provider);
        let keys = of_it.map(DeadKey::of);
        switch_off_keys(connection, *provider, keys, &mut owners).await?;
    }
    count_up(connection, &changed(&owners)).await?;
    Ok(owners)
}

/// The same for tokens of one provider that are known by their keys. The customers whose devices changed.
pub(crate) async fn switch_off_keys_in(
    connection: &mut MySqlConnection,
    provider: Provider,
    dead: impl Iterator<Item = DeadKey>,
) -> Result<Vec<CustomerId>, StoreError> {
    let mut owners = Owners::new();
    switch_off_keys(connection, provider, dead, &mut owners).await?;
    let changed = changed(&owners);
    count_up(connection, &changed).await?;
    Ok(changed)
}

async fn switch_off_keys(
    connection: &mut MySqlConnection,
    provider: Provider,
    dead: impl Iterator<Item = DeadKey>,
    owners: &mut Owners,
) -> Result<(), StoreError> {
    let (find, switch_off) = match provider {
        Provider::Fcm => (FCM_OWNERS, FCM_DEAD),
        Provider::Expo => (EXPO_OWNERS, EXPO_DEAD),
    };
    for some in rows_of(dead).chunks(KEYS_MAX) {
        let some = bulk::array(some)?;
        let found: Vec<(i64, bool)> = sqlx::query_as(find)
            .bind(&some)
            .fetch_all(&mut *connection)
            .await?;
        if found.iter().any(|(_, alive)| *alive) {
            sqlx::query(switch_off)
                .bind(&some)
                .execute(&mut *connection)
                .await?;
        }
        for (customer, alive) in found {
            if let Ok(customer) = CustomerId::try_from(customer) {
                *owners.entry(customer).or_default() |= alive;
            }
        }
    }
    Ok(())
}

/// Those who lost a token that was alive.
fn changed(owners: &Owners) -> Vec<CustomerId> {
    let changed = owners.iter().filter(|(_, alive)| **alive);
    let mut changed: Vec<_> = changed.map(|(customer, _)| *customer).collect();
    changed.sort_unstable();
    changed
}
