//! Identifiers. Each is a type of its own, so that one cannot be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies a notification for its whole life: in the API, in the queue, on the device
/// (`data.notificationId`) and in `notification_history.notification_id`.
///
/// A version 7 UUID: ordered by the time of acceptance, so that inserts go to the end of the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(Uuid);

impl NotificationId {
    /// A new id, unique across replicas.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as it is stored and sent.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for NotificationId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A customer of the booking backend: `customers.id`, always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct CustomerId(i64);

/// A customer id that is zero or negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a positive integer")]
pub struct InvalidCustomerId;

impl CustomerId {
    /// The id as it is stored.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for CustomerId {
    type Error = InvalidCustomerId;

    fn try_from(id: i64) -> Result<Self, InvalidCustomerId> {
        if id > 0 {
            Ok(Self(id))
        } else {
            Err(InvalidCustomerId)
        }
    }
}

impl From<CustomerId> for i64 {
    fn from(id: CustomerId) -> Self {
        id.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One registered device: the row `customer_push_tokens.id`.
///
/// Not to be confused with [`DeviceId`], the name that an app may give its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistrationId(pub u64);

/// The app's own name for its device (`deviceId`), unique for one customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct DeviceId(String);

/// A `deviceId` that cannot be stored or indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 1 to {} printable ASCII characters, without a space at either end",
    DeviceId::BYTES_MAX
)]
pub struct InvalidDeviceId;

impl DeviceId {
    /// The column's width. Platform ids (Android's SSAID, iOS' vendor id, UUIDs) are far shorter.
    pub const BYTES_MAX: usize = 191;

    /// Reads an id that an app sent.
    ///
    /// # Errors
    /// [`InvalidDeviceId`] when it is empty, too long or not printable ASCII, or has a space at an
    /// end: the database takes `"d"` and `"d "` for the same.
    pub fn parse(id: &str) -> Result<Self, InvalidDeviceId> {
        let printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if id.is_empty() || id.trim() != id || id.len() > Self::BYTES_MAX || !printable {
            return Err(InvalidDeviceId);
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as the app sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceId {
    type Error = InvalidDeviceId;

    fn try_from(id: String) -> Result<Self, InvalidDeviceId> {
        Self::parse(&id)
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_told_apart_by_the_database_too() {
        let longest = "d".repeat(DeviceId::BYTES_MAX);
        for good in ["d", "My phone", "~!", &longest] {
            assert_eq!(DeviceId::parse(good).unwrap().as_str(), good);
        }
        let longer = "d".repeat(DeviceId::BYTES_MAX + 1);
        for bad in ["", " ", "d ", " d", "d\n", "d\u{e9}", &longer] {
            assert_eq!(DeviceId::parse(bad), Err(InvalidDeviceId), "{bad:?}");
        }
    }
}
