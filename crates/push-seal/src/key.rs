//! A key and its name.

use std::fmt;

use secrecy::{ExposeSecret, SecretBox};

/// The name of a key: 1 to 16 of `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl KeyId {
    /// The width of the columns that hold one.
    pub const BYTES_MAX: usize = 16;

    /// Reads a name; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if text.is_empty() || !text.bytes().all(allowed) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        let length = text.len();
        Some(Self { bytes, length })
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let named = self.bytes.get(..self.length).unwrap_or_default();
        // Only ASCII gets in.
        std::str::from_utf8(named).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// A key. Does not print itself.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    secret: SecretBox<[u8; Self::BYTES]>,
}

impl Key {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn new(id: KeyId, secret: [u8; Self::BYTES]) -> Self {
        Self {
            id,
            secret: SecretBox::new(Box::new(secret)),
        }
    }

    pub(crate) fn secret(&self) -> &[u8; Self::BYTES] {
        self.secret.expose_secret()
    }
}
