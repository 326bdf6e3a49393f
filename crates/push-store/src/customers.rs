//! `customers`: the booking backend's table, of which we know the id only.

use std::collections::{HashMap, HashSet};

use push_core::id::CustomerId;
use sqlx::MySqlConnection;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::error::StoreError;
use crate::retry::Tries;

/// A value that its column cannot hold.
const OUT_OF_RANGE: u16 = 1264;

/// The id is cast because the table may not be ours, and its id `INT`.
const KNOWN: &str = "\
    SELECT CAST(customers.id AS SIGNED) AS id, erasure.mark \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (wanted_id BIGINT PATH '$')) AS wanted \
    STRAIGHT_JOIN customers ON customers.id = wanted.wanted_id \
    LEFT JOIN customer_erasures AS erasure ON erasure.customer_id = wanted.wanted_id";

/// Not `INSERT IGNORE`, which would turn an id that does not fit the column into another one.
const CREATE: &str = "\
    INSERT INTO customers (id) \
    SELECT wanted_id FROM JSON_TABLE(?, '$[*]' COLUMNS (wanted_id BIGINT PATH '$')) AS wanted \
    ON DUPLICATE KEY UPDATE customers.id = customers.id";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("KNOWN", KNOWN), ("CREATE", CREATE)];

impl Store {
    /// Whether there is such a customer, now that it was created if there was none
    /// (`UNKNOWN_CUSTOMER=create`). `false` when the booking backend's column cannot hold its id.
    ///
    /// Asks first: to write would wait for whoever has the customer's row in hand, and use up a number of
    /// the table's own each time.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the booking backend's table wants more than an id.
    pub async fn ensure_customer(&self, customer: CustomerId) -> Result<bool, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.ensure_once(customer).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn ensure_once(&self, customer: CustomerId) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let wanted = [customer];
        let there = known(&mut connection, &wanted).await?.contains(customer)
            || create(&mut connection, &wanted).await?.contains(&customer);
        Ok(there)
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
        let known = known(&mut connection, customers).await?;
        Ok(known.0.into_keys().collect())
    }
}

/// Customers that exist, and the marks of their last erasures.
#[derive(Debug, Default)]
pub(crate) struct KnownCustomers(HashMap<CustomerId, u64>);

impl KnownCustomers {
    pub(crate) fn contains(&self, customer: CustomerId) -> bool {
        self.0.contains_key(&customer)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// `customer_erasures.mark`, as it was seen; 0: never erased.
    pub(crate) fn erasure_mark(&self, customer: CustomerId) -> u64 {
        self.0.get(&customer).copied().unwrap_or_default()
    }
}

pub(crate) async fn known(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<KnownCustomers, StoreError> {
    let mut known = KnownCustomers::default();
    for some in customers.chunks(KEYS_MAX) {
        let found: Vec<(i64, Option<u64>)> = sqlx::query_as(KNOWN)
            .bind(bulk::customers(some)?)
            .fetch_all(&mut *connection)
            .await?;
        let found = found.into_iter().filter_map(|(id, mark)| {
            Some((CustomerId::try_from(id).ok()?, mark.unwrap_or_default()))
        });
        known.0.extend(found);
    }
    Ok(known)
}

/// Returns those that could be created: others have an id that the booking backend's column cannot hold.
pub(crate) async fn create(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<Vec<CustomerId>, StoreError> {
    // Locks are taken in the order of the key.
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    let mut created = Vec::with_capacity(customers.len());
    for some in customers.chunks(KEYS_MAX) {
        if insert(connection, some).await? {
            created.extend_from_slice(some);
            continue;
        }
        // One of them is too large, and must not take the others with it.
        for alone in some {
            if insert(connection, &[*alone]).await? {
                created.push(*alone);
            }
        }
    }
    Ok(created)
}

/// `false` when an id does not fit: then nothing was inserted.
async fn insert(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(CREATE)
        .bind(bulk::customers(customers)?)
        .execute(connection)
        .await
        .map_err(StoreError::from);
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if error.number() == Some(OUT_OF_RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}
