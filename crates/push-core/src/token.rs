//! Push tokens: FCM registration tokens and Expo push tokens.
//!
//! Neither provider publishes a format; the shapes here are what both were seen to hand out, wide
//! enough for all of them. The provider is the judge; this door keeps out what can never be one.
//! A token's `Debug` and `Display` are masked, so that no log line can leak it by accident.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::provider::Provider;

/// Why a text cannot be a token. Never holds the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Too short, too long, or with characters that no registration token has.
    #[error(
        "is not an FCM registration token; a real one is 20 to 500 characters such as \
         `cXyz…:APA91b…`, as returned by the Firebase SDK's getToken()"
    )]
    NotFcm,
    /// 64 hexadecimal digits: what iOS itself hands out.
    #[error(
        "is an APNs device token, which FCM cannot use; send the token of the Firebase SDK's \
         getToken(), not the one of getDevicePushTokenAsync()"
    )]
    ApnsDeviceToken,
    /// An Expo token in the field for FCM's.
    #[error("is an Expo push token; send it as `expoPushToken`")]
    ExpoInFcmField,
    /// Not one of Expo's three shapes.
    #[error(
        "is not an Expo push token; a real one looks like `ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]`, \
         as returned by getExpoPushTokenAsync()"
    )]
    NotExpo,
}

/// An FCM registration token, or a Firebase installation id, which FCM takes in its place.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct FcmToken(String);

impl FcmToken {
    /// Below 22 characters not even an installation id fits; 20 leaves room for older ones.
    pub const BYTES_MIN: usize = 20;
    /// The width of `customer_push_tokens.fcm_token`; the longest seen in the wild has 183.
    pub const BYTES_MAX: usize = 500;

    /// Reads a token that an app sent.
    ///
    /// # Errors
    /// [`InvalidToken`], which tells what a real one looks like.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        if has_expo_prefix(text) || is_hyphenated_id(text) {
            return Err(InvalidToken::ExpoInFcmField);
        }
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidToken::ApnsDeviceToken);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.%=+/-".contains(&byte);
        if !(Self::BYTES_MIN..=Self::BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed)
        {
            return Err(InvalidToken::NotFcm);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself: for the provider and the database only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// An Expo push token, as `Expo.isExpoPushToken` of the official SDK accepts it, and stricter
/// inside the brackets.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ExpoToken(String);

impl ExpoToken {
    /// Far above any that Expo hands out (41 characters).
    pub const BYTES_MAX: usize = 255;

    /// Reads a token that an app sent.
    ///
    /// # Errors
    /// [`InvalidToken::NotExpo`], which tells what a real one looks like.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let bracketed = has_expo_prefix(text)
            && text.ends_with(']')
            && text.split_once('[').is_some_and(|(_, rest)| rest.len() > 1)
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() <= Self::BYTES_MAX && (bracketed || is_hyphenated_id(text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidToken::NotExpo)
        }
    }

    /// The token itself: for the provider and the database only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn has_expo_prefix(text: &str) -> bool {
    text.starts_with("ExponentPushToken[") || text.starts_with("ExpoPushToken[")
}

/// The third shape: `8-4-4-4-12` of letters and digits (not only hexadecimal ones, as in the SDK).
fn is_hyphenated_id(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == 5
        && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// A token of either provider.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Token {
    /// For FCM.
    Fcm(FcmToken),
    /// For Expo.
    Expo(ExpoToken),
}

impl Token {
    /// The provider that understands it.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        match self {
            Self::Fcm(_) => Provider::Fcm,
            Self::Expo(_) => Provider::Expo,
        }
    }

    /// The token itself: for the provider and the database only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        match self {
            Self::Fcm(token) => token.reveal(),
            Self::Expo(token) => token.reveal(),
        }
    }

    /// Enough to recognise a token, too little to use it: the last four characters.
    #[must_use]
    pub fn masked(&self) -> MaskedToken {
        mask(self.reveal())
    }
}

