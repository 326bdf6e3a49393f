//! Against a real RabbitMQ, each test in a virtual host of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic in what the tests stand on is a failure with a line number"
)]

mod bad_luck;
mod changes;
mod consume;
mod envelope;
mod outage;
mod publish;
mod support;
mod topology;
