//! Everything that the push service knows about FCM HTTP v1 and Expo Push.
//!
//! A [`Push`] goes in, an [`Outcome`](push_core::outcome::Outcome) comes out; beyond this crate
//! nobody sees a status code, a header or a `reqwest::Error`. Each provider has a folder: `message`
//! builds what is sent, `classify` reads what comes back, the rest carries it there.
//!
//! What must never happen here: a token, a text or a key in a log line or a [`Cause`]; a wait
//! without a limit; a body read without a limit; a second request for a message that the first may
//! have delivered (only what was surely not processed is tried again at once).
//!
//! [`Cause`]: push_core::outcome::Cause

mod at_once;
#[doc(hidden)]
pub mod counted;
mod error;
pub mod expo;
pub mod fcm;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod providers;
mod push;
mod retry_after;
mod transport;

#[cfg(test)]
mod tests;

pub use error::{CheckError, SetupError, TrialError};
pub use expo::{Expo, ExpoSettings};
pub use fcm::{Credential, Fcm, FcmSettings};
pub use providers::Providers;
pub use push::{Look, Push, PushProvider, StillWanted};

/// Directives that every log filter of a program must end with, whatever an operator configures.
///
/// `gcp_auth` names the service account whenever it reads a key.
pub const LOG_DIRECTIVES: &str = "gcp_auth=off";
