//! `customer_push_tokens`: a row is one device of one customer.

pub(crate) mod active;
pub(crate) mod most;
pub(crate) mod off;
pub(crate) mod off_list;
pub(crate) mod register;
pub(crate) mod version;

use push_core::changed::{Changed, CustomerVersion};
use push_core::id::{CustomerId, DeviceId, RegistrationId};
use push_core::left_out::TokenOff;
use push_core::plan::Device;
use push_core::preferences::Preferences;
use push_core::provider::{Platform, Provider};
use push_core::token::{ExpoToken, FcmToken};
use push_seal::Keyring;

pub(crate) use off::{DeadKey, switch_off_in, switch_off_keys_in};
pub use off::{DeadToken, SwitchedOff};
pub(crate) use version::count_up;

use crate::decode::Row;
use crate::error::StoreError;
use crate::sealing;

/// Devices of a customer that are active at a time. Nobody has as many; whoever registers one more has the one switched
/// off that was registered longest ago.
pub const DEVICES_MAX: u32 = 50;

/// The table of the rows that are read here.
const TABLE: &str = "customer_push_tokens";

/// What a customer's pushes depend on, as one look at the database found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// It holds for as long as the customer is at this version.
    pub version: CustomerVersion,
    /// What the customer wants to get, and when.
    pub preferences: Preferences,
    /// The devices with their live tokens; one without a live token is left out.
    pub devices: Vec<Device>,
    /// Their tokens that are off, of the latest ten devices: to tell why they are.
    pub off: Vec<TokenOff>,
}

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
    /// Whose devices are not what they were: the customer's own, and those of others who lost a token to this one
    /// (P4). Empty when the app told what was known.
    pub changed: Vec<Changed>,
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

/// A token as it was given.
pub(crate) fn open_token(
    keys: &Keyring,
    kept: Option<String>,
    provider: Provider,
    customer: i64,
    at: &Row<u64>,
) -> Result<Option<String>, StoreError> {
    let column = match provider {
        Provider::Fcm => "fcm_token",
        Provider::Expo => "expo_push_token",
    };
    let place = sealing::token(provider, customer);
    kept.map(|kept| sealing::open(keys, &place, kept, at, column))
        .transpose()
}
