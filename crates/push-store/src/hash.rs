//! SHA-256, by which tokens and dead letters are unique.

use sha2::{Digest, Sha256};

/// A token's key: `customer_push_tokens.*_token_hash`, `notification_deliveries.token_hash`.
pub(crate) fn of_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// A key over several parts, none of which can be mistaken for its neighbour.
pub(crate) fn of_parts(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}
