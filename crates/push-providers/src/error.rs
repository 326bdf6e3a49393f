//! What can be wrong before anything is sent.

use push_core::outcome::{Cause, Outcome, Retry};

/// Why a provider cannot be set up: a setting is wrong. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The service account's key cannot be read.
    #[error(
        "the private key is not a PKCS#8 RSA key in PEM form (`-----BEGIN PRIVATE KEY-----`); copy it whole from the service account's JSON file"
    )]
    PrivateKey,
    /// Nothing that Google would give to a project.
    #[error(
        "the Firebase project id may only have letters, digits, `-`, `.` and `:`, and must not be empty"
    )]
    ProjectId,
    /// An address that no request can be sent to.
    #[error("{setting} is not an http:// or https:// address")]
    Address {
        /// Which setting: `base_url`, `token_uri`.
        setting: &'static str,
    },
    /// A secret that cannot stand in a header.
    #[error("the Expo access token has characters that an HTTP header cannot carry")]
    AccessToken,
    /// Nothing could ever be sent.
    #[error("max_in_flight must be at least 1")]
    NothingInFlight,
    /// TLS, most likely: no usable root certificates, no crypto provider.
    #[error("the HTTP client cannot be built: {0}")]
    HttpClient(String),
    /// The batcher needs a runtime to run on.
    #[error("must be called within a tokio runtime")]
    NoRuntime,
}

/// Why no access token can be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The token endpoint cannot be reached, or does not answer as it should: may pass by itself.
    #[error("the token endpoint gives no answer ({code}): {text}")]
    Unreachable {
        /// Short and stable.
        code: String,
        /// In words.
        text: String,
    },
    /// The token endpoint knows us and says no: someone must mend the credentials.
    #[error("the token endpoint refuses the service account ({code}): {text}")]
    Refused {
        /// Google's own, such as `invalid_grant`.
        code: String,
        /// In words.
        text: String,
    },
}

/// Why a provider would not take what we send, as a trial shows it that delivers nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// No answer, or none that says whether we are taken: may pass by itself.
    #[error("no usable answer ({code}): {text}")]
    NoAnswer {
        /// The provider's own, or ours.
        code: String,
        /// In words.
        text: String,
    },
    /// It says no: someone must mend credentials, project or address.
    #[error("refused ({code}): {text}")]
    Refused {
        /// The provider's own, or ours.
        code: String,
        /// In words.
        text: String,
    },
}

impl TrialError {
    /// What an outcome says about the trial. `Ok`: the provider takes what we send.
    pub(crate) fn judge(outcome: Outcome) -> Result<(), Self> {
        match outcome {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Retry(Retry { cause, .. }) => {
                let Cause { code, text } = cause;
                Err(Self::NoAnswer { code, text })
            }
            Outcome::TokenDead(cause)
            | Outcome::OperatorMustAct { cause, .. }
            | Outcome::Refused(cause) => {
                let Cause { code, text } = cause;
                Err(Self::Refused { code, text })
            }
        }
    }
}
