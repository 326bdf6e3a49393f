//! The two providers, the platforms they reach, and which of them a device is reached through.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants have one stable spelling, used on the wire and in the database.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling used in JSON and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with this spelling, exactly.
            #[must_use]
            pub fn from_spelling(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::provider::UnknownSpelling;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::from_spelling(&text).ok_or($crate::provider::UnknownSpelling { what: stringify!($name), text })
            }
        }
    };
}
pub(crate) use spelled;

/// A text that is none of an enum's spellings, for example in a database column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct UnknownSpelling {
    /// The enum's name.
    pub what: &'static str,
    /// What was found.
    pub text: String,
}

spelled! {
    /// Who carries a push to a device.
    Provider {
        /// Firebase Cloud Messaging, HTTP v1.
        Fcm = "fcm",
        /// The Expo Push Service.
        Expo = "expo",
    }
}

spelled! {
    /// What a device runs.
    Platform {
        /// Android.
        Android = "android",
        /// iOS and iPadOS.
        Ios = "ios",
        /// A browser.
        Web = "web",
    }
}

spelled! {
    /// Through how many providers one device is reached (`DELIVERY_POLICY`).
    DeliveryPolicy {
        /// One provider a device: FCM first, Expo where FCM has no token or surely did not and will not deliver.
        Failover = "failover",
        /// A device with both tokens gets both pushes, with one tag.
        Both = "both",
    }
}

/// Something for each provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerProvider<T> {
    /// FCM's.
    pub fcm: T,
    /// Expo's.
    pub expo: T,
}

impl<T> PerProvider<T> {
    /// The one for `provider`.
    pub const fn get(&self, provider: Provider) -> &T {
        match provider {
            Provider::Fcm => &self.fcm,
            Provider::Expo => &self.expo,
        }
    }

    /// The one for `provider`, to change it.
    pub const fn get_mut(&mut self, provider: Provider) -> &mut T {
        match provider {
            Provider::Fcm => &mut self.fcm,
            Provider::Expo => &mut self.expo,
        }
    }
}

impl<T: fmt::Display> fmt::Display for PerProvider<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fcm {}, expo {}", self.fcm, self.expo)
    }
}
