//! FCM HTTP v1.

mod access_token;
pub(crate) mod classify;
pub(crate) mod client;
pub(crate) mod connections;
mod first;
mod message;
pub(crate) mod service_account;
mod trial;

use std::time::Duration;

use push_core::lane::LaneSettings;
use push_core::outcome::{Outcome, Withheld};
use push_core::provider::Provider;
use secrecy::SecretString;

pub use crate::fcm::access_token::Credential;
use crate::fcm::client::FcmClient;
use crate::{CheckError, Look, Push, PushProvider, SetupError, TrialError};

/// What FCM needs to know.
#[derive(Clone, Debug)]
pub struct FcmSettings {
    /// The Firebase project's id or number.
    pub project_id: String,
    /// The service account's e-mail address.
    pub client_email: String,
    /// The service account's key: PKCS#8 PEM. The two characters `\n` are taken for a line break.
    pub private_key: SecretString,
    /// Where access tokens are had: [`Self::TOKEN_URI`] unless simulated.
    pub token_uri: String,
    /// Where messages go: [`Self::BASE_URL`] unless simulated or behind a gateway. `https://` negotiates HTTP/2, `http://`
    /// speaks HTTP/1.1, and `h2c://` HTTP/2 without TLS.
    pub base_url: String,
    /// How many requests are under way at most.
    pub max_in_flight: usize,
    /// How long one request may take, body included. Google asks for 10 s at least.
    pub request_timeout: Duration,
    /// How a push looks and sounds.
    pub look: Look,
}

impl FcmSettings {
    /// Google's token endpoint.
    pub const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
    /// Google's FCM.
    pub const BASE_URL: &str = "https://fcm.googleapis.com";
    /// As the official SDK has it (firebase-admin, `api-request.js`).
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
}

/// FCM HTTP v1, as one Firebase project.
#[derive(Debug)]
pub struct Fcm {
    client: FcmClient,
}

impl Fcm {
    /// Reads the settings; sends nothing yet.
    ///
    /// # Errors
    /// [`SetupError`] names the setting that is wrong.
    pub fn new(settings: FcmSettings) -> Result<Self, SetupError> {
        Ok(Self {
            client: FcmClient::new(settings)?,
        })
    }

    /// How its lane is driven: after "too many" nothing for a minute unless FCM names a time, then, as after an outage, from
    /// nothing to all within a minute (Firebase docs, "Best practices when sending FCM messages at scale"). All is 600,000 a
    /// minute (Firebase docs, "Throttling and quotas").
    #[must_use]
    pub const fn lane(in_flight_max: usize, seed: u64) -> LaneSettings {
        LaneSettings {
            in_flight_max,
            pause: classify::FLOOR_429,
            ramp: Duration::from_secs(60),
            full: 10_000.0,
            seed,
        }
    }

    /// Obtains an access token: a test of the credentials, and a warm-up.
    ///
    /// # Errors
    /// [`CheckError`] says whether it may pass by itself.
    pub async fn check(&self) -> Result<(), CheckError> {
        self.client.access_tokens.get().await?;
        Ok(())
    }

    /// How the access token stands.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.client.access_tokens.credential()
    }

    /// Has FCM judge a message without delivering it: a test of the credentials and the project, all the way.
    ///
    /// # Errors
    /// [`TrialError`] says whether it may pass by itself.
    pub async fn try_out(&self) -> Result<(), TrialError> {
        self.client.try_out().await
    }
}

impl PushProvider for Fcm {
    const PROVIDER: Provider = Provider::Fcm;

    async fn send(&self, push: Push) -> Result<Outcome, Withheld> {
        self.client.send(&push).await
    }
}
