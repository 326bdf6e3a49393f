//! The harness of the black-box tests: real programs, a real broker, a real database, and a stand-in for the
//! providers. It speaks in sentences: a stack, a customer with two devices, send, wait until settled, what did the
//! phone show.
//!
//! Each [`Stack`] has its own database, its own virtual host and its own ports, so tests run side by side. When it
//! goes out of scope it looks around, as a suspicious operator would: is a job left over, is a notification still
//! pending, do the books balance, is there an error in the logs that nobody announced, or a token or a title?
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a harness that cannot do its work fails the test, and says why"
)]

mod answer;
mod api;
pub mod bench;
mod books;
mod broker;
mod browser;
mod certificates;
pub mod chaos;
mod collector;
mod database;
mod device;
mod ear;
mod https;
mod liar;
mod link;
mod logs;
mod metrics;
mod private;
mod program;
mod python;
mod running;
mod secrets;
mod servers;
pub mod signals;
mod sim;
mod stack;
mod token;
mod tripwire;
mod wait;

pub use answer::Answer;
pub use api::{Api, Call, Key, Send};
pub use broker::Broker;
pub use browser::{Browser, Look};
pub use certificates::{Age, Authority, Certificate};
pub use collector::{Collector, Span};
pub use database::{Database, DeadLetter, Row, TableLock};
pub use device::{Device, Phone};
pub use ear::Ear;
pub use https::{Face, Https};
pub use liar::{Liar, Lie};
pub use link::{Link, Links};
pub use logs::Log;
pub use metrics::Metrics;
pub use private::{PrivateMaria, PrivateRabbit};
pub use program::{Ended, Environment, Program, run_to_end};
pub use python::{environment, root};
pub use running::Running;
pub use servers::{Server, Servers, program, programs, programs_before};
pub use sim::{Provider, Sim};
pub use stack::{Builder, Endpoint, PRIVATE_KEY, Stack};
pub use token::{SigningKey, in_seconds, unsigned};
pub use tripwire::{Hold, Moment, Tripwires};
pub use wait::{eventually, within};
