//! Against a real server: `PUSH_TEST_DATABASE_URL=mysql://root@127.0.0.1:PORT/`, as `cargo xtask test` sets it. Each
//! test has a database of its own.

mod accepting;
mod bookings;
mod cancelling;
mod claiming;
mod collapsing;
mod connecting;
mod dead_letters;
mod devices;
mod due;
mod encryption;
mod erasing;
mod history;
mod idempotency;
mod leases;
mod listing;
mod migrating;
mod operations;
mod plans;
mod preferences;
mod quiet;
mod rates;
mod receipts;
mod recording;
mod replaying;
mod retaining;
mod seed;
mod sessions;
mod statements;
mod stats;
mod switches;
mod waiting;

use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use push_core::id::NotificationId;
use push_seal::Keyring;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use uuid::Uuid;

use crate::{Store, StoreSettings};

/// A database that exists as long as this does, migrated.
struct Db {
    store: Store,
    server: String,
    name: String,
}

impl Db {
    async fn new() -> Self {
        let db = Self::unmigrated().await;
        db.store.migrate().await.unwrap();
        db
    }

    async fn unmigrated() -> Self {
        let server = std::env::var("PUSH_TEST_DATABASE_URL").expect(
            "PUSH_TEST_DATABASE_URL is not set; run `cargo xtask test`, or set it to a MariaDB or MySQL \
             server where databases may be created, such as mysql://root@127.0.0.1:3306/",
        );
        let server = server.trim_end_matches('/').to_owned();
        let name = format!("push_test_{}", Uuid::new_v4().simple());
        let mut connection = MySqlConnection::connect(&server).await.unwrap();
        // The name is ours, and a database's name cannot be a parameter.
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let store = Store::connect(&settings(&format!("{server}/{name}")))
            .await
            .unwrap();
        Self {
            store,
            server,
            name,
        }
    }

    /// Another replica.
    async fn replica(&self) -> Store {
        self.replica_with(8).await
    }

    /// Another replica with so many connections.
    async fn replica_with(&self, connections_max: u32) -> Store {
        let settings = settings(&format!("{}/{}", self.server, self.name));
        Store::connect(&StoreSettings {
            connections_max,
            ..settings
        })
        .await
        .unwrap()
    }

    /// The single value of a query.
    async fn one(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.store.pool)
            .await
            .unwrap()
    }

    /// When a notification became sent.
    async fn sent_at(&self, id: NotificationId) -> Option<DateTime<Utc>> {
        sqlx::query_scalar("SELECT sent_at FROM notification_history WHERE notification_id = ?")
            .bind(id.as_uuid())
            .fetch_one(&self.store.pool)
            .await
            .unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        self.store.pool.execute(sql).await.unwrap();
    }

    /// Drops the database. A test that fails leaves it, to be looked at.
    async fn done(self) {
        self.store.close().await;
        let mut connection = MySqlConnection::connect(&self.server).await.unwrap();
        connection
            .execute(AssertSqlSafe(format!("DROP DATABASE {}", self.name)))
            .await
            .unwrap();
    }
}

fn settings(url: &str) -> StoreSettings {
    StoreSettings {
        url: SecretString::from(url.to_owned()),
        connections_max: 8,
        acquire_timeout: Duration::from_secs(10),
        keys: keys(),
    }
}

/// None, as by default; or those of `PUSH_TEST_ENCRYPTION_KEYS`, to try everything with them.
fn keys() -> Keyring {
    let keys = std::env::var("PUSH_TEST_ENCRYPTION_KEYS").unwrap_or_default();
    Keyring::parse(&keys).unwrap()
}

/// The start of every story, plus some milliseconds.
fn at(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_790_000_000_000 + millis)
        .unwrap()
}
