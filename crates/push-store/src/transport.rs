//! Whether the connection to the database is encrypted, and with whom.

use std::fmt;

use push_core::host;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Executor, Row};

use crate::error::StoreError;
use crate::store::{CONNECT_TIMEOUT, Store, within};

/// Empty where the connection is not encrypted.
const TLS_VERSION: &str = "SHOW SESSION STATUS LIKE 'Ssl_version'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("TLS_VERSION", TLS_VERSION)];
/// What a URL may say about TLS. The driver ignores what it does not know: a typing error would be plaintext.
const PARAMETERS: [&str; 8] = [
    "ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey",
];
const MODES: [&str; 5] = [
    "disabled",
    "preferred",
    "required",
    "verify_ca",
    "verify_identity",
];

/// How the bytes travel between us and the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The version of TLS; `None` in plaintext.
    version: Option<String>,
    checked: Checked,
}

/// What is known of the server's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    Nothing,
    Authority,
    HostName,
}

impl fmt::Display for Transport {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(version) = &self.version else {
            return f.write_str("NOT encrypted");
        };
        let checked = match self.checked {
            Checked::Nothing => "whoever answers: ssl-mode=VERIFY_IDENTITY checks the certificate",
            Checked::Authority => "certificate of a trusted authority, for whatever host name",
            Checked::HostName => "certificate and host name checked",
        };
        write!(f, "encrypted ({version}; {checked})")
    }
}

impl Store {
    /// Asks the database how a connection of ours is protected.
    ///
    /// # Errors
    /// [`StoreError`] with the cause, after at most 2 s.
    pub async fn transport(&self) -> Result<Transport, StoreError> {
        let asked = async {
            let mut connection = self.options.connect().await?;
            let row = connection.fetch_one(TLS_VERSION).await?;
            let version: String = row.try_get(1)?;
            // The answer counts, not the farewell.
            drop(connection.close().await);
            Ok(Transport {
                version: Some(version).filter(|version| !version.is_empty()),
                checked: checked_by(self.options.get_ssl_mode()),
            })
        };
        within(CONNECT_TIMEOUT, asked).await
    }
}

const fn checked_by(mode: MySqlSslMode) -> Checked {
    match mode {
        MySqlSslMode::Disabled | MySqlSslMode::Preferred | MySqlSslMode::Required => {
            Checked::Nothing
        }
        MySqlSslMode::VerifyCa => Checked::Authority,
        MySqlSslMode::VerifyIdentity => Checked::HostName,
    }
}

/// Whether others may read along: it leaves this machine, and TLS is not demanded.
pub(crate) fn is_exposed(options: &MySqlConnectOptions) -> bool {
    let leaves = options.get_socket().is_none() && !host::is_loopback(options.get_host());
    let demanded = match options.get_ssl_mode() {
        MySqlSslMode::Disabled | MySqlSslMode::Preferred => false,
        MySqlSslMode::Required | MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => true,
    };
    leaves && !demanded
}

/// Finds what a URL says wrongly about TLS.
pub(crate) fn check_parameters(url: &str) -> Result<(), &'static str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let lower = name.to_ascii_lowercase();
        let is_known = PARAMETERS.contains(&&*name);
        if !is_known && (lower.contains("ssl") || lower.contains("tls")) {
            return Err(
                "has a parameter that is not known; those for TLS are ssl-mode, ssl-ca, ssl-cert and ssl-key",
            );
        }
        let is_mode = is_known && name.ends_with("mode");
        if is_mode && !MODES.contains(&&*value.to_ascii_lowercase()) {
            return Err(
                "has an unknown ssl-mode; write DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
            );
        }
        if is_known && !is_mode && std::fs::File::open(&*value).is_err() {
            return Err("names a file in ssl-ca, ssl-cert or ssl-key that cannot be read");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_along_is_told() {
        for (url, exposed) in [
            ("mysql://u:p@127.0.0.1/d", false),
            ("mysql://u:p@localhost/d", false),
            ("mysql://u:p@[::1]/d", false),
            ("mysql://u:p@db.example/d?socket=/run/my.sock", false),
            ("mysql://u:p@db.example/d", true),
            ("mysql://u:p@db.example/d?ssl-mode=PREFERRED", true),
            ("mysql://u:p@db.example/d?ssl-mode=DISABLED", true),
            ("mysql://u:p@db.example/d?ssl-mode=REQUIRED", false),
            ("mysql://u:p@db.example/d?ssl-mode=VERIFY_IDENTITY", false),
        ] {
            assert_eq!(is_exposed(&url.parse().unwrap()), exposed, "{url}");
        }
    }

    #[test]
    fn what_the_driver_would_ignore_is_refused() {
        let here = file!();
        let readable = std::fs::File::open(here).map_or("/dev/null", |_| here);
        for query in [
            "",
            "?ssl-mode=REQUIRED",
            "?sslmode=verify_ca",
            &format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={readable}"),
            "?charset=utf8mb4",
        ] {
            let url = format!("mysql://u:p@h/d{query}");
            assert_eq!(check_parameters(&url), Ok(()), "{url}");
        }
        for query in [
            "?ssl_mode=REQUIRED",
            "?SSL-MODE=REQUIRED",
            "?useSSL=true",
            "?tls=true",
            "?ssl-mode=VERIFY",
            "?ssl-mode=",
            "?ssl-ca=/nowhere/ca.pem",
        ] {
            let url = format!("mysql://u:hunter2@h/d{query}");
            let problem = check_parameters(&url).unwrap_err();
            assert!(!problem.contains("hunter2"));
        }
    }
}
