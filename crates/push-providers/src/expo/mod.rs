//! Expo Push.

pub(crate) mod api;
pub(crate) mod batcher;
pub(crate) mod classify;
pub(crate) mod message;
mod receipts;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use push_core::lane::LaneSettings;
use push_core::outcome::{Outcome, ProviderMessageId, Withheld};
use push_core::provider::Provider;
use push_core::receipt::Receipt;
use secrecy::SecretString;
use tokio::runtime::Handle;

use crate::expo::api::ExpoApi;
use crate::expo::batcher::Batcher;
use crate::{Look, Push, PushProvider, SetupError, TrialError};

/// In the shape of Expo's.
const NOBODYS_TICKET: &str = "00000000-0000-0000-0000-000000000000";

/// What Expo needs to know.
#[derive(Clone, Debug)]
pub struct ExpoSettings {
    /// Where messages go: [`Self::BASE_URL`] unless simulated or behind a gateway.
    pub base_url: String,
    /// Sent as bearer token if there is one (Expo's "enhanced push security").
    pub access_token: Option<SecretString>,
    /// Notifications in any second at most, of this process; Expo's limit is [`Self::RATE`] a
    /// project, so that several processes have to share it. What flows evenly is a sixth less.
    pub rate: NonZeroU32,
    /// How long one request may take, body included.
    pub request_timeout: Duration,
    /// How a push looks and sounds.
    pub look: Look,
}

impl ExpoSettings {
    /// Expo's.
    pub const BASE_URL: &str = "https://exp.host";
    /// Expo docs, "Send notifications with the Expo Push Service": 600 a second a project.
    pub const RATE: u32 = 600;
    /// Expo names none; the same as FCM's.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
}

/// The Expo Push Service, as one access token (or none).
#[derive(Debug)]
pub struct Expo {
    api: Arc<ExpoApi>,
    batcher: Batcher,
}

impl Expo {
    /// Reads the settings and starts the batcher on the current tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] names the setting that is wrong.
    pub fn new(settings: ExpoSettings) -> Result<Self, SetupError> {
        let runtime = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        let api = Arc::new(ExpoApi::new(settings)?);
        Ok(Self {
            batcher: Batcher::start(Arc::clone(&api), &runtime),
            api,
        })
    }

    /// How its lane is driven: after "too many" nothing for some seconds unless Expo names a time; then the rate holds.
    #[must_use]
    pub const fn lane(in_flight_max: usize, seed: u64) -> LaneSettings {
        LaneSettings {
            in_flight_max,
            pause: classify::FLOOR_429,
            ramp: Duration::ZERO,
            full: 600.0,
            seed,
        }
    }

    /// Asks what became of accepted pushes. Ids that have no receipt (yet, or any more) are absent
    /// from the answer.
    ///
    /// # Errors
    /// The outcome of asking, where Expo gives no receipts: later, not before an operator has acted, or
    /// never. Asking again does no harm.
    pub async fn receipts(
        &self,
        tickets: &[ProviderMessageId],
    ) -> Result<Vec<(ProviderMessageId, Receipt)>, Outcome> {
        receipts::receipts(&self.api, tickets).await
    }

    /// Asks for the receipt of a ticket that there never was: a test of the access token and the address that sends nothing.
    ///
    /// # Errors
    /// [`TrialError`] says whether it may pass by itself.
    pub async fn try_out(&self) -> Result<(), TrialError> {
        let nobodys = ProviderMessageId::new(NOBODYS_TICKET);
        match self.receipts(&[nobodys]).await {
            Ok(_) => Ok(()),
            Err(outcome) => TrialError::judge(outcome),
        }
    }
}

impl PushProvider for Expo {
    const PROVIDER: Provider = Provider::Expo;

    async fn send(&self, push: Push) -> Result<Outcome, Withheld> {
        self.batcher.send(push).await
    }
}
