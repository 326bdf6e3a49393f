//! What can go wrong with the database, without a word of what is in it.
//!
//! The database's own texts repeat keys and values ("Duplicate entry '…'"), and a driver's `Debug`
//! repeats those. So no error of the driver leaves this crate: its number and kind are enough to act on.

use std::io;

/// Why a call to the store failed. Neither `Display` nor `Debug` holds data or secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot serve now, whatever is asked. Trying again later helps.
    #[error("the database is not available: {0}")]
    Unavailable(Unavailable),
    /// The database refused a statement: a bug, a schema that is not migrated, or missing rights.
    #[error("the database refused a statement with error {number}{hint}")]
    Refused {
        /// The server's error number (1062 duplicate key, 1146 no such table, …).
        number: u16,
        /// What to do about it, where that is known; starts with ` (`.
        hint: &'static str,
    },
    /// A row holds what our programs never write.
    #[error("{table}.{column} of row {row} cannot be read: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong, without the value.
        problem: &'static str,
    },
    /// The driver and the schema disagree about a type, or the URL is no database URL: a bug or a wrong setting.
    #[error("{0}")]
    Unusable(&'static str),
    /// Another replica held the migration lock for too long.
    #[error(
        "another replica has been migrating for more than {0} s; look for a blocked ALTER TABLE"
    )]
    MigrationLocked(u32),
    /// A migration failed.
    #[error("migration {version} failed: {cause}")]
    Migration {
        /// The number in the file's name.
        version: i64,
        /// Why.
        cause: String,
    },
}

/// Why the database cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nobody listens at the address.
    #[error("connection refused; is it running, and the address right?")]
    ConnectionRefused,
    /// The host's name cannot be resolved.
    #[error("its host name cannot be resolved")]
    UnknownHost,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke")]
    ConnectionLost,
    /// TLS could not be agreed on.
    #[error("TLS failed; check ssl-mode and certificates")]
    Tls,
    /// User or password are wrong, or the user may not use the database.
    #[error("access denied; check user, password and grants")]
    AccessDenied,
    /// There is no such database.
    #[error("there is no database of that name")]
    UnknownDatabase,
    /// The server has no connection left.
    #[error("the server has too many connections")]
    TooManyConnections,
    /// All connections of our pool were busy for too long, or none could be opened.
    #[error("no connection became free in time")]
    PoolTimedOut,
    /// The pool was closed: the program is ending.
    #[error("the pool is closed")]
    Closed,
    /// The server is being stopped, is read-only or out of space.
    #[error("the server refuses to work (error {0}): stopping, read-only or full")]
    ServerRefuses(u16),
    /// Other transactions were in the way again and again.
    #[error("other transactions were in the way (error {0})")]
    Contended(u16),
}

/// A key that exists already.
const DUPLICATE_KEY: u16 = 1062;

impl StoreError {
    /// Whether trying again later can help: the API's 503 with `Retry-After`, the worker's pause.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The kind of error as one short word: a value for logs and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(why) => why.reason(),
            Self::Refused { .. } => "refused",
            Self::Corrupt { .. } => "corrupt",
            Self::Unusable(_) => "unusable",
            Self::MigrationLocked(_) => "migration_locked",
            Self::Migration { .. } => "migration_failed",
        }
    }

    /// Another transaction was in the way: the same again may succeed at once.
    pub(crate) const fn is_contention(&self) -> bool {
        matches!(self, Self::Unavailable(Unavailable::Contended(_)))
    }

    pub(crate) const fn is_duplicate(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                number: DUPLICATE_KEY,
                ..
            }
        )
    }

    pub(crate) const fn number(&self) -> Option<u16> {
        match self {
            Self::Refused { number, .. } => Some(*number),
            Self::Unavailable(_)
            | Self::Corrupt { .. }
            | Self::Unusable(_)
            | Self::MigrationLocked(_)
            | Self::Migration { .. } => None,
        }
    }
}

impl Unavailable {
    const fn reason(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::UnknownHost => "unknown_host",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::Tls => "tls",
            Self::AccessDenied => "access_denied",
            Self::UnknownDatabase => "unknown_database",
            Self::TooManyConnections => "too_many_connections",
            Self::PoolTimedOut => "pool_timed_out",
            Self::Closed => "closed",
            Self::ServerRefuses(_) => "server_refuses",
            Self::Contended(_) => "contended",
        }
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the driver's enum may grow")]
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Driver;
        match &error {
            Driver::Io(io) => Self::Unavailable(from_io(io)),
            Driver::Tls(_) => Self::Unavailable(Unavailable::Tls),
            Driver::PoolTimedOut => Self::Unavailable(Unavailable::PoolTimedOut),
            Driver::PoolClosed => Self::Unavailable(Unavailable::Closed),
            // What a connection that broke in the middle of a packet looks like.
            Driver::Protocol(_) | Driver::WorkerCrashed | Driver::BeginFailed => {
                Self::Unavailable(Unavailable::ConnectionLost)
            }
            Driver::Database(database) => {
                let number = database
                    .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                    .map_or(0, sqlx::mysql::MySqlDatabaseError::number);
                from_number(number)
            }
            Driver::Configuration(_) => Self::Unusable("the database URL cannot be used"),
            Driver::ColumnDecode { .. }
            | Driver::Decode(_)
            | Driver::ColumnNotFound(_)
            | Driver::ColumnIndexOutOfBounds { .. } => {
                Self::Unusable("a column has another type or value than the program expects")
            }
            _ => Self::Unusable("the database driver refused a statement"),
        }
    }
}

fn from_io(error: &io::Error) -> Unavailable {
    // The resolver's errors have no kind of their own, only this text of the standard library.
    let unresolved = error.to_string().starts_with("failed to lookup address");
    if unresolved {
        Unavailable::UnknownHost
    } else if error.kind() == io::ErrorKind::ConnectionRefused {
        Unavailable::ConnectionRefused
    } else if error.kind() == io::ErrorKind::TimedOut {
        Unavailable::TimedOut
    } else {
        Unavailable::ConnectionLost
    }
}

/// The numbers are the same on MariaDB and MySQL ("Server Error Message Reference").
const fn from_number(number: u16) -> StoreError {
    let unavailable = match number {
        1040 | 1203 | 1226 => Unavailable::TooManyConnections,
        1044 | 1045 | 1698 => Unavailable::AccessDenied,
        1049 => Unavailable::UnknownDatabase,
        // Shutdown in progress, connection killed, query interrupted, network errors.
        1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1317 | 1927 => Unavailable::ConnectionLost,
        // The server's own files: a disk that is full or gone ("Global Error Message Reference").
        1..=200 => Unavailable::ServerRefuses(number),
        // Disk or table full, out of memory or resources, read-only.
        1021 | 1037 | 1038 | 1041 | 1114 | 1135 | 1290 | 1792 | 1836 | 3100 => {
            Unavailable::ServerRefuses(number)
        }
        1205 | 1213 => Unavailable::Contended(number),
        _ => {
            let hint = match number {
                1054 | 1146 => " (the schema is not the program's: migrate)",
                1142 | 1143 | 1227 => " (the database user lacks a right)",
                1264 | 1364 | 1048 => " (a value does not fit its column)",
                _ => "",
            };
            return StoreError::Refused { number, hint };
        }
    };
    StoreError::Unavailable(unavailable)
}
