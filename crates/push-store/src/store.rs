//! The pool of connections, and what each connection is told at its start.

use std::fmt;
use std::time::Duration;

use push_core::rate::Rate;
use push_seal::Keyring;
use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, MySqlConnection, Row};

use crate::encryption::LastSaid;
use crate::error::{StoreError, Unavailable};
use crate::transport;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `mysql://user:password@host:port/database` (`DATABASE_URL`). Does not print itself.
    pub url: SecretString,
    /// Connections of the pool at most. Migrations, leases and probes use connections of their own.
    pub connections_max: u32,
    /// How long a call waits for a free connection; 2 s are enough for the pool to open a new one.
    pub acquire_timeout: Duration,
    /// What tokens and content are sealed with, and opened.
    pub keys: Keyring,
}

/// Reads `DATABASE_URL`, as far as that can be done without a database. The error does not repeat it:
/// it holds a password.
///
/// # Errors
/// What is not of the form `mysql://user:password@host:port/database`, or says something about TLS that is not
/// understood.
pub fn parse_url(url: &str) -> Result<SecretString, &'static str> {
    let place = url.split('?').next().unwrap_or_default();
    let rest = place
        .strip_prefix("mysql://")
        .or_else(|| place.strip_prefix("mariadb://"));
    match rest.and_then(|rest| rest.rsplit_once('/')) {
        Some((_, name)) if !name.is_empty() => {
            transport::check_parameters(url).map(|()| SecretString::from(url))
        }
        _ => Err("must be of the form mysql://user:password@host:port/database"),
    }
}

/// All tables of the service. Cheap to clone: clones share the pool.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: MySqlPool,
    pub(crate) customer_rate: Option<Rate>,
    pub(crate) keys: Keyring,
    pub(crate) keys_said: LastSaid,
    pub(crate) options: MySqlConnectOptions,
}

/// Without the options, which would print the password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// The connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Somebody has them.
    pub used: u32,
    /// They wait for somebody.
    pub idle: u32,
    /// So many there may be.
    pub max: u32,
}

/// How long one plain connection may take, from the name's resolution to the last `SET`.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection that comes back to the pool may take to show that it still answers.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to stay away from a database that is away.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// A connection that was idle for so long is closed. The pool looks as often, so that none is idle for twice as long: well
/// below the limit of [`SESSION`] and any firewall's.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 250;

/// What the store relies on, whatever the server's configuration says:
/// - values that do not fit are errors, never cut;
/// - READ COMMITTED: no gap locks, so that inserts and settlements do not deadlock each other;
/// - a lock is waited for 5 s, not 50;
/// - a transaction whose client says nothing for 60 s ends: its host is gone, and its locks are in everybody's way.
const SESSION: &str = "\
    SET SESSION sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
        ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
        SESSION innodb_lock_wait_timeout = 5, SESSION wait_timeout = 60; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

impl Store {
    /// Prepares the pool. Opens no connection: the database may be away, and may come later. Warns when others may
    /// read along.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the URL is none, or names no database.
    pub async fn connect(settings: &StoreSettings) -> Result<Self, StoreError> {
        let options = parse(settings.url.expose_secret())?;
        if transport::is_exposed(&options) {
            tracing::warn!(
                database.host = options.get_host(),
                "DATABASE_URL does not demand TLS: who is between us and the database may read and change everything; \
                 add ?ssl-mode=VERIFY_IDENTITY"
            );
        }
        let again = options.clone();
        let pool = MySqlPoolOptions::new()
            .max_connections(settings.connections_max.max(1))
            .acquire_timeout(settings.acquire_timeout)
            .idle_timeout(IDLE_TIMEOUT)
            // A connection that is too old would be closed before it is asked whether it still answers.
            .max_lifetime(None)
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .after_release(move |connection, _| {
                let again = again.clone();
                Box::pin(async move { answers_or_is_replaced(connection, &again).await })
            })
            .connect_lazy_with(options.clone());
        let keys = settings.keys.clone();
        Ok(Self {
            pool,
            keys,
            keys_said: LastSaid::default(),
            customer_rate: None,
            options,
        })
    }

