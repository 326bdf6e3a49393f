//! Where the broker is, and how we introduce ourselves.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};
use push_core::host;

use push_seal::Keyring;

use crate::error::BrokerUrlError;
use crate::topology::Topology;

/// A frozen broker is noticed after twice this ("Detecting Dead TCP Connections with Heartbeats").
const HEARTBEAT_SECONDS: u16 = 5;

/// The longest frame where we publish, unless `AMQP_URL` or the broker says otherwise. lapin keeps 32 times as much for either
/// direction of a connection, all of it in memory: with RabbitMQ's own limit (128 KiB) that is 8 MB. Bodies are split into
/// frames; headers come in one, which lapin takes for a violation when it is longer. So this is not for where we consume: a
/// stranger's headers may be as long as the broker takes them.
const PUBLISHED_FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What [`crate::Broker::start`] needs.
#[derive(Clone)]
pub struct BrokerSettings {
    /// `amqp://user:password@host:5672/%2f`, or `amqps://`. `?heartbeat=<seconds>` counts, else it
    /// is 5 s.
    pub url: String,
    /// What has to be on the broker.
    pub topology: Topology,
    /// What the management page shows for our connections, such as `push-worker`.
    pub connection_name: String,
    /// What jobs are sealed with, and opened.
    pub keys: Keyring,
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSettings")
            .field("url", &"<redacted>")
            .field("topology", &self.topology)
            .field("connection_name", &self.connection_name)
            .field("keys", &self.keys)
            .finish()
    }
}

/// Reads `AMQP_URL`, as far as that can be done without a broker.
///
/// # Errors
/// [`BrokerUrlError`], which does not repeat the URL: it holds a password.
pub fn parse_url(url: &str) -> Result<String, BrokerUrlError> {
    address_of(url).map(|_| url.to_owned())
}

/// Where to connect to. No `Debug`: it holds the password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) AMQPUri);

impl fmt::Display for Address {
    /// For logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = &self.0;
        let (host, port) = (&authority.host, authority.port);
        write!(f, "{scheme}://{host}:{port}, virtual host {vhost:?}")
    }
}

impl Address {
    /// The same for a connection on which only is published.
    pub(crate) fn to_publish(&self) -> Self {
        let mut address = self.clone();
        let frame_max = &mut address.0.query.frame_max;
        frame_max.get_or_insert(PUBLISHED_FRAME_BYTES_MAX);
        address
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// Whether others may read along: it leaves this machine in plaintext.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.is_tls() && !host::is_loopback(&self.0.authority.host)
    }

    /// How the bytes travel, for people.
    pub(crate) fn transport(&self) -> &'static str {
        if self.is_tls() {
            "encrypted (certificate and host name checked)"
        } else {
            "NOT encrypted"
        }
    }
}

pub(crate) fn address_of(url: &str) -> Result<Address, BrokerUrlError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("amqp" | "amqps")) {
        let problem = "the scheme must be amqp or amqps";
        return Err(BrokerUrlError::Malformed(problem.to_owned()));
    }
    // The parser's own errors are not passed on where they could quote the URL.
    let mut uri: AMQPUri = url.parse().map_err(|error: String| {
        let quotes_url = error.contains("://") || error.contains('@');
        let text = if quotes_url {
            "it cannot be parsed"
        } else {
            &error
        };
        BrokerUrlError::Malformed(text.to_owned())
    })?;
    if uri.vhost.is_empty() {
        return Err(BrokerUrlError::EmptyVirtualHost);
    }
    if let Some(host) = ipv6_host(url) {
        // lapin's parser takes `localhost` for any IPv6 address.
        uri.authority.host = host.to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(Address(uri))
}

fn ipv6_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    host.strip_prefix('[')?.split(']').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_the_amqp_uri_specification_says() {
        for (url, host, port, vhost, heartbeat) in [
            ("amqp://localhost", "localhost", 5672, "/", 5),
            ("amqp://u:p@mq.example:5673/%2f", "mq.example", 5673, "/", 5),
            (
                "amqps://u:p@mq.example/push%2ftest",
                "mq.example",
                5671,
                "push/test",
                5,
            ),
            (
                "amqp://u:p@10.0.0.1/push?heartbeat=30",
                "10.0.0.1",
                5672,
                "push",
                30,
            ),
            (
                "amqp://u:p@[2001:db8::1]:5673/%2f",
                "2001:db8::1",
                5673,
                "/",
                5,
            ),
        ] {
            let Address(uri) = address_of(url).unwrap();
            assert_eq!(
                (
                    uri.authority.host.as_str(),
                    uri.authority.port,
                    uri.vhost.as_str(),
                    uri.query.heartbeat
                ),
                (host, port, vhost, Some(heartbeat)),
                "{url}"
            );
        }
    }

    #[test]
    fn published_frames_are_short_unless_the_url_says_otherwise() {
        let frame_max = |url| {
            let address = address_of(url).unwrap();
            let published = address.to_publish().0.query.frame_max;
            (address.0.query.frame_max, published)
        };
        let short = Some(PUBLISHED_FRAME_BYTES_MAX);
        assert_eq!(frame_max("amqp://localhost"), (None, short));
        let (set, same) = frame_max("amqp://localhost/%2f?frame_max=131072");
        assert_eq!((set, same), (Some(131_072), Some(131_072)));
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in [
            "",
            "guest:s3cret@localhost",
            "http://u:s3cret@localhost",
            "amqp://u:s3cret@localhost:99999/%2f",
            "amqp://u:s3cret@local host/",
            "amqp:u:s3cret",
            "amqp://u:s3cret@host/%2f?heartbeat=soon",
            "amqp://u:s3cret@host/",
            "amqp://u:s3cret@host/%ff",
            "amqp://u:s3cret@[::1/%2f",
        ] {
            let error = address_of(url)
                .err()
                .unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn who_may_read_along_is_told() {
        for (url, exposed) in [
            ("amqp://u:p@localhost", false),
            ("amqp://u:p@127.0.0.1:5673/%2f", false),
            ("amqp://u:p@[::1]/%2f", false),
            ("amqp://u:p@mq.example/%2f", true),
            ("amqp://u:p@[2001:db8::1]/%2f", true),
            ("amqps://u:p@mq.example/%2f", false),
        ] {
            assert_eq!(address_of(url).unwrap().is_exposed(), exposed, "{url}");
        }
    }

    #[test]
    fn debug_hides_the_url() {
        let settings = BrokerSettings {
            url: "amqp://u:s3cret@localhost".to_owned(),
            topology: Topology {
                retry_delays: Vec::new(),
                receipt_delays: Vec::new(),
            },
            connection_name: "test".to_owned(),
            keys: Keyring::default(),
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
