//! What can go wrong with the database, without a word of what is in it.
//!
//! The database's own texts repeat keys and values ("Duplicate entry '…'"), and a driver's `Debug`
//! repeats those. So no error of the driver leaves this crate: its number and kind are enough to act on.

use std::io;

use push_seal::KeyId;

/// Why a call to the store failed. Neither `Display` nor `Debug` holds data or secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot serve now, whatever is asked. Trying again later helps.
    #[error("the database is not available: {0}")]
    Unavailable(Unavailable),
    /// The database refused the values of a statement. They are at fault, and nothing else: other values pass.
    #[error("the database refused the values of a statement with error {0}")]
    Refused(u16),
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
    #[error("TLS failed: {0}")]
    Tls(TlsFault),
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
    /// Transactions kept running into each other.
    #[error("transactions deadlocked again and again")]
    Deadlocked,
    /// Another transaction kept a lock that we waited for.
    #[error("another transaction keeps a row locked")]
    Locked,
    /// The database answers, and does not do what the program needs: rights are missing, the schema is another, a
    /// cluster has no quorum, or an error that nobody has thought of. Someone must look at it.
    #[error("it refuses our statements with error {0}{hint}", hint = hint(*.0))]
    OutOfOrder(u16),
    /// Rows are sealed with a key that this program does not have. Nothing is lost: it waits for the key.
    #[error(
        "it holds what is sealed with the encryption key {0:?}, which is not configured; add it to ENCRYPTION_KEYS"
    )]
    KeyMissing(KeyId),
    /// Rows are sealed with a key of that name, which is another one than ours.
    #[error(
        "the encryption key {0:?} in ENCRYPTION_KEYS is another one than what the database is sealed with"
    )]
    KeyDiffers(KeyId),
}

/// Why TLS could not be agreed on. Without it nothing is said to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The server speaks plaintext only.
    #[error("the server offers none, and ssl-mode demands it")]
    NotOffered,
    /// Whoever it is, nobody whom we trust says so.
    #[error(
        "the certificate is of no authority that we trust; name the right one in ssl-ca or SSL_CERT_FILE"
    )]
    UnknownAuthority,
    /// It belongs to somebody else.
    #[error("the certificate is not for the host name in the URL")]
    OtherHost,
    /// It is too old.
    #[error("the certificate has expired")]
    Expired,
    /// It is too young, or our clock is behind.
    #[error("the certificate is not valid yet; is this machine's clock right?")]
    NotYetValid,
    /// It is wrong in another way.
    #[error("the certificate cannot be used")]
    BadCertificate,
    /// The two do not agree, or the other does not speak TLS.
    #[error("no handshake; check ssl-mode and the server's TLS versions")]
    Handshake,
}

/// A key that exists already.
const DUPLICATE_KEY: u16 = 1062;

