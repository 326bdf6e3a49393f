//! `customers`: the booking backend's table, of which we know the id only.

use std::collections::HashSet;

use push_core::id::CustomerId;
use sqlx::MySqlConnection;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::error::StoreError;

/// The id is cast because the table may not be ours, and its id `INT`.
const KNOWN: &str = "\
    SELECT CAST(customers.id AS SIGNED) \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (wanted_id BIGINT PATH '$')) AS wanted \
    STRAIGHT_JOIN customers ON customers.id = wanted.wanted_id";

/// Not `INSERT IGNORE`, which would turn an id that does not fit the column into another one.
const CREATE: &str = "\
    INSERT INTO customers (id) \
    SELECT wanted_id FROM JSON_TABLE(?, '$[*]' COLUMNS (wanted_id BIGINT PATH '$')) AS wanted \
    ON DUPLICATE KEY UPDATE customers.id = customers.id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("KNOWN", KNOWN), ("CREATE", CREATE)];

impl Store {
    /// Creates the customer if there is none (`UNKNOWN_CUSTOMER=create`).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the booking backend's table wants more than an id.
    pub async fn ensure_customer(&self, customer: CustomerId) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        create(&mut connection, &[customer]).await
    }

    /// Those of `customers` that exist.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn known_customers(
        &self,
        customers: &[CustomerId],
    ) -> Result<HashSet<CustomerId>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        known(&mut connection, customers).await
    }
}

pub(crate) async fn known(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<HashSet<CustomerId>, StoreError> {
    let mut known = HashSet::new();
    for some in customers.chunks(KEYS_MAX) {
        let found: Vec<i64> = sqlx::query_scalar(KNOWN)
            .bind(bulk::customers(some)?)
            .fetch_all(&mut *connection)
            .await?;
        known.extend(
            found
                .into_iter()
                .filter_map(|id| CustomerId::try_from(id).ok()),
        );
    }
    Ok(known)
}

pub(crate) async fn create(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<(), StoreError> {
    for some in customers.chunks(KEYS_MAX) {
        sqlx::query(CREATE)
            .bind(bulk::customers(some)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
