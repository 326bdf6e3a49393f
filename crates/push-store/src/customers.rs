//! `customers`: the booking backend's table, of which we know the id only.

use std::collections::HashSet;

use push_core::id::CustomerId;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::Store;
use crate::bulk::{KEYS_MAX, push_in};
use crate::error::StoreError;

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
        let found: Vec<i64> = select_known(some)
            .build_query_scalar()
            .persistent(false)
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
    // In the order of the key, so that two of these wait for each other and never deadlock.
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    for some in customers.chunks(KEYS_MAX) {
        insert(some)
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The id is cast because the table may not be ours, and its id `INT`.
pub(crate) fn select_known(customers: &[CustomerId]) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new("SELECT CAST(id AS SIGNED) FROM customers WHERE id");
    push_in(&mut query, customers.iter().map(|customer| customer.get()));
    query
}

/// Not `INSERT IGNORE`, which would turn an id that does not fit the column into another one.
pub(crate) fn insert(customers: &[CustomerId]) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new("INSERT INTO customers (id) ");
    query.push_values(customers, |mut row, customer| {
        row.push_bind(customer.get());
    });
    query.push(" ON DUPLICATE KEY UPDATE id = VALUES(id)");
    query
}