/// A token of which only the tail is left, for people to recognise it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaskedToken(String);

impl MaskedToken {
    /// Reads back what was stored masked.
    #[must_use]
    pub const fn from_stored(masked: String) -> Self {
        Self(masked)
    }

    /// The masked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn mask(token: &str) -> MaskedToken {
    let inner = token.trim_end_matches(']');
    let tail = &inner[inner.len().saturating_sub(4)..];
    MaskedToken(match token.split_once('[') {
        Some((kind, _)) => format!("{kind}[…{tail}]"),
        None => format!("…{tail}"),
    })
}

macro_rules! masked_everywhere {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(mask(self.reveal()).as_str())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(mask(self.reveal()).as_str())
            }
        }
    )+};
}
masked_everywhere!(FcmToken, ExpoToken, Token);

impl TryFrom<String> for FcmToken {
    type Error = InvalidToken;

    fn try_from(text: String) -> Result<Self, InvalidToken> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for ExpoToken {
    type Error = InvalidToken;

    fn try_from(text: String) -> Result<Self, InvalidToken> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expo_tokens_are_those_of_the_official_sdk_with_something_inside() {
        let table = include_str!("../../../tests/fixtures/providers/expo/is_expo_push_token.json");
        let table: serde_json::Value = serde_json::from_str(table).unwrap();
        let rows = table["cases"].as_array().unwrap();
        assert!(rows.len() > 5, "the fixture has rows");
        for row in rows {
            let (Some(text), Some(sdk)) = (row["token"].as_str(), row["valid"].as_bool()) else {
                continue;
            };
            let ours = ExpoToken::parse(text).is_ok();
            // Stricter than the SDK on purpose: nothing, spaces or non-ASCII inside the brackets.
            let inside = text
                .split_once('[')
                .map_or("x", |(_, rest)| rest.trim_end_matches(']'));
            let usable = !inside.is_empty()
                && text.len() <= ExpoToken::BYTES_MAX
                && inside.bytes().all(|byte| byte.is_ascii_graphic());
            assert_eq!(ours, sdk && usable, "{text:?}");
        }
    }

    #[test]
    fn fcm_tokens() {
        let real = format!("eXaMpLeFidAndroid01234:APA91b{}", "a".repeat(110));
        assert!(FcmToken::parse(&real).is_ok());
        assert!(
            FcmToken::parse("cAbCdEfGhIjKlMnOpQrStU").is_ok(),
            "a bare installation id"
        );
        assert_eq!(FcmToken::parse("fcm_token_here"), Err(InvalidToken::NotFcm));
        assert_eq!(
            FcmToken::parse(&"a1".repeat(32)),
            Err(InvalidToken::ApnsDeviceToken)
        );
        assert_eq!(
            FcmToken::parse("ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]"),
            Err(InvalidToken::ExpoInFcmField)
        );
        assert_eq!(
            FcmToken::parse("F5741A13-BCDA-434B-A316-5DC0E6FFA94F"),
            Err(InvalidToken::ExpoInFcmField)
        );
        assert_eq!(FcmToken::parse(&"a".repeat(501)), Err(InvalidToken::NotFcm));
        for bad in [
            "with space in it, long enough",
            "quote\"quote\"quote\"quote\"",
            "ümlautümlautümlautümlaut",
        ] {
            assert_eq!(FcmToken::parse(bad), Err(InvalidToken::NotFcm), "{bad}");
        }
    }

    #[test]
    fn no_token_prints_itself() {
        let fcm = FcmToken::parse(&format!("secretsecretsecretsecret{}", "wxyz")).unwrap();
        let expo = ExpoToken::parse("ExponentPushToken[secretsecret-wxyz]").unwrap();
        assert_eq!(format!("{fcm} {fcm:?}"), "…wxyz …wxyz");
        assert_eq!(
            format!("{expo} {expo:?}"),
            "ExponentPushToken[…wxyz] ExponentPushToken[…wxyz]"
        );
    }
}
