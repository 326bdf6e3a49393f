//! Switching devices and tokens off.

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::provider::Provider;
use push_core::token::Token;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::Identification;
use crate::Store;
use crate::bulk::{KEYS_MAX, push_in};
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

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("OFF_DEVICE", OFF_DEVICE),
    ("OFF_FCM", OFF_FCM),
    ("OFF_EXPO", OFF_EXPO),
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

    /// Switches dead tokens off (P5); `now` is when the provider said so: what an app registered
    /// after that stands. Returns the customers whose devices changed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn switch_off(
        &self,
        tokens: &[Token],
        now: DateTime<Utc>,
    ) -> Result<Vec<CustomerId>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.switch_off_once(tokens, now).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn switch_off_once(
        &self,
        tokens: &[Token],
        now: DateTime<Utc>,
    ) -> Result<Vec<CustomerId>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let customers = switch_off_in(&mut transaction, tokens, now).await?;
        transaction.commit().await?;
        Ok(customers)
    }
}

/// [`Store::switch_off`] within a transaction.
pub(crate) async fn switch_off_in(
    connection: &mut MySqlConnection,
    tokens: &[Token],
    at: DateTime<Utc>,
) -> Result<Vec<CustomerId>, StoreError> {
    let mut customers = Vec::new();
    for provider in Provider::ALL {
        let mut hashes: Vec<Vec<u8>> = tokens
            .iter()
            .filter(|token| token.provider() == *provider)
            .map(|token| hash::of_token(token.reveal()))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        for some in hashes.chunks(KEYS_MAX) {
            let owners: Vec<i64> = select_owners(*provider, some, at)
                .build_query_scalar()
                .persistent(false)
                .fetch_all(&mut *connection)
                .await?;
            if owners.is_empty() {
                continue;
            }
            update_off(*provider, some, at)
                .build()
                .persistent(false)
                .execute(&mut *connection)
                .await?;
            customers.extend(
                owners
                    .into_iter()
                    .filter_map(|id| CustomerId::try_from(id).ok()),
            );
        }
    }
    customers.sort_unstable();
    customers.dedup();
    Ok(customers)
}

/// Whose live tokens these are; locks them in the order of the key.
pub(crate) fn select_owners(
    provider: Provider,
    hashes: &[Vec<u8>],
    at: DateTime<Utc>,
) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(match provider {
        Provider::Fcm => {
            "SELECT customer_id FROM customer_push_tokens FORCE INDEX (fcm_token_once) \
             WHERE fcm_dead_at IS NULL AND registered_at <= "
        }
        Provider::Expo => {
            "SELECT customer_id FROM customer_push_tokens FORCE INDEX (expo_token_once) \
             WHERE expo_dead_at IS NULL AND registered_at <= "
        }
    });
    query.push_bind(millis(at)).push(match provider {
        Provider::Fcm => " AND fcm_token_hash",
        Provider::Expo => " AND expo_token_hash",
    });
    push_in(&mut query, hashes.iter().cloned());
    query.push(" FOR UPDATE");
    query
}

/// Switches the tokens off, and their devices where no live token is left.
pub(crate) fn update_off(
    provider: Provider,
    hashes: &[Vec<u8>],
    at: DateTime<Utc>,
) -> QueryBuilder<MySql> {
    let (off, rest) = match provider {
        Provider::Fcm => (
            "UPDATE customer_push_tokens FORCE INDEX (fcm_token_once) SET \
             is_active = (is_active AND expo_push_token IS NOT NULL AND expo_dead_at IS NULL), fcm_dead_at = ",
            " WHERE fcm_dead_at IS NULL AND registered_at <= ",
        ),
        Provider::Expo => (
            "UPDATE customer_push_tokens FORCE INDEX (expo_token_once) SET \
             is_active = (is_active AND fcm_token IS NOT NULL AND fcm_dead_at IS NULL), expo_dead_at = ",
            " WHERE expo_dead_at IS NULL AND registered_at <= ",
        ),
    };
    let mut query = QueryBuilder::new(off);
    query
        .push_bind(millis(at))
        .push(rest)
        .push_bind(millis(at))
        .push(match provider {
            Provider::Fcm => " AND fcm_token_hash",
            Provider::Expo => " AND expo_token_hash",
        });
    push_in(&mut query, hashes.iter().cloned());
    query
}