impl StoreError {
    /// Whether trying again later can help: the API's 503 with `Retry-After`, the worker's pause.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether it is unavailable for a reason that does not pass by itself: someone must act.
    #[must_use]
    pub const fn is_out_of_order(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(
                Unavailable::OutOfOrder(_)
                    | Unavailable::KeyMissing(_)
                    | Unavailable::KeyDiffers(_)
            )
        )
    }

    /// Whether somebody must look at it: waiting alone does not help.
    #[must_use]
    pub const fn needs_someone(&self) -> bool {
        !self.is_unavailable() || self.is_out_of_order()
    }

    /// The kind of error as one short word: a value for logs and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(why) => why.reason(),
            Self::Refused(_) => "refused",
            Self::Corrupt { .. } => "corrupt",
            Self::Unusable(_) => "unusable",
            Self::MigrationLocked(_) => "migration_locked",
            Self::Migration { .. } => "migration_failed",
        }
    }

    /// Whether the connection broke or fell silent: what was to be committed then may be committed.
    #[must_use]
    pub const fn leaves_commit_unknown(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(Unavailable::ConnectionLost | Unavailable::TimedOut)
        )
    }

    /// Whether another transaction keeps a row locked that was waited for: other rows may well be free.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self, Self::Unavailable(Unavailable::Locked))
    }

    /// Transactions ran into each other: the same again may succeed at once.
    pub(crate) const fn is_deadlock(&self) -> bool {
        matches!(self, Self::Unavailable(Unavailable::Deadlocked))
    }

    pub(crate) const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Refused(DUPLICATE_KEY))
    }

    pub(crate) const fn number(&self) -> Option<u16> {
        match self {
            Self::Refused(number) | Self::Unavailable(Unavailable::OutOfOrder(number)) => {
                Some(*number)
            }
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
            Self::Tls(_) => "tls",
            Self::AccessDenied => "access_denied",
            Self::UnknownDatabase => "unknown_database",
            Self::TooManyConnections => "too_many_connections",
            Self::PoolTimedOut => "pool_timed_out",
            Self::Closed => "closed",
            Self::ServerRefuses(_) => "server_refuses",
            Self::Deadlocked => "deadlocked",
            Self::Locked => "locked",
            Self::OutOfOrder(_) => "out_of_order",
            Self::KeyMissing(_) => "key_missing",
            Self::KeyDiffers(_) => "key_differs",
        }
    }
}

impl From<Unavailable> for StoreError {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the driver's enum may grow")]
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as Driver;
        match &error {
            Driver::Io(io) => Self::Unavailable(from_io(io)),
            // The driver's only error of this kind that is worth telling apart has no type of its own.
            Driver::Tls(source) if source.to_string() == "server does not support TLS" => {
                Self::Unavailable(Unavailable::Tls(TlsFault::NotOffered))
            }
            Driver::Tls(_) => Self::Unavailable(Unavailable::Tls(TlsFault::Handshake)),
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

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's enums may grow"
)]
fn from_rustls(error: &rustls::Error) -> TlsFault {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => TlsFault::UnknownAuthority,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                TlsFault::OtherHost
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => TlsFault::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                TlsFault::NotYetValid
            }
            _ => TlsFault::BadCertificate,
        },
        _ => TlsFault::Handshake,
    }
}

fn from_io(error: &io::Error) -> Unavailable {
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Unavailable::Tls(from_rustls(tls));
    }
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

/// The numbers are the same on MariaDB and MySQL up to 1,900 ("Server Error Message Reference"); above, each has
/// its own.
///
/// What is not known to be the fault of a statement's values is the database's: whoever waits loses nothing, and
/// whoever gives a job up for it gives up all of them.
const fn from_number(number: u16) -> StoreError {
    if is_fault_of_values(number) {
        return StoreError::Refused(number);
    }
    StoreError::Unavailable(match number {
        1040 | 1203 | 1226 => Unavailable::TooManyConnections,
        1044 | 1045 | 1698 => Unavailable::AccessDenied,
        1049 => Unavailable::UnknownDatabase,
        // Shutdown in progress, connection killed, query interrupted or over its time, network errors.
        1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1317 | 1927 | 1969 | 3024 => {
            Unavailable::ConnectionLost
        }
        // The server's own files: a disk that is full or gone ("Global Error Message Reference").
        1..=200 => Unavailable::ServerRefuses(number),
        // Disk or table full, out of memory or resources, read-only.
        1021 | 1037 | 1038 | 1041 | 1114 | 1135 | 1290 | 1792 | 1836 | 3100 => {
            Unavailable::ServerRefuses(number)
        }
        1205 => Unavailable::Locked,
        1213 => Unavailable::Deadlocked,
        _ => Unavailable::OutOfOrder(number),
    })
}

