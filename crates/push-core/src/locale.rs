//! A language, as apps and browsers name it: `de`, `en-GB`, `zh-Hant-TW`.

use serde::{Deserialize, Serialize};

use crate::notification::Invalid;

/// A language tag that is well-formed (BCP 47, RFC 5646 section 2.2.9): whether anybody speaks it is another matter.
/// Languages of more than three letters, of which there are none so far, and tags that were registered before 2006 and are
/// not of this form (`i-klingon`) are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locale(String);

impl Locale {
    /// RFC 5646, section 4.4.1: enough for every tag that means something.
    pub const BYTES_MAX: usize = 35;

    /// Reads it from a caller.
    ///
    /// # Errors
    /// [`Invalid`], saying what a tag looks like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() <= Self::BYTES_MAX && is_well_formed(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid(format!(
                "must be a BCP 47 language tag of at most {} characters, such as de, en-GB or zh-Hant-TW",
                Self::BYTES_MAX
            )))
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

/// language *3("-" extlang) ["-" script] ["-" region] *("-" variant) *("-" extension) ["-" privateuse]
fn is_well_formed(text: &str) -> bool {
    let mut parts = text.split('-').peekable();
    if !text.split('-').all(is_part) {
        return false;
    }
    let Some(language) = parts.next() else {
        return false;
    };
    if language.eq_ignore_ascii_case("x") {
        return parts.next().is_some();
    }
    if !(2..=3).contains(&language.len()) || !is_alphabetic(language) {
        return false;
    }
    let extended = |part: &&str| part.len() == 3 && is_alphabetic(part);
    for _ in 0..3 {
        parts.next_if(extended);
    }
    parts.next_if(|part| part.len() == 4 && is_alphabetic(part));
    parts.next_if(|part| is_region(part));
    while parts.next_if(|part| is_variant(part)).is_some() {}
    // What is left are extensions, each a single character and what it says; after an x all is said.
    while let Some(single) = parts.next() {
        if single.len() != 1
            || parts
                .peek()
                .is_none_or(|part| part.len() == 1 && !is_x(single))
        {
            return false;
        }
        if is_x(single) {
            return true;
        }
        while parts.next_if(|part| part.len() > 1).is_some() {}
    }
    true
}

fn is_x(part: &str) -> bool {
    part.eq_ignore_ascii_case("x")
}

fn is_part(part: &str) -> bool {
    (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_alphabetic(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_region(part: &str) -> bool {
    (part.len() == 2 && is_alphabetic(part))
        || (part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_variant(part: &str) -> bool {
    part.len() >= 5 || (part.len() == 4 && part.starts_with(|first: char| first.is_ascii_digit()))
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
            "zh-cmn-Hans-CN",
            "sr-Latn-RS",
            "sl-rozaj-biske",
            "de-CH-1901",
            "sl-Latn-IT-nedis",
            "de-1996",
            "en-US-u-islamcal",
            "zh-CN-a-myext-x-private",
            "de-CH-x-phonebk",
            "x-whatever",
            "en-a-myext-b-another",
            "ar-a-aaa-b-bbb-a-ccc",
            "de-x-1",
        ] {
            assert_eq!(Locale::parse(good).unwrap().as_str(), good);
        }
        let long = format!("de-{}", ["variant1"; 4].join("-"));
        for wrong in [
            "",
            "d",
            "x",
            "de_DE",
            "de-",
            "-de",
            "de--DE",
            "d3",
            "Deutsch",
            "deutschland",
            "de-419-DE",
            "a-DE",
            "de-DE-DE",
            "en-u",
            "en-a-b",
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
