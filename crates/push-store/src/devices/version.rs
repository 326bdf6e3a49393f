//! `customer_versions`: every change of a customer's devices and preferences counts up, in its own transaction. Always the
//! last thing that a transaction waits for, in the order of the key.

use push_core::changed::{Changed, CustomerVersion};
use push_core::id::CustomerId;
use sqlx::{FromRow, MySqlConnection};

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::Row;
use crate::error::StoreError;

const TABLE: &str = "customer_versions";

const BUMP: &str = "\
    INSERT INTO customer_versions (customer_id, version) \
    SELECT changed.id, 1 FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS changed \
    ON DUPLICATE KEY UPDATE version = customer_versions.version + 1";

const VERSIONS: &str = "\
    SELECT customer.customer_id, customer.version \
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted \
    STRAIGHT_JOIN customer_versions AS customer FORCE INDEX (PRIMARY) ON customer.customer_id = wanted.id";

/// Nobody counts them up until the transaction ends. (MySQL locks no array, hence the inner SELECT.)
const VERSIONS_KEPT: &str = "\
    SELECT customer.customer_id, customer.version \
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN customer_versions AS customer FORCE INDEX (PRIMARY) ON customer.customer_id = wanted.id \
    LOCK IN SHARE MODE";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("BUMP", BUMP),
    ("VERSIONS", VERSIONS),
    ("VERSIONS_KEPT", VERSIONS_KEPT),
];

impl Store {
    /// At which versions these customers are. Those who never changed are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn versions(&self, customers: &[CustomerId]) -> Result<Vec<Changed>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        versions_in(&mut connection, customers).await
    }
}

/// Counts these customers up, and says at which versions they will be once the transaction is committed.
pub(crate) async fn count_up(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<Vec<Changed>, StoreError> {
    for some in sorted(customers).chunks(KEYS_MAX) {
        sqlx::query(BUMP)
            .bind(bulk::customers(some)?)
            .execute(&mut *connection)
            .await?;
    }
    versions_in(connection, customers).await
}

/// As this transaction sees them.
pub(crate) async fn versions_in(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<Vec<Changed>, StoreError> {
    read(connection, VERSIONS, customers).await
}

/// As they are until this transaction ends.
pub(crate) async fn versions_kept_in(
    connection: &mut MySqlConnection,
    customers: &[CustomerId],
) -> Result<Vec<Changed>, StoreError> {
    read(connection, VERSIONS_KEPT, customers).await
}

async fn read(
    connection: &mut MySqlConnection,
    statement: &'static str,
    customers: &[CustomerId],
) -> Result<Vec<Changed>, StoreError> {
    let mut versions = Vec::with_capacity(customers.len());
    for some in sorted(customers).chunks(KEYS_MAX) {
        let rows: Vec<VersionRow> = sqlx::query_as(statement)
            .bind(bulk::customers(some)?)
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            versions.push(row.try_into()?);
        }
    }
    Ok(versions)
}

fn sorted(customers: &[CustomerId]) -> Vec<CustomerId> {
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    customers.dedup();
    customers
}

#[derive(FromRow)]
struct VersionRow {
    customer_id: i64,
    version: u64,
}

impl TryFrom<VersionRow> for Changed {
    type Error = StoreError;

    fn try_from(row: VersionRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.customer_id,
        };
        Ok(Self {
            customer: at.read("customer_id", CustomerId::try_from(row.customer_id).ok())?,
            version: CustomerVersion(row.version),
        })
    }
}
