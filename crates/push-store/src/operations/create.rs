//! Starting and cancelling an operation, and counting what it would be about.

use chrono::{DateTime, Utc};
use push_core::replay::LetterState;
use sqlx::MySqlConnection;

use super::{NewOperation, OperationId, Parameters, Work};
use crate::Store;
use crate::dead_letters::Filter;
use crate::dead_letters::filter::{Bind as _, Shape, of_shape};
use crate::decode::millis;
use crate::erasure::Scope;
use crate::error::StoreError;

macro_rules! count {
    ($index:literal, $equal:literal) => {
        concat!(
            "SELECT CAST(COUNT(*) AS SIGNED) FROM dead_letters FORCE INDEX (",
            $index,
            ") WHERE ",
            $equal,
            "created_at >= ? AND created_at <= ? AND id <= ?"
        )
    };
}

const COUNT_STATE: &str = of_shape!(State, count);
const COUNT_STATE_REASON: &str = of_shape!(StateReason, count);
const COUNT_STATE_PROVIDER: &str = of_shape!(StateProvider, count);
const COUNT_STATE_REASON_PROVIDER: &str = of_shape!(StateReasonProvider, count);
const COUNT_CUSTOMER: &str = of_shape!(Customer, count);
const COUNT_NOTIFICATION: &str = of_shape!(Notification, count);

const NEWEST: &str = "SELECT CAST(COALESCE(MAX(id), 0) AS UNSIGNED) FROM dead_letters";

const CREATE: &str = "\
    INSERT INTO operations (operation_id, kind, parameters, total, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?)";

const CANCEL: &str = "\
    UPDATE operations SET state = 'cancelled', version = version + 1, finished_at = ? \
    WHERE operation_id = ? AND state = 'running' AND kind <> 'erase_customer'";

const FORGET_WAITING: &str = "DELETE FROM operation_letters WHERE operation_id = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("COUNT_STATE", COUNT_STATE),
    ("COUNT_STATE_REASON", COUNT_STATE_REASON),
    ("COUNT_STATE_PROVIDER", COUNT_STATE_PROVIDER),
    ("COUNT_STATE_REASON_PROVIDER", COUNT_STATE_REASON_PROVIDER),
    ("COUNT_CUSTOMER", COUNT_CUSTOMER),
    ("COUNT_NOTIFICATION", COUNT_NOTIFICATION),
    ("NEWEST", NEWEST),
    ("CREATE", CREATE),
    ("CANCEL", CANCEL),
    ("FORGET_WAITING", FORGET_WAITING),
];

/// Of open letters: the state is always asked for.
const fn statement(shape: Shape) -> &'static str {
    match shape {
        Shape::Any | Shape::State => COUNT_STATE,
        Shape::Reason | Shape::StateReason => COUNT_STATE_REASON,
        Shape::Provider | Shape::StateProvider => COUNT_STATE_PROVIDER,
        Shape::ReasonProvider | Shape::StateReasonProvider => COUNT_STATE_REASON_PROVIDER,
        Shape::Customer => COUNT_CUSTOMER,
        Shape::Notification => COUNT_NOTIFICATION,
    }
}

/// The open ones of a filter.
pub(super) fn open(filter: &Filter) -> Filter {
    Filter {
        state: Some(LetterState::Open),
        ..filter.clone()
    }
}

impl Store {
    /// How many open letters the filter means.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn count_open_dead_letters(&self, filter: &Filter) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        count(&mut connection, &open(filter), u64::MAX).await
    }

    /// Starts an operation about the open letters that there are now. A worker does it.
    ///
    /// # Errors
    /// [`StoreError`]; then it was not started, unless the connection broke during the commit.
    pub async fn start_operation(
        &self,
        new: NewOperation,
        now: DateTime<Utc>,
    ) -> Result<OperationId, StoreError> {
        let id = OperationId::generate();
        let filter = open(&new.filter);
        let mut transaction = self.pool.begin().await?;
        let up_to: u64 = sqlx::query_scalar(NEWEST)
            .fetch_one(&mut *transaction)
            .await?;
        let total = count(&mut transaction, &filter, up_to).await?;
        let parameters = Parameters {
            work: new.work,
            filter,
            per_second: new.per_second,
            up_to,
        };
        create(&mut transaction, id, &parameters, total, &new.by, now).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Stops an operation, whose step under way counts as a whole or not at all. Says whether it was running; one that
    /// erases a customer is not stopped.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn cancel_operation(
        &self,
        id: OperationId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let cancelled = sqlx::query(CANCEL)
            .bind(millis(now))
            .bind(id.0)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if cancelled == 1 {
            sqlx::query(FORGET_WAITING)
                .bind(id.0)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(cancelled == 1)
    }
}

/// Starts the operation that empties an erased customer's notifications, of which there are `total`.
pub(crate) async fn start_erasing(
    connection: &mut MySqlConnection,
    id: OperationId,
    scope: Scope,
    total: u64,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let parameters = Parameters {
        work: Work::Erase {
            customer: scope.customer,
            mark: scope.mark,
        },
        filter: Filter {
            customer: Some(scope.customer),
            ..Filter::default()
        },
        per_second: ERASED_PER_SECOND,
        up_to: 0,
    };
    create(connection, id, &parameters, total, by, now).await
}

/// Enough for whoever waits for it, and others get their turn.
const ERASED_PER_SECOND: u32 = 2_000;

async fn create(
    connection: &mut MySqlConnection,
    id: OperationId,
    parameters: &Parameters,
    total: u64,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(CREATE)
        .bind(id.0)
        .bind(parameters.work.kind())
        // Plain structures, which always serialize.
        .bind(serde_json::to_string(parameters).unwrap_or_default())
        .bind(total)
        .bind(by)
        .bind(millis(now))
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(
    connection: &mut MySqlConnection,
    filter: &Filter,
    up_to: u64,
) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(statement(filter.shape()))
        .values(filter.values())
        .bind(filter.lower())
        .bind(filter.upper())
        .bind(up_to)
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
