//! Which devices a round goes to, and through which providers in turn.

use crate::id::{DeviceId, RegistrationId};
use crate::job::{Job, JobTarget};
use crate::outcome::Sent;
use crate::provider::{DeliveryPolicy, Platform, Provider};
use crate::token::{ExpoToken, FcmToken, Token};

/// A registered device with the tokens that are alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its row.
    pub registration: RegistrationId,
    /// The app's own name for it.
    pub device_id: Option<DeviceId>,
    /// What it runs.
    pub platform: Platform,
    /// Its FCM registration token.
    pub fcm: Option<FcmToken>,
    /// Its Expo push token.
    pub expo: Option<ExpoToken>,
}

impl Device {
    fn token(&self, provider: Provider) -> Option<Token> {
        match provider {
            Provider::Fcm => self.fcm.clone().map(Token::Fcm),
            Provider::Expo => self.expo.clone().map(Token::Expo),
        }
    }
}

/// A target with the tokens to try in turn: the next one only where the one before surely did not
/// and will not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTarget {
    /// The target as the job has it, or as it enters the job in the first round.
    pub target: JobTarget,
    /// What the device runs; `None` when the device is gone.
    pub platform: Option<Platform>,
    /// The tokens to try; empty when the device has none (any more).
    pub routes: Vec<Token>,
}

/// How the service reaches devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// One provider a device, or every one it has a token for.
    pub policy: DeliveryPolicy,
    /// The providers that are set up.
    pub providers: Vec<Provider>,
}

impl Reach {
    /// The targets of this round. In the first, none means that the customer cannot be reached.
    #[must_use]
    pub fn plan(&self, job: &Job, devices: &[Device]) -> Vec<PlannedTarget> {
        let sent = if job.interrupted {
            Sent::Maybe
        } else {
            Sent::SurelyNot
        };
        match &job.targets {
            None => devices
                .iter()
                .flat_map(|device| self.first_round(device, sent))
                .collect(),
            Some(targets) => targets
                .iter()
                .map(|target| self.later_round(target, sent, devices))
                .collect(),
        }
    }

    fn first_round(&self, device: &Device, sent: Sent) -> Vec<PlannedTarget> {
        let tokens = self.tokens(device, Provider::Fcm, Sent::SurelyNot);
        let one_by_one = match (self.policy, sent) {
            (DeliveryPolicy::Failover, _) if tokens.is_empty() => vec![],
            (DeliveryPolicy::Failover, Sent::SurelyNot) => vec![tokens],
            (DeliveryPolicy::Failover, Sent::Maybe) => vec![tokens.into_iter().take(1).collect()],
            (DeliveryPolicy::Both, _) => tokens.into_iter().map(|token| vec![token]).collect(),
        };
        let planned = |routes: Vec<Token>| {
            let provider = routes.first()?.provider();
            let registration = device.registration;
            let target = JobTarget {
                registration,
                provider,
                tries: 0,
                sent,
                not_before: None,
                put_back: None,
                to_mend: None,
            };
            Some(PlannedTarget {
                target,
                platform: Some(device.platform),
                routes,
            })
        };
        one_by_one.into_iter().filter_map(planned).collect()
    }

    fn later_round(&self, target: &JobTarget, sent: Sent, devices: &[Device]) -> PlannedTarget {
        let target = JobTarget {
            sent: target.sent.or(sent),
            ..target.clone()
        };
        let device = devices
            .iter()
            .find(|device| device.registration == target.registration);
        let routes = match (device, self.policy) {
            (None, _) => vec![],
            (Some(device), DeliveryPolicy::Failover) => {
                self.tokens(device, target.provider, target.sent)
            }
            (Some(device), DeliveryPolicy::Both) => {
                device.token(target.provider).into_iter().collect()
            }
        };
        PlannedTarget {
            target,
            platform: device.map(|device| device.platform),
            routes,
        }
    }

    /// The device's tokens from `first` on: never another provider after a *maybe delivered*.
    fn tokens(&self, device: &Device, first: Provider, sent: Sent) -> Vec<Token> {
        Provider::ALL
            .iter()
            .filter(|&&provider| match sent {
                Sent::SurelyNot => provider >= first,
                Sent::Maybe => provider == first,
            })
            .filter(|provider| self.providers.contains(provider))
            .filter_map(|&provider| device.token(provider))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Provider::{Expo, Fcm};
    use Sent::{Maybe, SurelyNot};

    fn device(fcm: bool, expo: bool) -> Device {
        let fcm = fcm.then(|| FcmToken::parse("fcm-token-of-the-device").unwrap());
        let expo = expo.then(|| ExpoToken::parse("ExponentPushToken[the-device]").unwrap());
        Device {
            registration: RegistrationId(1),
            device_id: None,
            platform: Platform::Android,
            fcm,
            expo,
        }
    }

    fn failover() -> Reach {
        Reach {
            policy: DeliveryPolicy::Failover,
            providers: Provider::ALL.to_vec(),
        }
    }

    fn providers(planned: &PlannedTarget) -> Vec<Provider> {
        planned.routes.iter().map(Token::provider).collect()
    }

    /// The providers that are asked in turn in a later round.
    fn asked(asked_last: Provider, was: Sent, interrupted: Sent, device: Device) -> Vec<Provider> {
        let target = JobTarget {
            registration: RegistrationId(1),
            provider: asked_last,
            tries: 1,
            sent: was,
            not_before: None,
            put_back: None,
            to_mend: None,
        };
        let planned = failover().later_round(&target, interrupted, &[device]);
        assert_eq!(planned.target.sent, was.or(interrupted), "it is remembered");
        providers(&planned)
    }

    #[test]
    fn who_may_have_delivered_is_the_only_one_asked_again() {
        for (was, interrupted) in [(Maybe, SurelyNot), (SurelyNot, Maybe), (Maybe, Maybe)] {
            for first in [Fcm, Expo] {
                let routes = asked(first, was, interrupted, device(true, true));
                assert_eq!(routes, [first], "{was:?} {interrupted:?}");
            }
            // Its token is gone: rather nobody than another one.
            assert_eq!(asked(Fcm, was, interrupted, device(false, true)), []);
            assert_eq!(asked(Expo, was, interrupted, device(true, false)), []);
        }
    }

    #[test]
    fn who_surely_did_not_deliver_is_followed_by_the_next_and_never_by_the_one_before() {
        let sure = |first, device| asked(first, SurelyNot, SurelyNot, device);
        assert_eq!(sure(Fcm, device(true, true)), [Fcm, Expo]);
        assert_eq!(sure(Fcm, device(false, true)), [Expo]);
        assert_eq!(sure(Expo, device(true, true)), [Expo]);
        assert_eq!(sure(Expo, device(true, false)), []);
    }

    #[test]
    fn an_interrupted_first_round_asks_one_provider() {
        for (sent, routes) in [(SurelyNot, vec![Fcm, Expo]), (Maybe, vec![Fcm])] {
            let planned = failover().first_round(&device(true, true), sent);
            assert_eq!(planned.iter().map(providers).collect::<Vec<_>>(), [routes]);
        }
    }
}
