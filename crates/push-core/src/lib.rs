//! The rules of the push service, without input or output.
//!
//! Nothing here talks to a broker, a database, a provider or a clock: `now` comes in as a
//! parameter. Both programs mean the same by a word because they take it from here.
//!
//! The way of a notification: a [`Notification`](notification::Notification) is accepted, travels
//! as a [`Job`](job::Job), is [admitted](admit::admit), each [`Target`](job::JobTarget) ends an
//! attempt with an [`Outcome`](outcome::Outcome), and [`settle`](settle::settle) decides once what
//! follows from all of them.

pub mod admit;
pub mod booking;
pub mod changed;
pub mod host;
pub mod id;
pub mod job;
pub mod ladder;
pub mod lane;
pub mod left_out;
pub mod locale;
pub mod notification;
pub mod outcome;
pub mod plan;
pub mod preferences;
pub mod privacy;
pub mod provider;
pub mod rate;
pub mod receipt;
pub mod receipt_batch;
pub mod replay;
pub mod settle;
pub mod status;
pub mod time;
pub mod timeline;
pub mod token;
pub mod trace;
pub mod wanted;
