//! The keys of a program.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::key::{Key, KeyId};
use crate::place::Place;
use crate::sealed::{self, CannotSeal, Unopened};

/// The keys that seal and open. Empty: nothing is sealed. Cheap to clone: clones share the keys.
#[derive(Clone, Default)]
pub struct Keyring {
    /// Whether new values are sealed, by the first key.
    seals: bool,
    /// Whether nobody has any other.
    are_all: bool,
    keys: Arc<[Key]>,
}

/// Why a text names no keys. Never holds any of it but names of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongKeys {
    /// An entry is not of the form `name:key`.
    #[error(
        "entry {0} is not of the form name:key, where name is 1 to 16 of a-z, 0-9, _ and -, and key is what \
         `openssl rand -base64 32` prints"
    )]
    Malformed(usize),
    /// The key is not base64 of 32 bytes.
    #[error("the key of {0:?} is not base64 of 32 bytes; make one by `openssl rand -base64 32`")]
    NotAKey(KeyId),
    /// Two entries have one name.
    #[error("names {0:?} twice; a new key needs a name of its own")]
    Twice(KeyId),
    /// The word that switches sealing off stands elsewhere than first.
    #[error("has `none` in another place than the first")]
    NoneNotFirst,
}

/// In the place of the first key: what is written from now on is not sealed.
const NONE: &str = "none";

impl Keyring {
    /// Reads `name:key,name:key`, where each key is the base64 of 32 bytes. The first one seals; with the word `none` as
    /// the first entry no one does, and the others open.
    ///
    /// # Errors
    /// [`WrongKeys`], which repeats no key.
    pub fn parse(text: &str) -> Result<Self, WrongKeys> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        let seals = entries.first() != Some(&NONE);
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate().skip(usize::from(!seals)) {
            if *entry == NONE {
                return Err(WrongKeys::NoneNotFirst);
            }
            let (id, secret) = entry
                .split_once(':')
                .and_then(|(id, secret)| Some((KeyId::parse(id)?, secret)))
                .ok_or(WrongKeys::Malformed(index + 1))?;
            if id.as_str() == NONE {
                return Err(WrongKeys::Malformed(index + 1));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(WrongKeys::Twice(id));
            }
            let secret = STANDARD
                .decode(secret)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(WrongKeys::NotAKey(id))?;
            keys.push(Key::new(id, secret));
        }
        Ok(Self {
            seals,
            are_all: false,
            keys: keys.into(),
        })
    }

    /// The same keys, where it is known that nobody has any other: a value under another one is damaged then.
    #[must_use]
    pub fn as_all_there_are(self) -> Self {
        Self {
            are_all: true,
            ..self
        }
    }

    /// Which key seals; `None` where nothing is sealed.
    #[must_use]
    pub fn sealing(&self) -> Option<KeyId> {
        self.first().map(|key| key.id)
    }

    /// The names of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|key| key.id)
    }

    /// Seals a value, if values are sealed; else it is as it was.
    ///
    /// # Errors
    /// [`CannotSeal`] for a value of many gigabytes.
    pub fn seal(&self, place: &Place, clear: String) -> Result<String, CannotSeal> {
        match self.first() {
            Some(key) => sealed::seal(key, place, clear.into_bytes()),
            None => Ok(clear),
        }
    }

    /// Opens a sealed value; a clear one is as it was.
    ///
    /// # Errors
    /// [`Unopened`] when its key is not there, or when it was not sealed for this place.
    pub fn open(&self, place: &Place, value: String) -> Result<String, Unopened> {
        if !sealed::is_sealed(&value) {
            return Ok(value);
        }
        let id = sealed::key_of(&value).ok_or(Unopened::Damaged)?;
        match self.keys.iter().find(|key| key.id == id) {
            Some(key) => sealed::open(key, place, &value),
            None if self.are_all => Err(Unopened::Damaged),
            None => Err(Unopened::UnknownKey(id)),
        }
    }

    fn first(&self) -> Option<&Key> {
        self.keys.first().filter(|_| self.seals)
    }
}

/// The names only.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("seals", &self.sealing())
            .field("opens", &self.ids().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_first_seals_and_all_open() {
        let ring = Keyring::parse(&format!("new:{ONE}, old-1:{}", ONE.replace('A', "B"))).unwrap();
        assert_eq!(ring.sealing(), KeyId::parse("new"));
        let ids: Vec<_> = ring.ids().map(|id| id.to_string()).collect();
        assert_eq!(ids, ["new", "old-1"]);
        let off = Keyring::parse(&format!("none,old-1:{ONE}")).unwrap();
        assert_eq!((off.sealing(), off.ids().count()), (None, 1));
        assert_eq!(Keyring::parse("").unwrap().ids().count(), 0);
    }

    #[test]
    fn a_wrong_text_is_refused_without_a_key_in_it() {
        let id = |text| KeyId::parse(text).unwrap();
        for (text, problem) in [
            (ONE.to_owned(), WrongKeys::Malformed(1)),
            (format!("a:{ONE},"), WrongKeys::Malformed(2)),
            (format!("A:{ONE}"), WrongKeys::Malformed(1)),
            (format!(":{ONE}"), WrongKeys::Malformed(1)),
            (format!("none:{ONE}"), WrongKeys::Malformed(1)),
            (format!("a2345678901234567:{ONE}"), WrongKeys::Malformed(1)),
            (format!("a:{ONE}A"), WrongKeys::NotAKey(id("a"))),
            ("a:AAEC".to_owned(), WrongKeys::NotAKey(id("a"))),
            (format!("a:{ONE},a:{ONE}"), WrongKeys::Twice(id("a"))),
            (format!("a:{ONE},none"), WrongKeys::NoneNotFirst),
        ] {
            let told = Keyring::parse(&text).unwrap_err();
            assert_eq!(told, problem, "{text}");
            assert!(!told.to_string().contains("AAEC"), "{told}");
        }
    }

    #[test]
    fn nothing_prints_a_key() {
        let ring = Keyring::parse(&format!("a:{ONE}")).unwrap();
        assert_eq!(
            format!("{ring:?}"),
            r#"Keyring { seals: Some("a"), opens: ["a"] }"#
        );
    }
}
