//! The database as an operator with a client sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::servers::Server;
use crate::wait::eventually;

/// A database of this test's own.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    connection: Mutex<Option<MySqlConnection>>,
}

/// What nobody else can use: a table, or a row.
#[derive(Debug)]
pub struct TableLock(MySqlConnection);

impl TableLock {
    /// Lets the others go on.
    pub async fn release(self) {
        // The lock ends with the connection, whatever is said to the farewell.
        drop(self.0.close().await);
    }
}

/// A row of `notification_history`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is a column of that name")]
pub struct Row {
    pub id: String,
    pub customer_id: i64,
    pub status: String,
    pub reason: String,
    pub fcm_result: String,
    pub expo_result: String,
    pub attempts: u32,
    pub notification_type: String,
    pub title: String,
    pub body: String,
    pub data: Value,
    pub priority: String,
    pub collapse_key: String,
    /// Seconds from `created_at` to `expires_at`.
    pub ttl_seconds: i64,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is a column of that name")]
pub struct DeadLetter {
    pub id: u64,
    pub provider: String,
    pub reason: String,
    pub error_code: String,
    pub attempts: u32,
    pub token_masked: String,
    pub trail: Value,
    pub has_job: bool,
    pub raw: String,
    pub raw_bytes: Option<u32>,
}

const HISTORY: &str = "SELECT LOWER(CONCAT_WS('-', SUBSTR(HEX(notification_id), 1, 8), SUBSTR(HEX(notification_id), 9, 4), \
     SUBSTR(HEX(notification_id), 13, 4), SUBSTR(HEX(notification_id), 17, 4), SUBSTR(HEX(notification_id), 21))) AS id, \
     customer_id, CAST(status AS CHAR) AS status, COALESCE(CAST(reason AS CHAR), '') AS reason, CAST(fcm_result AS CHAR) AS fcm_result, \
     CAST(expo_result AS CHAR) AS expo_result, attempts, notification_type, title, body, COALESCE(CAST(data AS CHAR), 'null') AS data, \
     CAST(priority AS CHAR) AS priority, COALESCE(CAST(collapse_key AS CHAR), '') AS collapse_key, \
     COALESCE(TIMESTAMPDIFF(SECOND, created_at, expires_at), -1) AS ttl_seconds FROM notification_history";

const DEAD_LETTERS: &str = "SELECT id, COALESCE(CAST(provider AS CHAR), '') AS provider, CAST(reason AS CHAR) AS reason, \
     CAST(error_code AS CHAR) AS error_code, attempts, COALESCE(token_masked, '') AS token_masked, \
     COALESCE(CAST(trail AS CHAR), 'null') AS trail, CAST(job IS NOT NULL AS SIGNED) AS has_job, \
     COALESCE(CAST(raw AS CHAR), '') AS raw, raw_bytes FROM dead_letters";

impl Database {
    /// Creates one.
    pub(crate) async fn create(server: Server, name: &str) -> Self {
        let database = Self {
            server,
            name: name.to_owned(),
            connection: Mutex::default(),
        };
        let mut connection = database
            .connect("")
            .await
            .expect("the database server answers");
        let create =
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .expect("a database");
        database
    }

    async fn connect(&self, name: &str) -> sqlx::Result<MySqlConnection> {
        let options: sqlx::mysql::MySqlConnectOptions = self.server.url(name).parse()?;
        options.disable_statement_logging().connect().await
    }

    pub(crate) fn address(&self) -> &str {
        &self.server.address
    }

    /// The URL for a program that reaches the server through `address`.
    #[must_use]
    pub fn url_through(&self, address: Option<&str>) -> String {
        match address {
            Some(address) => self.server.through(address).url(&self.name),
            None => self.server.url(&self.name),
        }
    }

    /// Removes it. Best effort: the servers of a test run end with it.
    pub(crate) async fn remove(&self) {
        if let Ok(mut connection) = self.connect("").await {
            let statement = format!("DROP DATABASE IF EXISTS {}", self.name);
            drop(
                sqlx::raw_sql(AssertSqlSafe(statement))
                    .execute(&mut connection)
                    .await,
            );
            drop(connection.close().await);
        }
    }

    async fn rows(&self, statement: &str) -> sqlx::Result<Vec<sqlx::mysql::MySqlRow>> {
        let mut kept = self.connection.lock().await;
        if kept.is_none() {
            *kept = Some(self.connect(&self.name).await?);
        }
        let connection = kept.as_mut().expect("connected above");
        let rows = sqlx::query(AssertSqlSafe(statement.to_owned()))
            .persistent(false)
            .fetch_all(connection)
            .await;
        if rows.is_err() {
            *kept = None;
        }
        rows
    }

    /// Runs a statement. Once more when the connection turns out to be broken.
    async fn fetch(&self, statement: &str) -> Vec<sqlx::mysql::MySqlRow> {
        match self.rows(statement).await {
            Ok(rows) => rows,
            Err(_) => self
                .rows(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}")),
        }
    }

    /// Runs a statement that gives nothing back.
    pub async fn execute(&self, statement: &str) {
        self.fetch(statement).await;
    }

