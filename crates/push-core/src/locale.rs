//! A language, as apps and browsers name it: `de`, `en-GB`, `zh-Hant-TW`.

use std::str::FromStr as _;

use icu_locale_core::Locale as UnicodeLocale;
use serde::{Deserialize, Serialize};

use crate::notification::Invalid;

/// A language tag that is well-formed (BCP 47, in Unicode's form: UTS 35, section 3.2), as it was sent. Whether anybody
/// speaks it is another matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Locale(String);

impl Locale {
    /// RFC 5646, section 4.4.1: enough for every tag that means something.
    pub const BYTES_MAX: usize = 35;

    /// Reads it from a caller.
    ///
    /// # Errors
    /// [`Invalid`], saying what a tag looks like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let tag = UnicodeLocale::from_str(text).ok();
        let tag = tag.filter(|tag| text.len() <= Self::BYTES_MAX && !tag.id.language.is_unknown());
        match tag {
            Some(_) if !text.contains('_') => Ok(Self(text.to_owned())),
            Some(_) | None => Err(Invalid(format!(
                "must be a BCP 47 language tag of at most {} characters, such as de, en-GB or zh-Hant-TW",
                Self::BYTES_MAX
            ))),
        }
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Locale {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Locale> for String {
    fn from(locale: Locale) -> Self {
        locale.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most are the examples of RFC 5646, appendix A.
    #[test]
    fn tags_are_told_from_what_is_none() {
        for good in [
            "de",
            "DE",
            "fil",
            "en-GB",
            "es-419",
            "zh-Hant",
            "zh-Hant-TW",
            "sr-Latn-RS",
            "sl-rozaj-biske",
            "de-CH-1901",
            "sl-Latn-IT-nedis",
            "de-1996",
            "de-AT-u-hc-h23",
            "zh-CN-a-myext-x-private",
            "de-CH-x-phonebk",
        ] {
            assert_eq!(Locale::parse(good).unwrap().as_str(), good);
        }
        let long = format!(
            "de-{}",
            ["variant1", "variant2", "variant3", "variant4"].join("-")
        );
        for wrong in [
            "",
            "d",
            "x",
            "und",
            "de_DE",
            "de-",
            "-de",
            "de--DE",
            "d3",
            "Deutschland",
            "a-DE",
            "de-DE-DE",
            "en-u",
            "de-x",
            "Deutsch (Österreich)",
            "dé",
            "de DE",
            long.as_str(),
        ] {
            assert!(Locale::parse(wrong).is_err(), "{wrong}");
        }
    }
}
