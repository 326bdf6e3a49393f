//! The simulator over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod control;
mod expo;
mod fcm;
mod harness;
mod oauth;
mod wire;
