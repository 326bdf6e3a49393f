//! "Any worker may run it, one at a time does": a lock that lives as long as its connection.

use std::time::Duration;

use sqlx::{Connection, Executor, MySqlConnection};

use crate::Store;
use crate::error::{StoreError, Unavailable};
use crate::store::{lock_name, within};

/// A lock held by this process. It ends when this is dropped, when the process dies, or when the
/// server has heard nothing from it for [`Lease::SILENCE_MAX`] (the host vanished without a farewell).
#[derive(Debug)]
pub struct Lease {
    connection: MySqlConnection,
    name: String,
}

const SILENCE: &str = "SET SESSION wait_timeout = 120";
const TAKE: &str = "SELECT GET_LOCK(?, 0)";
const HELD: &str = "SELECT CAST(COALESCE(IS_USED_LOCK(?) = CONNECTION_ID(), 0) AS SIGNED)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("SILENCE", SILENCE), ("TAKE", TAKE), ("HELD", HELD)];

impl Lease {
    /// Ask [`Lease::still_held`] more often than this, or lose the lease.
    pub const SILENCE_MAX: Duration = Duration::from_secs(120);
    /// A server that takes longer to answer such a question is as good as gone.
    const ANSWER_MAX: Duration = Duration::from_secs(2);

    /// Whether the lock is still ours. `false` also when nobody can tell: stop what the lease protects.
    pub async fn still_held(&mut self) -> bool {
        let asked = sqlx::query_scalar::<_, i64>(HELD)
            .bind(&self.name)
            .fetch_one(&mut self.connection);
        matches!(
            tokio::time::timeout(Self::ANSWER_MAX, asked).await,
            Ok(Ok(1))
        )
    }

    /// Gives it back at once. Dropping does the same, as soon as the server notices.
    pub async fn release(self) {
        // Whatever the server says to the farewell, the connection is gone, and the lock with it.
        drop(tokio::time::timeout(Self::ANSWER_MAX, self.connection.close()).await);
    }
}

impl Store {
    /// Takes the lock `name` if nobody has it. `name` has at most 32 characters.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn try_lease(&self, name: &'static str) -> Result<Option<Lease>, StoreError> {
        let mut connection = self.own_connection().await?;
        let asked = async {
            connection.execute(SILENCE).await?;
            let name = lock_name(&mut connection, name).await?;
            let taken = sqlx::query_scalar::<_, Option<i64>>(TAKE)
                .bind(&name)
                .fetch_one(&mut connection)
                .await?;
            Ok((name, taken))
        };
        match within(Lease::ANSWER_MAX, asked).await? {
            (name, Some(1)) => Ok(Some(Lease { connection, name })),
            (_, Some(_)) => Ok(None),
            (_, None) => Err(StoreError::Unavailable(Unavailable::ServerRefuses(0))),
        }
    }
}
