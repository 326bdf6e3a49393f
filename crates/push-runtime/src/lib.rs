//! How a program of ours starts, shows its health and stops: the same for `push-api` and
//! `push-worker`, so that an operator learns it once.

pub mod env;
pub mod guarded;
pub mod measures;
pub mod probes;
pub mod shared_answer;
pub mod shutdown;
pub mod telemetry;

/// Chooses the cryptography of every TLS connection in the process. The first line of each `main`,
/// and of each test that builds a client: without it the HTTP client panics when it is built.
pub fn install_crypto() {
    // An error only means that it has been chosen before.
    drop(rustls::crypto::ring::default_provider().install_default());
}
