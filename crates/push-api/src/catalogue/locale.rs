//! Languages, as BCP 47 names them.

use std::fmt;

use push_core::locale::Locale as Tag;
use push_core::notification::Invalid;
use unic_langid::LanguageIdentifier;

/// A language, perhaps with its script and region: `de`, `de-AT`, `zh-Hant-TW`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Locale(LanguageIdentifier);

impl Locale {
    /// Reads a BCP 47 tag in any spelling. Extensions (`de-AT-u-hc-h23`) say nothing about texts, and are left out.
    ///
    /// # Errors
    /// [`Invalid`] for what is no tag.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let language: Vec<&str> = text
            .split(['-', '_'])
            .take_while(|subtag| subtag.len() != 1)
            .collect();
        let parsed = LanguageIdentifier::from_bytes(language.join("-").as_bytes());
        match parsed {
            Ok(identifier) if !identifier.language.is_empty() => Ok(Self(identifier)),
            Ok(_) | Err(_) => Err(Invalid(
                "must be a BCP 47 language tag, such as de or de-AT".to_owned(),
            )),
        }
    }

    /// The language of a tag, as far as texts can have it: not of one that is private or extended (`x-ours`, `zh-cmn`).
    pub(super) fn of(tag: &Tag) -> Option<Self> {
        Self::parse(tag.as_str()).ok()
    }

    /// This one, and what it is a kind of, from the nearest to the farthest: `zh-Hant-TW`, `zh-Hant`, `zh`.
    pub(super) fn chain(&self) -> Vec<Self> {
        let mut chain = vec![self.clone()];
        let mut wider = self.0.clone();
        for widen in [LanguageIdentifier::clear_variants, no_region, no_script] {
            widen(&mut wider);
            if chain.last().is_none_or(|last| last.0 != wider) {
                chain.push(Self(wider.clone()));
            }
        }
        chain
    }

    pub(super) const fn identifier(&self) -> &LanguageIdentifier {
        &self.0
    }
}

fn no_region(identifier: &mut LanguageIdentifier) {
    identifier.region = None;
}

fn no_script(identifier: &mut LanguageIdentifier) {
    identifier.script = None;
}

/// In the tag's canonical spelling.
impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_looked_for_from_the_nearest_to_the_farthest() {
        for (tag, chain) in [
            ("de", &["de"][..]),
            ("DE_at", &["de-AT", "de"]),
            ("zh-hant-tw", &["zh-Hant-TW", "zh-Hant", "zh"]),
            ("de-AT-1996", &["de-AT-1996", "de-AT", "de"]),
            ("de-AT-u-hc-h23", &["de-AT", "de"]),
            ("fil", &["fil"]),
        ] {
            let told: Vec<String> = Locale::parse(tag)
                .unwrap()
                .chain()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(told, chain, "{tag}");
        }
        for no_tag in [
            "",
            "-",
            "x",
            "i-klingon",
            "de AT",
            "toolonglanguage",
            "123",
            "de-",
            "ü",
        ] {
            assert!(Locale::parse(no_tag).is_err(), "{no_tag}");
        }
    }
}
