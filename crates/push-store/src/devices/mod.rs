//! `customer_push_tokens`: a row is one device of one customer.

pub(crate) mod active;
pub(crate) mod off;
pub(crate) mod register;

use push_core::id::{CustomerId, DeviceId, RegistrationId};
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken};

pub use off::DeadToken;
pub(crate) use off::{DeadKey, switch_off_in, switch_off_keys_in};

/// The table of the rows that are read here.
const TABLE: &str = "customer_push_tokens";

/// What an app registers: at least one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whose device it is.
    pub customer: CustomerId,
    /// What it runs.
    pub platform: Platform,
    /// The app's own name for it; matched before the tokens.
    pub device_id: Option<DeviceId>,
    /// Its FCM token. `None` keeps the one that is known.
    pub fcm: Option<FcmToken>,
    /// Its Expo token. `None` keeps the one that is known.
    pub expo: Option<ExpoToken>,
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The device's row.
    pub registration: RegistrationId,
    /// Whether the row was added; else it was updated.
    pub new: bool,
    /// Other customers who lost a token to this one (P4): what is cached for them is wrong now.
    pub moved_from: Vec<CustomerId>,
}

/// Which device or token to unregister.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identification {
    /// The whole device.
    pub device_id: Option<DeviceId>,
    /// This token, wherever the customer has it.
    pub fcm: Option<FcmToken>,
    /// This token, wherever the customer has it.
    pub expo: Option<ExpoToken>,
}