    /// The same store, which accepts no more notifications for a customer than this (`RATE_LIMIT_PER_CUSTOMER`).
    #[must_use]
    pub fn limited_per_customer(self, customer_rate: Option<Rate>) -> Self {
        Self {
            customer_rate,
            ..self
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        let (open, idle) = (self.pool.size(), self.pool.num_idle());
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        PoolState {
            used: open.saturating_sub(idle),
            idle,
            max: self.pool.options().get_max_connections(),
        }
    }

    /// Whether the database answers, and if not, why: for start-up, `check` and readiness. Uses a
    /// connection of its own, because the pool would only say that it timed out.
    ///
    /// # Errors
    /// [`StoreError`] with the cause, after at most 2 s.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let answered = async {
            let mut connection = self.options.connect().await?;
            connection.ping().await?;
            // The answer counts, not the farewell.
            drop(connection.close().await);
            Ok(())
        };
        within(CONNECT_TIMEOUT, answered).await
    }

    /// Lets go of all connections, after the calls that are under way. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A connection that does not belong to the pool: for locks that live as long as it does.
    pub(crate) async fn own_connection(&self) -> Result<MySqlConnection, StoreError> {
        open(&self.options).await
    }
}

/// A name for `GET_LOCK`, which knows one namespace for the whole server: ours is made one of our database.
/// At most 64 characters (MySQL's limit).
const LOCK_NAME: &str = "SELECT CONCAT('push.', LEFT(SHA2(DATABASE(), 256), 12), '.', ?) AS name";

/// The server-wide name of our lock `name`.
pub(crate) async fn lock_name(
    connection: &mut MySqlConnection,
    name: &'static str,
) -> Result<String, StoreError> {
    let row = sqlx::query(LOCK_NAME)
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("name")?)
}

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("LOCK_NAME", LOCK_NAME)];

fn parse(url: &str) -> Result<MySqlConnectOptions, StoreError> {
    const UNREADABLE: StoreError = StoreError::Unusable(
        "the database URL cannot be used; write mysql://user:password@host:port/database",
    );
    // The driver itself takes any scheme.
    if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
        return Err(UNREADABLE);
    }
    let options: MySqlConnectOptions = url.parse().map_err(|_| UNREADABLE)?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(UNREADABLE);
    }
    // Statements are logged nowhere: their texts are long, and their number is a metric's business.
    Ok(options
        .timezone(Some("+00:00".to_owned()))
        .charset("utf8mb4")
        // Ours are more than the driver keeps by itself, and some come for several numbers of rows.
        .statement_cache_capacity(STATEMENTS_KEPT)
        .disable_statement_logging())
}

async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    connection.execute(SESSION).await.map(drop)
}

/// The pool asks a connection that comes back whether it is alive, and keeps its place taken until it answers: a
/// connection that went silent in the middle of a call would keep it for ever. So it is asked here before, with a
/// limit, and replaced when it says nothing. (To close it would not do: over TLS the driver waits for a farewell.)
async fn answers_or_is_replaced(
    connection: &mut MySqlConnection,
    options: &MySqlConnectOptions,
) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => {
            *connection = once_it_is_back(options).await;
            Ok(true)
        }
    }
}

/// Meanwhile the place in the pool is taken; whoever got it could not connect either.
async fn once_it_is_back(options: &MySqlConnectOptions) -> MySqlConnection {
    loop {
        if let Ok(connection) = open(options).await {
            return connection;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// A connection that is ready for our statements.
async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, StoreError> {
    let opened = async {
        let mut connection = options.connect().await?;
        prepare_session(&mut connection).await?;
        Ok(connection)
    };
    within(CONNECT_TIMEOUT, opened).await
}

/// What `work` gives, if it does in time.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(StoreError::Unavailable(Unavailable::TimedOut)))
}
