//! Public keys that assertions are checked against.

use std::sync::RwLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rsa::KeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::Refused;
use super::jwt::{BAD_SIGNATURE, Jwt};
use crate::sync::{read, write};

/// Keys in PKCS#1 form. While there is none, any signature is believed.
#[derive(Debug, Default)]
pub(super) struct Keys(RwLock<Vec<Vec<u8>>>);

/// Why a key was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("not a PEM block of a PUBLIC KEY, RSA PUBLIC KEY, PRIVATE KEY or RSA PRIVATE KEY")]
    NotPem,
    #[error("the PEM block holds no RSA key")]
    NotRsa,
}

impl Keys {
    /// Adds a key; of a private key only the public half is kept. Says how many there are now.
    pub(super) fn add(&self, pem: &str) -> Result<usize, KeyError> {
        let key = public_key(pem)?;
        let mut keys = write(&self.0);
        if !keys.contains(&key) {
            keys.push(key);
        }
        Ok(keys.len())
    }

    pub(super) fn verify(&self, jwt: &Jwt<'_>) -> Result<(), Refused> {
        let keys = read(&self.0);
        let fits = |key: &Vec<u8>| {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .verify(jwt.signed.as_bytes(), &jwt.signature)
                .is_ok()
        };
        if keys.is_empty() || keys.iter().any(fits) {
            Ok(())
        } else {
            Err(Refused::grant(BAD_SIGNATURE))
        }
    }

    pub(super) fn clear(&self) {
        write(&self.0).clear();
    }
}

fn public_key(pem: &str) -> Result<Vec<u8>, KeyError> {
    // Keys often come out of environment variables with `\n` in two characters.
    let pem = pem.replace("\\n", "\n");
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or(KeyError::NotPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::NotPem)?;
    let (base64, _) = rest.split_once("-----END ").ok_or(KeyError::NotPem)?;
    let base64: String = base64.split_whitespace().collect();
    let der = STANDARD.decode(base64).map_err(|_| KeyError::NotPem)?;
    let pair = match label {
        "RSA PUBLIC KEY" => return Ok(der),
        "PUBLIC KEY" => return pkcs1_of_spki(&der).ok_or(KeyError::NotRsa),
        "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => KeyPair::from_der(&der),
        _ => return Err(KeyError::NotPem),
    };
    let pair = pair.map_err(|_| KeyError::NotRsa)?;
    Ok(pair.public_key().as_ref().to_vec())
}

/// `SubjectPublicKeyInfo` is SEQUENCE { SEQUENCE { algorithm }, BIT STRING { RSAPublicKey } } (RFC 5280).
fn pkcs1_of_spki(der: &[u8]) -> Option<Vec<u8>> {
    /// 1.2.840.113549.1.1.1, rsaEncryption.
    const RSA_OID: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    let (spki, _) = element(der, 0x30)?;
    let (algorithm, rest) = element(spki, 0x30)?;
    let (bits, _) = element(rest, 0x03)?;
    let key = bits.strip_prefix(&[0])?;
    algorithm.starts_with(&RSA_OID).then(|| key.to_vec())
}

/// Content of the DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = include_str!("../../tests/keys/throwaway.pem");
    const PUBLIC: &str = include_str!("../../tests/keys/throwaway.pub.pem");

    #[test]
    fn public_and_private_form_give_the_same_key() {
        let keys = Keys::default();
        assert_eq!(keys.add(PUBLIC), Ok(1));
        assert_eq!(keys.add(PRIVATE), Ok(1));
        assert_eq!(keys.add(&PRIVATE.replace('\n', "\\n")), Ok(1));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let keys = Keys::default();
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END ",
        ] {
            assert_eq!(keys.add(text), Err(KeyError::NotPem), "{text}");
        }
        let truncated = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG\n-----END PUBLIC KEY-----";
        assert_eq!(keys.add(truncated), Err(KeyError::NotRsa));
    }
}
