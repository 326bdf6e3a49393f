//! The servers that `cargo xtask test` starts, and where the programs are.

use std::path::PathBuf;

/// A server as a URL names it, taken apart so that a test can put something in between.
#[derive(Clone, Debug)]
pub struct Server {
    /// Scheme and credentials: all before the address.
    pub prefix: String,
    /// Host and port.
    pub address: String,
    /// What follows what is on it: nothing, or parameters from their `?` on.
    pub parameters: String,
}

impl Server {
    /// Takes `scheme://user:password@host:port/…` apart.
    ///
    /// # Panics
    /// When there is no scheme.
    #[must_use]
    pub fn parse(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (format!("{user}@"), address),
            None => (String::new(), authority),
        };
        Self {
            prefix: format!("{scheme}://{user}"),
            address: address.to_owned(),
            parameters: String::new(),
        }
    }

    /// The URL of something on this server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{}/{path}{}", self.prefix, self.address, self.parameters)
    }

    /// The same server, reached through another address.
    #[must_use]
    pub fn through(&self, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            ..self.clone()
        }
    }
}

/// Everything that was there before the test.
#[derive(Clone, Debug)]
pub struct Servers {
    /// MariaDB or MySQL.
    pub database: Server,
    /// RabbitMQ.
    pub broker: Server,
    /// RabbitMQ's management API.
    pub management: Server,
}

impl Servers {
    /// As the environment says.
    #[must_use]
    pub fn of_environment() -> Self {
        Self {
            database: Server::parse(&variable("PUSH_TEST_DATABASE_URL")),
            broker: Server::parse(&variable("PUSH_TEST_AMQP_URL")),
            management: Server::parse(&variable("PUSH_TEST_RABBIT_MANAGEMENT_URL")),
        }
    }
}

/// Where the built programs are.
#[must_use]
pub fn programs() -> PathBuf {
    PathBuf::from(variable("PUSH_TEST_BIN_DIR"))
}

/// Where one of the built programs is.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// Where the programs of the version before are, if there is one to upgrade from.
#[must_use]
pub fn programs_before() -> Option<PathBuf> {
    std::env::var_os("PUSH_TEST_BIN_DIR_BEFORE").map(PathBuf::from)
}

/// Where a test may keep a server of its own.
#[must_use]
pub fn services_dir() -> PathBuf {
    PathBuf::from(variable("PUSH_TEST_SERVICES_DIR"))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run the tests with `cargo xtask test`, or start servers with `cargo xtask services up` \
             and then eval \"$(cargo xtask services env)\""
        )
    })
}
