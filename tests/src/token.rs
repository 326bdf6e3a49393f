//! Whoever signs customers and admins in: makes JWTs, good ones and bad ones. Shares no code with what reads them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// What tokens are signed with.
#[derive(Debug)]
pub enum SigningKey {
    /// A secret that both sides have.
    Hs256(Vec<u8>),
    /// The private key of a pair.
    Rs256(Box<RsaKeyPair>),
    /// The private key of a pair.
    Es256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// By this secret.
    #[must_use]
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        Self::Hs256(secret.as_ref().to_vec())
    }

    /// By this private key, PKCS #8 in PEM.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn rs256(pem: &str) -> Self {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(body).expect("PEM");
        Self::Rs256(Box::new(RsaKeyPair::from_pkcs8(&der).expect("a key")))
    }

    /// By a new key.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn es256() -> Self {
        let (how, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(how, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).expect("a key");
        Self::Es256(Box::new(key))
    }

    /// The public key in PEM; of a secret nothing.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let (algorithm, key): (&[u8], &[u8]) = match self {
            Self::Hs256(_) => return String::new(),
            Self::Rs256(key) => (
                b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
                key.public_key().as_ref(),
            ),
            Self::Es256(key) => (
                b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
                key.public_key().as_ref(),
            ),
        };
        let bits = [&[0], key].concat();
        let spki = der(0x30, &[algorithm.to_vec(), der(0x03, &[bits])]);
        let body = BASE64_STANDARD.encode(spki);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// The name of its algorithm.
    #[must_use]
    pub const fn alg(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    /// A token that is good for ten minutes, of this subject.
    #[must_use]
    pub fn token(&self, sub: impl Into<Value>) -> String {
        self.sign(&json!({"sub": sub.into(), "exp": in_seconds(600)}))
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.alg(), "typ": "JWT"}), claims)
    }

    /// A token with these claims that says this of itself.
    #[must_use]
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Es256(key) => {
                let signature = key.sign(&random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
        }
    }
}

/// Header and claims, without a signature.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A time as tokens tell it.
///
/// # Panics
/// When the clock is wrong.
#[must_use]
pub fn in_seconds(seconds: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("a time after 1970").as_secs();
    i64::try_from(now).expect("a time of ours") + seconds
}

fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let mut whole = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        _ => vec![tag, 0x82, high, low],
    };
    whole.extend_from_slice(&content);
    whole
}
