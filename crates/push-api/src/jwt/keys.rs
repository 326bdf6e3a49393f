//! What signatures of tokens are checked with. The algorithm is the key's, whatever a token says of itself.

use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::signatures;

/// As long as the hash: a shorter one could be guessed from a single token.
const SECRET_BYTES_MIN: usize = 32;
const RSA_BITS_MIN: usize = 2_048;
/// A longer one is not checked by ring, and would take long.
const RSA_BITS_MAX: usize = 8_192;
/// One that is in use and one that comes are two. Each costs a signature of a token that is none of them.
const KEYS_MAX: usize = 8;

/// A key, and the one algorithm that it is for.
#[derive(Clone, Debug)]
pub(super) struct JwtKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// All keys of a setting: each of them holds.
#[derive(Clone, Debug, Default)]
pub struct JwtKeys(Vec<JwtKey>);

impl JwtKeys {
    /// Reads secrets for HS256, one a line; none of an empty text.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn secrets(text: &str) -> Result<Self, String> {
        let secrets = text.lines().filter(|line| !line.is_empty());
        let keys = secrets.map(|secret| {
            let bytes = secret.len();
            if bytes < SECRET_BYTES_MIN {
                return Err(format!(
                    "has a secret of {bytes} bytes; it must have at least {SECRET_BYTES_MIN}, made by machine"
                ));
            }
            Ok((
                Algorithm::HS256,
                DecodingKey::from_secret(secret.as_bytes()),
            ))
        });
        Self::of(keys.collect::<Result<_, _>>()?, "secrets")
    }

    /// Reads public keys in PEM, for RS256 and ES256; none of an empty text. Line ends may be written as `\n`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn public(text: &str) -> Result<Self, String> {
        let text = text.replace("\\n", "\n");
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
        let sections: Vec<_> = sections
            .collect::<Result<_, _>>()
            .map_err(|error| format!("is not PEM: {error}"))?;
        if sections.is_empty() != text.is_empty()
            || sections.len() != text.matches("-----BEGIN ").count()
        {
            return Err(NO_PUBLIC_KEY.to_owned());
        }
        let keys = sections.iter().map(|(kind, der)| {
            if *kind == SectionKind::PublicKey {
                public_key(der)
            } else {
                Err(NO_PUBLIC_KEY.to_owned())
            }
        });
        Self::of(keys.collect::<Result<_, _>>()?, "keys")
    }

    /// As [`secrets`](Self::secrets), and at least one: a file that is emptied by mistake locks nobody out.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn some_secrets(text: &str) -> Result<Self, String> {
        Self::secrets(text).and_then(Self::some)
    }

    /// As [`public`](Self::public), and at least one.
    ///
    /// # Errors
    /// What is wrong.
    pub fn some_public(text: &str) -> Result<Self, String> {
        Self::public(text).and_then(Self::some)
    }

    fn some(self) -> Result<Self, String> {
        if self.is_empty() {
            Err("has no key".to_owned())
        } else {
            Ok(self)
        }
    }

    fn of(keys: Vec<(Algorithm, DecodingKey)>, what: &str) -> Result<Self, String> {
        if keys.len() > KEYS_MAX {
            return Err(format!("has more than {KEYS_MAX} {what}"));
        }
        signatures::install();
        let keys = keys.into_iter();
        Ok(Self(
            keys.map(|(algorithm, key)| JwtKey { algorithm, key })
                .collect(),
        ))
    }

    /// Those for this algorithm.
    pub(super) fn with(&self, algorithm: Algorithm) -> impl Iterator<Item = &JwtKey> {
        let right = move |key: &&JwtKey| key.algorithm == algorithm;
        self.0.iter().filter(right)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const NO_PUBLIC_KEY: &str = "must hold nothing but public keys: `-----BEGIN PUBLIC KEY-----` and so on; \
    `openssl pkey -in private.pem -pubout` makes one of a private key";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// rsaEncryption, and that it has no parameters.
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// ecPublicKey on the curve P-256.
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
/// A point of P-256: that both coordinates follow, and they.
const P256_BYTES: usize = 1 + 2 * 32;

/// The key of a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
fn public_key(der: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    let (algorithm, key) =
        algorithm_and_key(der).ok_or("has a public key that cannot be read; make it anew")?;
    if algorithm == RSA {
        let bits = modulus_bits(key).ok_or("has an RSA key that cannot be read; make it anew")?;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(format!(
                "has an RSA key of {bits} bits; it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}"
            ));
        }
        Ok((Algorithm::RS256, DecodingKey::from_rsa_der(key)))
    } else if algorithm == P256 && key.len() == P256_BYTES && key.first() == Some(&4) {
        Ok((Algorithm::ES256, DecodingKey::from_ec_der(key)))
    } else {
        Err(
            "has a key of another kind; RSA (RS256) and ECDSA on P-256 (ES256) are known"
                .to_owned(),
        )
    }
}

fn algorithm_and_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, []) = element(der, SEQUENCE)? else {
        return None;
    };
    let (algorithm, rest) = element(whole, SEQUENCE)?;
    let (bits, []) = element(rest, BIT_STRING)? else {
        return None;
    };
    // The number of bits that are not used of the last byte.
    let key = bits.strip_prefix(&[0])?;
    Some((algorithm, key))
}

/// The length of an RSAPublicKey's modulus (RFC 8017, A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (key, _) = element(key, SEQUENCE)?;
    let (modulus, _) = element(key, INTEGER)?;
    let zeros: u32 = modulus
        .iter()
        .scan(false, |over, byte| {
            let counted = (!*over).then(|| byte.leading_zeros());
            *over |= *byte != 0;
            counted
        })
        .sum();
    (8 * modulus.len()).checked_sub(usize::try_from(zeros).ok()?)
}

/// What the next element of DER holds, which has this tag, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = input.split_first_chunk()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => {
            let (long, rest) = rest.split_first()?;
            (usize::from(*long), rest)
        }
        0x82 => {
            let (long, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*long)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}
