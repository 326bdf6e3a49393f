//! Sealing what lies at rest: tokens and content in the database, jobs in the queue.
//!
//! - [`Keyring`]: the keys of `ENCRYPTION_KEYS`. The first one seals, all of them open; so a key is replaced while the
//!   programs run.
//! - [`Place`]: where a value belongs. It is sealed in with it: a value that was copied elsewhere does not open.
//! - A sealed value is text, `$1$<key>$<base64>`, and no value that is kept clear begins like that: so both may stand in
//!   one column, and what was written before there were keys stays readable.
//!
//! The cipher is AES-256-GCM. A random nonce of 96 bits would bound how many values one key may seal (2^32); hence each
//! value has a key of its own, derived by HKDF-SHA-256 from the configured one and 192 random bits that stand with the
//! value, and its nonce is zero. So there is no such bound, and nothing to count.

mod key;
mod keyring;
mod place;
mod sealed;

pub use key::KeyId;
pub use keyring::{Keyring, WrongKeys};
pub use place::Place;
pub use sealed::{CannotSeal, Unopened, is_sealed, key_of};
