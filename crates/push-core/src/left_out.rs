//! Devices that a notification does not go to, and why: for whoever asks why a phone stayed silent.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::id::{DeviceId, RegistrationId};
use crate::plan::{Device, Reach};
use crate::provider::{Provider, spelled};
use crate::settle::Settlement;
use crate::timeline::{Step, TimelineEntry};
use crate::token::MaskedToken;

spelled! {
    /// Why a token is off (`customer_push_tokens.*_off_because`).
    WhyOff {
        /// The app said so.
        Unregistered = "unregistered",
        /// Its provider did.
        ReportedDead = "reported_dead",
        /// It, or another token of the same device, was registered by somebody else since.
        Moved = "moved",
        /// The customer registered more devices since than one may have.
        TooMany = "too_many",
    }
}

/// A token of a customer's that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOff {
    /// The device's row.
    pub registration: RegistrationId,
    /// The app's own name for the device.
    pub device_id: Option<DeviceId>,
    /// Whose token it is.
    pub provider: Provider,
    /// Which; `None`: somebody else has it now.
    pub token: Option<MaskedToken>,
    /// Why; `None`: it is not known.
    pub why: Option<WhyOff>,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl TokenOff {
    /// Devices of a customer of which is told: the latest.
    pub const DEVICES_MAX: u32 = 10;

    fn told(&self) -> String {
        let token = self.token.as_ref().map_or("a token", MaskedToken::as_str);
        let device = self.device_id.as_ref();
        let device = device.map_or_else(String::new, |id| format!(" of {}", id.as_str()));
        let why = match self.why {
            Some(WhyOff::Unregistered) => "unregistered by the app",
            Some(WhyOff::ReportedDead) => "reported as dead by its provider",
            Some(WhyOff::Moved) => "its device was registered for another customer or anew",
            Some(WhyOff::TooMany) => "the customer has registered too many others since",
            None => "switched off",
        };
        let since = self.since.to_rfc3339_opts(SecondsFormat::Millis, true);
        format!("{} {token}{device}: {why} at {since}", self.provider)
    }
}

/// Says which of a customer's devices are left out where devices are chosen for the first time, and why.
#[must_use]
pub fn left_out(reach: &Reach, active: &[Device], off: &[TokenOff]) -> Option<String> {
    let most = TokenOff::DEVICES_MAX as usize;
    let unreachable = active
        .iter()
        .filter_map(|device| unreachable(reach, device));
    let told: Vec<_> = unreachable
        .take(most)
        .chain(off.iter().map(TokenOff::told))
        .collect();
    (!told.is_empty()).then(|| format!("not tried: {}", told.join("; ")))
}

/// It has tokens, and none of a provider that is set up.
fn unreachable(reach: &Reach, device: &Device) -> Option<String> {
    let of = |provider: &Provider| match provider {
        Provider::Fcm => device.fcm.is_some(),
        Provider::Expo => device.expo.is_some(),
    };
    let has: Vec<_> = Provider::ALL.iter().copied().filter(of).collect();
    if has
        .iter()
        .any(|provider| reach.providers.contains(provider))
    {
        return None;
    }
    let has: Vec<_> = has.iter().map(|provider| provider.as_str()).collect();
    let name = device
        .device_id
        .as_ref()
        .map_or("a device", DeviceId::as_str);
    Some(format!(
        "{name} ({}): it has a token of {} only, which is not set up",
        device.platform,
        has.join(" and ")
    ))
}

/// Tells it where the settlement tells which devices were chosen.
pub fn tell(settlement: &mut Settlement, left_out: String) {
    let timeline = &mut settlement.timeline;
    let chosen = timeline
        .iter()
        .position(|entry| entry.step == Step::Devices);
    if let Some((place, at)) = chosen.and_then(|place| Some((place, timeline.get(place)?.at))) {
        timeline.insert(place + 1, TimelineEntry::new(at, Step::Devices, left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{DeliveryPolicy, Platform};
    use crate::token::{ExpoToken, FcmToken};

    fn device(name: &str, fcm: bool, expo: bool) -> Device {
        Device {
            registration: RegistrationId(1),
            device_id: Some(DeviceId::parse(name).unwrap()),
            platform: Platform::Ios,
            fcm: fcm.then(|| FcmToken::parse("fcm-token-of-the-device").unwrap()),
            expo: expo.then(|| ExpoToken::parse("ExponentPushToken[the-device]").unwrap()),
        }
    }

    #[test]
    fn each_device_that_gets_nothing_is_told_with_its_reason() {
        let reach = Reach {
            policy: DeliveryPolicy::Failover,
            providers: vec![Provider::Fcm],
        };
        let active = [device("good", true, true), device("other", false, true)];
        let off = |device_id: Option<&str>, token: Option<&str>, why| TokenOff {
            registration: RegistrationId(2),
            device_id: device_id.map(|id| DeviceId::parse(id).unwrap()),
            provider: Provider::Fcm,
            token: token.map(|token| MaskedToken::from_stored(token.to_owned())),
            why,
            since: "2030-01-02T03:04:05.678Z".parse().unwrap(),
        };
        let off = [
            off(Some("old"), Some("…abcd"), Some(WhyOff::ReportedDead)),
            off(None, Some("…efgh"), Some(WhyOff::Unregistered)),
            off(Some("sold"), None, Some(WhyOff::Moved)),
            off(None, Some("…ijkl"), None),
        ];
        let time = "2030-01-02T03:04:05.678Z";
        assert_eq!(
            left_out(&reach, &active, &off).unwrap(),
            format!(
                "not tried: other (ios): it has a token of expo only, which is not set up; \
                 fcm …abcd of old: reported as dead by its provider at {time}; \
                 fcm …efgh: unregistered by the app at {time}; \
                 fcm a token of sold: its device was registered for another customer or anew at {time}; \
                 fcm …ijkl: switched off at {time}"
            )
        );
        assert_eq!(left_out(&reach, &active[..1], &[]), None);
    }
}
