//! What can go wrong with the broker, as far as a caller can tell the difference.
//!
//! None of these texts holds a password or a message's content.

/// Why a URL cannot be used. Does not repeat the URL, which holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// Not of the form that the AMQP URI specification asks for.
    #[error("is no AMQP URL ({0}); write amqp://user:password@host:5672/%2f, or amqps:// for TLS")]
    Malformed(String),
    /// `amqp://host/`: by the AMQP URI specification that is the virtual host with an empty name,
    /// which is hardly ever meant.
    #[error(
        "names the virtual host \"\" (nothing after the last /); write /%2f for the default one"
    )]
    EmptyVirtualHost,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No answer, or not the answer of a broker. Passes by itself when the broker is back.
    #[error("{0}")]
    Away(String),
    /// The broker answered, and someone has to change something: credentials, virtual host,
    /// permissions.
    #[error(
        "the broker refuses us: {0}. Mend user, password or virtual host in AMQP_URL, or what the user may do there \
         (`rabbitmqctl list_permissions`, `set_permissions`)"
    )]
    Refused(String),
    /// TLS could not be agreed on, so nothing was said to the broker.
    #[error(
        "TLS failed: {0}. Mend AMQP_URL, the broker's certificate, or the authorities in SSL_CERT_FILE"
    )]
    Tls(&'static str),
    /// Something exists under one of our names, and is not what we declare.
    #[error(
        "{what} cannot be declared, because it exists with other settings: {reason}. Set those back, \
         or delete it once it is empty (for a queue `rabbitmqctl delete_queue <name>`); it is \
         declared anew by itself"
    )]
    Topology {
        /// Which exchange, queue or binding.
        what: String,
        /// What the broker said.
        reason: String,
    },
}

impl ConnectError {
    /// Whether waiting does not help.
    pub(crate) const fn needs_operator(&self) -> bool {
        match self {
            Self::Away(_) => false,
            Self::Refused(_) | Self::Tls(_) | Self::Topology { .. } => true,
        }
    }
}

/// What became of a message that was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Surely not published: there is no connection.
    #[error("not published: the broker is away")]
    NotConnected,
    /// Surely not published: the broker takes nothing at the moment (memory or disk alarm), or more
    /// publishes wait for a confirm than may.
    #[error("not published: the broker takes nothing now: {0}")]
    Blocked(String),
    /// Surely not published: the broker said no (`basic.nack`), because the queue is full or has no
    /// leader.
    #[error("not published: the broker refused it")]
    Refused,
    /// Surely not published: no queue is bound under this name.
    #[error("not published: no queue is bound for it")]
    Unroutable,
    /// Perhaps published: the confirm did not come in time, or the channel was lost before it came.
    #[error("perhaps published: no confirm came")]
    Unknown,
}

impl PublishError {
    /// Whether the message may be on the broker all the same.
    #[must_use]
    pub const fn may_be_published(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::NotConnected | Self::Blocked(_) | Self::Refused | Self::Unroutable => false,
        }
    }
}

/// The channel of a delivery is gone, so it could not be settled: the broker delivers the message
/// again, to whoever consumes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is lost; the broker delivers the message again")]
pub struct ChannelLost;

/// Why a queue could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepthError {
    /// There is no connection.
    #[error("the broker is away")]
    NotConnected,
    /// There is no such queue, or we may not see it.
    #[error("the broker does not tell: {0}")]
    Refused(String),
    /// The broker did not answer in time.
    #[error("the broker did not answer in time")]
    TimedOut,
}
