//! The two providers against servers on real sockets, which answer as no server should.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a panic in a test is a failure with a line number"
)]

mod expo_batches;
mod expo_outcomes;
mod expo_requests;
mod fcm_access_tokens;
mod fcm_outcomes;
mod fcm_requests;
mod liars;
mod support;
mod trials;
