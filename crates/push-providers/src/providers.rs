//! The providers that are configured.

use push_core::outcome::{Cause, Outcome, Withheld};
use push_core::provider::Provider;

use crate::{Expo, Fcm, Push, PushProvider};

/// The providers that are configured (`PROVIDERS`).
#[derive(Debug)]
pub struct Providers {
    /// FCM.
    pub fcm: Option<Fcm>,
    /// Expo.
    pub expo: Option<Expo>,
}

impl Providers {
    /// Sends through the provider that the token belongs to.
    ///
    /// # Errors
    /// [`Withheld`] when the push was not handed over.
    pub async fn send(&self, push: Push) -> Result<Outcome, Withheld> {
        match push.token.provider() {
            Provider::Fcm => match &self.fcm {
                Some(fcm) => fcm.send(push).await,
                None => Ok(not_configured()),
            },
            Provider::Expo => match &self.expo {
                Some(expo) => expo.send(push).await,
                None => Ok(not_configured()),
            },
        }
    }

    /// Those that are there.
    #[must_use]
    pub fn configured(&self) -> Vec<Provider> {
        let fcm = self.fcm.as_ref().map(|_| Provider::Fcm);
        let expo = self.expo.as_ref().map(|_| Provider::Expo);
        fcm.into_iter().chain(expo).collect()
    }
}

fn not_configured() -> Outcome {
    Outcome::operator_must_act(Cause::new(
        "not_configured",
        "The device has a token of a provider that this worker has no credentials for.",
    ))
}