    /// Keeps everybody else off a table, for as long as this is kept.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn lock_table(&self, table: &str) -> TableLock {
        let mut connection = self.connect(&self.name).await.expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(format!("LOCK TABLES {table} WRITE")))
            .execute(&mut connection)
            .await
            .expect("the table is locked");
        TableLock(connection)
    }

    /// Keeps everybody else from changing a notification, for as long as this is kept.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn lock_notification(&self, id: &str) -> TableLock {
        let mut connection = self.connect(&self.name).await.expect("a connection");
        let lock = format!(
            "START TRANSACTION; SELECT id FROM notification_history WHERE id = '{id}' FOR UPDATE"
        );
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut connection)
            .await
            .expect("the notification is locked");
        TableLock(connection)
    }

    /// Waits until a statement that contains `text` waits for a table that is locked.
    pub async fn statement_waits(&self, text: &str) {
        let waiting = format!(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE db = DATABASE() AND state = 'Waiting for table metadata lock' AND info LIKE '%{text}%'"
        );
        eventually("a statement is under way", async || {
            (self.number(&waiting).await > 0).then_some(())
        })
        .await;
    }

    /// One number.
    pub async fn number(&self, statement: &str) -> i64 {
        self.fetch(statement).await[0].get(0)
    }

    /// The first column of every row, as text; NULL is empty.
    pub async fn texts(&self, statement: &str) -> Vec<String> {
        let rows = self.fetch(statement).await;
        rows.iter()
            .map(|row| row.get::<Option<String>, _>(0).unwrap_or_default())
            .collect()
    }

    /// The first column of every row, as text; `None` when the server does not answer, or not within `patience`.
    pub(crate) async fn try_texts(
        &self,
        statement: &str,
        patience: Duration,
    ) -> Option<Vec<String>> {
        let asked = async {
            // Taken out: an answer that nobody waits for must not be the next statement's.
            let kept = self.connection.lock().await.take();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(&self.name).await.ok()?,
            };
            let rows = sqlx::query(AssertSqlSafe(statement.to_owned()))
                .persistent(false)
                .fetch_all(&mut connection)
                .await
                .ok()?;
            *self.connection.lock().await = Some(connection);
            let text = |row: &sqlx::mysql::MySqlRow| row.get::<Option<String>, _>(0);
            Some(
                rows.iter()
                    .map(|row| text(row).unwrap_or_default())
                    .collect(),
            )
        };
        timeout(patience, asked).await.ok().flatten()
    }

    /// Every value of every row of every table, a row a line.
    pub async fn dump(&self) -> String {
        let tables = "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()";
        let mut dump = String::new();
        for table in self.texts(tables).await {
            let columns = format!(
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = '{table}'"
            );
            let columns = self.texts(&columns).await.into_iter();
            let columns: Vec<_> = columns
                .map(|column| format!("COALESCE(CAST({column} AS BINARY), '')"))
                .collect();
            let rows = format!("SELECT CONCAT_WS('|', {}) FROM {table}", columns.join(", "));
            for row in self.fetch(&rows).await {
                let bytes: Vec<u8> = row.get(0);
                let text = String::from_utf8_lossy(&bytes).replace('\n', " ");
                dump += &format!("{table}: {text}\n");
            }
        }
        dump
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {table}")).await
    }

    /// How many notifications there are in each status.
    pub async fn by_status(&self) -> BTreeMap<String, i64> {
        let rows = self
            .fetch(
                "SELECT CAST(status AS CHAR), COUNT(*) FROM notification_history GROUP BY status",
            )
            .await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The history of one notification.
    pub async fn history(&self, id: &str) -> Option<Row> {
        let statement = format!("{HISTORY} WHERE notification_id = UNHEX('{}')", hex(id));
        self.fetch(&statement).await.first().map(row)
    }

    /// The whole history, oldest first.
    pub async fn all_history(&self) -> Vec<Row> {
        let rows = self
            .fetch(&format!("{HISTORY} ORDER BY notification_history.id"))
            .await;
        rows.iter().map(row).collect()
    }

    /// The dead letters of a notification, oldest first.
    pub async fn dead_letters_of(&self, id: &str) -> Vec<DeadLetter> {
        let statement = format!(
            "{DEAD_LETTERS} WHERE notification_id = UNHEX('{}') ORDER BY id",
            hex(id)
        );
        self.fetch(&statement)
            .await
            .iter()
            .map(dead_letter)
            .collect()
    }

    /// All dead letters, oldest first.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let rows = self.fetch(&format!("{DEAD_LETTERS} ORDER BY id")).await;
        rows.iter().map(dead_letter).collect()
    }
}

fn hex(id: &str) -> String {
    id.chars().filter(char::is_ascii_hexdigit).collect()
}

fn row(row: &sqlx::mysql::MySqlRow) -> Row {
    Row {
        id: row.get("id"),
        customer_id: row.get("customer_id"),
        status: row.get("status"),
        reason: row.get("reason"),
        fcm_result: row.get("fcm_result"),
        expo_result: row.get("expo_result"),
        attempts: row.get("attempts"),
        notification_type: row.get("notification_type"),
        title: row.get("title"),
        body: row.get("body"),
        data: serde_json::from_str(row.get("data")).unwrap_or(Value::Null),
        priority: row.get("priority"),
        collapse_key: row.get("collapse_key"),
        ttl_seconds: row.get("ttl_seconds"),
    }
}

fn dead_letter(row: &sqlx::mysql::MySqlRow) -> DeadLetter {
    DeadLetter {
        id: row.get("id"),
        provider: row.get("provider"),
        reason: row.get("reason"),
        error_code: row.get("error_code"),
        attempts: row.get("attempts"),
        token_masked: row.get("token_masked"),
        trail: serde_json::from_str(row.get("trail")).unwrap_or(Value::Null),
        has_job: row.get::<i64, _>("has_job") == 1,
        raw: row.get("raw"),
        raw_bytes: row.get("raw_bytes"),
    }
}
