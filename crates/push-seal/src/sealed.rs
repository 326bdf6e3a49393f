//! A sealed value: how it is written, made and opened.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::key::{Key, KeyId};
use crate::place::Place;

/// How each begins. No token, no base64 and no JSON object has a `$` there.
const START: &str = "$1$";
/// Random bytes that make the value's own key.
const SALT_BYTES: usize = 24;
/// What the derived keys are for.
const PURPOSE: &[&[u8]] = &[b"push sealed value 1"];

/// A value is too long to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value cannot be sealed")]
pub struct CannotSeal;

/// Why a sealed value does not open. Names the key, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// Its key is not there.
    #[error("is sealed with the encryption key {0:?}, which is not configured (ENCRYPTION_KEYS)")]
    UnknownKey(KeyId),
    /// It was changed, cut, belongs elsewhere, or another key has the name.
    #[error(
        "is sealed and does not open: it was changed or belongs elsewhere, or its key is another one of that name"
    )]
    Damaged,
}

/// Whether a text is a sealed value.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(START)
}

/// Which key sealed it; `None` where it is no sealed value. The start of one is enough.
#[must_use]
pub fn key_of(text: &str) -> Option<KeyId> {
    let (id, _) = text.strip_prefix(START)?.split_once('$')?;
    KeyId::parse(id)
}

pub(crate) fn seal(key: &Key, place: &Place, clear: Vec<u8>) -> Result<String, CannotSeal> {
    let salt: [u8; SALT_BYTES] = rand::rng().random();
    let mut bytes = clear;
    let tag = of_value(key, &salt)
        .and_then(|own| {
            let aad = Aad::from(place.as_bytes());
            own.seal_in_place_separate_tag(zero(), aad, &mut bytes).ok()
        })
        .ok_or(CannotSeal)?;
    let whole = [&salt, bytes.as_slice(), tag.as_ref()].concat();
    Ok(format!("{START}{}${}", key.id, STANDARD.encode(whole)))
}

pub(crate) fn open(key: &Key, place: &Place, value: &str) -> Result<String, Unopened> {
    let opened = || {
        let (_, base64) = value.strip_prefix(START)?.split_once('$')?;
        let whole = STANDARD.decode(base64).ok()?;
        let (salt, sealed) = whole.split_at_checked(SALT_BYTES)?;
        let mut sealed = sealed.to_vec();
        let own = of_value(key, salt)?;
        let aad = Aad::from(place.as_bytes());
        let clear = own.open_in_place(zero(), aad, &mut sealed).ok()?;
        String::from_utf8(clear.to_vec()).ok()
    };
    opened().ok_or(Unopened::Damaged)
}

/// The key of one value.
fn of_value(key: &Key, salt: &[u8]) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(key.secret());
    let own: UnboundKey = extracted.expand(PURPOSE, &AES_256_GCM).ok()?.into();
    Some(LessSafeKey::new(own))
}

/// A key of one value seals once.
fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Keyring;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn ring(text: &str) -> Keyring {
        Keyring::parse(text).unwrap()
    }

    fn place(row: u64) -> Place {
        Place::of("table.column", &[&row.to_le_bytes()])
    }

    proptest! {
        #[test]
        fn it_opens_where_it_was_sealed_and_nowhere_else(text in ".*", row: u64, elsewhere: u64) {
            prop_assume!(row != elsewhere);
            let ring = ring(&format!("a:{ONE}"));
            let sealed = ring.seal(&place(row), text.clone()).unwrap();
            prop_assert!(is_sealed(&sealed));
            prop_assert_eq!(key_of(&sealed), KeyId::parse("a"));
            prop_assert_eq!(ring.open(&place(row), sealed.clone()), Ok(text));
            prop_assert_eq!(ring.open(&place(elsewhere), sealed), Err(Unopened::Damaged));
        }

        #[test]
        fn what_was_changed_does_not_open(text in ".{0,40}", at: prop::sample::Index, with in "[A-Za-z0-9+/=$]", cut: bool) {
            let ring = ring(&format!("a:{ONE}"));
            let sealed = ring.seal(&place(1), text).unwrap();
            let at = START.len() + at.index(sealed.len() - START.len());
            let changed = match cut {
                true => sealed[..at].to_owned(),
                false => format!("{}{with}{}", &sealed[..at], &sealed[at + 1..]),
            };
            prop_assume!(changed != sealed);
            prop_assert!(ring.open(&place(1), changed).is_err());
        }

        #[test]
        fn whatever_stands_there_is_no_panic(text in r"(\$1\$)?[a-z]{0,20}\$?.*") {
            let _ = ring(&format!("a:{ONE}")).open(&place(1), text);
        }
    }

    #[test]
    fn no_two_values_are_alike_and_none_shows_what_is_in_it() {
        let ring = ring(&format!("a:{ONE}"));
        let seal = || ring.seal(&place(1), "the same text".to_owned()).unwrap();
        let (first, second) = (seal(), seal());
        assert_ne!(first, second);
        assert!(!first.contains("same"));
        assert!(!first.contains(&STANDARD.encode("the same")));
    }

    #[test]
    fn another_key_does_not_open_it() {
        let sealed = ring(&format!("a:{ONE}"))
            .seal(&place(1), "x".to_owned())
            .unwrap();
        let id = KeyId::parse("a").unwrap();
        let unknown = ring(&format!("b:{ONE}")).open(&place(1), sealed.clone());
        assert_eq!(unknown, Err(Unopened::UnknownKey(id)));
        assert!(unknown.unwrap_err().to_string().contains("\"a\""));
        let another = ring(&format!("b:{ONE},a:{OTHER}")).open(&place(1), sealed.clone());
        assert_eq!(another, Err(Unopened::Damaged));
        let both = ring(&format!("b:{OTHER},a:{ONE}")).open(&place(1), sealed);
        assert_eq!(both.as_deref(), Ok("x"));
    }

    #[test]
    fn without_keys_nothing_changes() {
        let off = ring(&format!("none,a:{ONE}"));
        assert_eq!(off.seal(&place(1), "x".to_owned()).as_deref(), Ok("x"));
        assert_eq!(off.open(&place(1), "x".to_owned()).as_deref(), Ok("x"));
        let sealed = ring(&format!("a:{ONE}"))
            .seal(&place(1), "x".to_owned())
            .unwrap();
        assert_eq!(off.open(&place(1), sealed).as_deref(), Ok("x"));
    }

    /// Values as they lie in databases: they stay readable.
    #[test]
    fn the_format_stays() {
        let sealed =
            "$1$a$xpFQqMehd4OVC7e+WCTd1pPgRRDu/hNrX1VGg1RkcYVY3kVv0jhxAXmbz4OliM8+DHJAUu1tqVSu/Afl";
        let opened = ring(&format!("a:{ONE}")).open(&place(1), sealed.to_owned());
        assert_eq!(opened.as_deref(), Ok("kept since version 1"));
    }
}
