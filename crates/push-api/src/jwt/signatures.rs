//! Signatures of tokens are checked by ring, as those of certificates are. Nothing is signed here.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: checker,
    // For JWK, which nothing here reads.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has `jsonwebtoken` check signatures in this way; before that it panics.
pub(super) fn install() {
    // Whoever came first has installed the same.
    let _ = PROVIDER.install_default();
}

struct Checker {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

fn checker(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let bytes = key.try_get_as_bytes()?;
    let public = |how| Key::Public(UnparsedPublicKey::new(how, bytes.to_vec()));
    let key = if *algorithm == Algorithm::HS256 {
        Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    } else if *algorithm == Algorithm::RS256 {
        public(&RSA_PKCS1_2048_8192_SHA256)
    } else if *algorithm == Algorithm::ES256 {
        public(&ECDSA_P256_SHA256_FIXED)
    } else {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    };
    Ok(Box::new(Checker {
        algorithm: *algorithm,
        key,
    }))
}

impl Verifier<Vec<u8>> for Checker {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match &self.key {
            Key::Secret(key) => hmac::verify(key, message, signature),
            Key::Public(key) => key.verify(message, signature),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
