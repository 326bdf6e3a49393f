//! Against a real RabbitMQ, each test in a virtual host of its own.

mod bad_luck;
mod consume;
mod envelope;
mod outage;
mod publish;
mod support;
mod topology;