const fn is_fault_of_values(number: u16) -> bool {
    matches!(
        number,
        // A key that exists already, or one that it refers to and that does not exist.
        1022 | DUPLICATE_KEY | 1169 | 1586 | 1216 | 1217 | 1451 | 1452
        // NULL or nothing where a value must be; a value that its column cannot hold, or that is none of its type.
        | 1048 | 1364 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1441 | 1525 | 1690
        // Bytes that are no text of the character set.
        | 1300 | 1977 | 3854
        // Larger than the server takes at one time.
        | 1153 | 1301
        // A constraint or a trigger of the table says no.
        | 1644 | 3819 | 4025
        // JSON: MySQL's, then MariaDB's.
        | 3140 | 3141 | 3144 | 3146 | 3147 | 3156 | 3157 | 3665 | 3666 | 3668
        | 4035..=4040 | 4178 | 4179
    )
}

/// What to do about an error, where that is known.
const fn hint(number: u16) -> &'static str {
    match number {
        1054 | 1136 | 1146 => "; the schema is not the program's: migrate",
        1142 | 1143 | 1227 | 1370 => "; the database user lacks a right",
        1047 => "; has the cluster lost its quorum?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fault_of_the_values_is_the_jobs_own() {
        let values = [
            1022, 1048, 1062, 1153, 1169, 1216, 1217, 1264, 1265, 1292, 1300, 1301, 1364, 1366,
            1367, 1406, 1411, 1441, 1451, 1452, 1525, 1586, 1644, 1690, 1977, 3140, 3141, 3144,
            3146, 3147, 3156, 3157, 3665, 3666, 3668, 3819, 3854, 4025, 4035, 4036, 4037, 4038,
            4039, 4040, 4178, 4179,
        ];
        for number in 0..=u16::MAX {
            let error = from_number(number);
            assert_eq!(
                error == StoreError::Refused(number),
                values.contains(&number),
                "{number}: {error}"
            );
            assert_eq!(error.is_unavailable(), !values.contains(&number));
        }
    }

    #[test]
    fn what_the_database_is_to_blame_for_is_told_apart() {
        use Unavailable as U;
        let table = [
            (28, U::ServerRefuses(28), "server_refuses"),
            (1021, U::ServerRefuses(1021), "server_refuses"),
            (1040, U::TooManyConnections, "too_many_connections"),
            (1044, U::AccessDenied, "access_denied"),
            (1049, U::UnknownDatabase, "unknown_database"),
            (1053, U::ConnectionLost, "connection_lost"),
            (1205, U::Locked, "locked"),
            (1213, U::Deadlocked, "deadlocked"),
            (1290, U::ServerRefuses(1290), "server_refuses"),
            // Its time limit for statements, on MariaDB and MySQL.
            (1969, U::ConnectionLost, "connection_lost"),
            (3024, U::ConnectionLost, "connection_lost"),
            // A storage engine in trouble, a commit that failed.
            (1030, U::OutOfOrder(1030), "out_of_order"),
            (1180, U::OutOfOrder(1180), "out_of_order"),
            // A cluster without quorum, a schema that is another, missing rights, a typing error of ours.
            (1047, U::OutOfOrder(1047), "out_of_order"),
            (1054, U::OutOfOrder(1054), "out_of_order"),
            (1146, U::OutOfOrder(1146), "out_of_order"),
            (1142, U::OutOfOrder(1142), "out_of_order"),
            (1064, U::OutOfOrder(1064), "out_of_order"),
            (0, U::OutOfOrder(0), "out_of_order"),
            (u16::MAX, U::OutOfOrder(u16::MAX), "out_of_order"),
        ];
        for (number, why, reason) in table {
            let error = from_number(number);
            assert_eq!(error, StoreError::Unavailable(why));
            assert_eq!(error.reason(), reason, "{number}");
            assert_eq!(error.is_out_of_order(), reason == "out_of_order");
        }
        assert_eq!(
            from_number(1142).to_string(),
            "the database is not available: it refuses our statements with error 1142; the database user lacks a right"
        );
    }
}
