//! Bringing the schema up to date, by one replica at a time.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Connection, MySqlConnection};

use crate::Store;
use crate::error::StoreError;
use crate::store::{lock_name, within};

/// What [`Store::migrate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations that were applied by this call; 0 when another replica was first.
    pub applied: usize,
}

/// How long to wait for a replica that is migrating.
const LOCK_WAIT_S: u32 = 60;
/// sqlx's table of applied migrations.
const TABLE: &str = "_sqlx_migrations";
/// How long a look into it may take: as long as the pool waits for a connection, and as much again.
const ANSWER_MAX: Duration = Duration::from_secs(4);

const LOCK: &str = "SELECT GET_LOCK(?, ?)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(?)";
const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
const FORGET_INTERRUPTED: &str = "DELETE FROM _sqlx_migrations WHERE NOT success";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LOCK", LOCK),
    ("UNLOCK", UNLOCK),
    ("APPLIED", APPLIED),
    ("FORGET_INTERRUPTED", FORGET_INTERRUPTED),
];

/// No such table.
const NO_TABLE: u16 = 1146;

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations");
    // Its own lock does nothing on MariaDB; ours is held instead.
    migrator.set_locking(false);
    // A newer program has migrated and this one starts again during the upgrade: it still serves.
    migrator.set_ignore_missing(true);
    migrator
}

impl Store {
    /// Applies what is pending. Replicas may call it at the same time: one works, the others wait.
    ///
    /// # Errors
    /// [`StoreError::MigrationLocked`] after 60 s of waiting, [`StoreError::Migration`] when a migration fails; it is
    /// run again by the next call.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let mut connection = self.own_connection().await?;
        let name = lock_name(&mut connection, "migrate").await?;
        let locked = sqlx::query_scalar::<_, Option<i64>>(LOCK)
            .bind(&name)
            .bind(LOCK_WAIT_S)
            .fetch_one(&mut connection)
            .await?;
        if locked != Some(1) {
            return Err(StoreError::MigrationLocked(LOCK_WAIT_S));
        }
        let result = run(&mut connection).await;
        // Closing gives the lock back even where these fail.
        drop(
            sqlx::query(UNLOCK)
                .bind(&name)
                .execute(&mut connection)
                .await,
        );
        drop(connection.close().await);
        result
    }

    /// Whether the schema lacks a migration that this program knows.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn migration_pending(&self) -> Result<bool, StoreError> {
        let applied = async {
            let applied = sqlx::query_scalar::<_, i64>(APPLIED);
            Ok(applied.fetch_all(&self.pool).await?)
        };
        match within(ANSWER_MAX, applied).await {
            Ok(applied) => Ok(pending(&applied) > 0),
            Err(error) if error.number() == Some(NO_TABLE) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

async fn run(connection: &mut MySqlConnection) -> Result<Migrated, StoreError> {
    connection
        .ensure_migrations_table(TABLE)
        .await
        .map_err(explain)?;
    // Every migration can run twice, so one that was interrupted is simply run again.
    sqlx::query(FORGET_INTERRUPTED)
        .execute(&mut *connection)
        .await?;
    let applied = sqlx::query_scalar(APPLIED)
        .fetch_all(&mut *connection)
        .await?;
    migrator()
        .run_direct(None, connection, false)
        .await
        .map_err(explain)?;
    Ok(Migrated {
        applied: pending(&applied),
    })
}

fn pending(applied: &[i64]) -> usize {
    migrator()
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
        .count()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the driver's enum may grow")]
fn explain(error: MigrateError) -> StoreError {
    let failed = |version, cause: String| StoreError::Migration { version, cause };
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::ExecuteMigration(error, version) => {
            let error = StoreError::from(error);
            if error.is_unavailable() && !error.is_out_of_order() {
                error
            } else {
                failed(version, error.to_string())
            }
        }
        MigrateError::VersionMismatch(version) => failed(
            version,
            "it was applied with another text; a released file is never edited".to_owned(),
        ),
        _ => StoreError::Unusable("the table of migrations cannot be used"),
    }
}
