//! What it means when a request gets no answer: the table of the ways in which a connection fails.
//!
//! The question is always whether the provider may have processed the message all the same.
//! Only where that is impossible the answer is [`Sent::SurelyNot`].

use std::error::Error;
use std::io;
use std::time::Duration;

use push_core::outcome::{Cause, Outcome, Pause, Retry, Sent, Trouble};

/// "At least 10 s before a failed request is tried again" (Firebase docs, "Best practices when
/// sending FCM messages at scale"); Expo names no figure, and ten seconds hurt no one there.
pub(crate) const FLOOR: Duration = Duration::from_secs(10);

/// A request that got no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Why, in our words.
    pub(crate) cause: Cause,
    /// Whether the provider may have processed it.
    pub(crate) sent: Sent,
    /// Whether trying again at once is right: nothing was processed, and the reason passes quickly.
    pub(crate) at_once: bool,
    /// What is known of the connection afterwards.
    pub(crate) connection: Connection,
}

/// What is known of the connection after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// None came about. Whoever waits for the same one waits in vain.
    Failed,
    /// It is gone: the next request opens another.
    Lost,
    /// Nothing speaks against it.
    Kept,
}

impl Failure {
    /// Reads what reqwest reports. Its texts hold addresses and are not passed on.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            return Self::not_sent("request_not_built", "The request could not be built.");
        }
        if error.is_connect() {
            return Self {
                connection: Connection::Failed,
                ..Self::connecting(error)
            };
        }
        if find::<h2::Error>(error).is_some_and(is_refused_unprocessed) {
            let text = "The provider refused the HTTP/2 stream before it looked at the message.";
            return Self {
                at_once: true,
                ..Self::not_sent("stream_refused", text)
            };
        }
        if error.is_timeout() {
            return Self::maybe_sent("timeout", "No answer came in time.");
        }
        // A pooled connection that died while idle also ends here, if the request may have been
        // written to it. Where it surely was not, hyper-util has already taken another connection.
        Self {
            connection: Connection::Lost,
            ..Self::maybe_sent(
                "connection_lost",
                "The connection broke before the answer was there.",
            )
        }
    }

    /// No connection, so nothing was sent.
    fn connecting(error: &reqwest::Error) -> Self {
        if error.is_dns() {
            return Self::not_sent(
                "dns_failed",
                "The provider's host name could not be resolved.",
            );
        }
        if find::<rustls::Error>(error).is_some() {
            let text = "The provider's TLS certificate or protocol was not acceptable.";
            return Self::not_sent("tls_failed", text);
        }
        if find::<io::Error>(error)
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            let refused = Self::not_sent(
                "connection_refused",
                "The provider's address refuses connections.",
            );
            return Self {
                at_once: true,
                ..refused
            };
        }
        if error.is_timeout() {
            return Self::not_sent("connect_timeout", "No connection was established in time.");
        }
        Self::not_sent("connect_failed", "No connection could be established.")
    }

    pub(crate) fn not_sent(code: &str, text: &str) -> Self {
        Self {
            cause: Cause::new(code, text),
            sent: Sent::SurelyNot,
            at_once: false,
            connection: Connection::Kept,
        }
    }

    pub(crate) fn maybe_sent(code: &str, text: &str) -> Self {
        Self {
            cause: Cause::new(code, text),
            sent: Sent::Maybe,
            at_once: false,
            connection: Connection::Kept,
        }
    }

    /// For the ladder.
    pub(crate) fn into_retry(self) -> Retry {
        Retry {
            cause: self.cause,
            pause: Pause::AtLeast(FLOOR),
            sent: self.sent,
            trouble: Trouble::Provider,
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Retry(failure.into_retry())
    }
}

/// RFC 9113, sections 6.8 and 8.7: a stream that was refused, or that is above the last one named
/// by a graceful GOAWAY, was not processed.
fn is_refused_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
}

/// The first error of a kind in the chain of causes. What an [`io::Error`] wraps is not among its
/// `source`s, so it is looked into as well.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find::<E>(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
