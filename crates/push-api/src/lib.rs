//! The HTTP API of the push service: admit, validate, commit, publish, answer. Thin: the rules are
//! `push-core`'s, the statements `push-store`'s, the broker `push-queue`'s; nothing here talks to a
//! provider.
//!
//! The way of a request: [`case`] spells its path, [`observe`] names, logs and measures it, [`router`]
//! finds the handler in [`routes`], [`caller`] settles who calls (by [`keys`] or [`jwt`]), [`request`] reads the body ([`ready_made`] what is to be sent),
//! [`idempotency`] the name that its caller gave it. A notification is committed by [`accept`], published by [`publish`], and waited for by [`outcomes`].

pub mod accept;
pub mod answer;
pub mod backlog;
pub mod books;
pub mod caller;
pub mod case;
pub mod catalogue;
pub mod check;
#[doc(hidden)]
pub mod console;
pub mod counted;
pub mod database;
pub mod discard;
#[doc(hidden)]
pub mod docs;
pub mod drain;
pub mod error;
pub mod examples;
#[cfg(test)]
mod floods;
pub mod frames;
pub mod health;
pub mod idempotency;
pub mod jwt;
pub mod keys;
pub mod limits;
pub mod listen;
pub mod live;
pub mod metrics;
pub mod notes;
pub mod observe;
pub mod outcomes;
pub mod prefer;
pub mod privacy;
pub mod publish;
pub mod query;
pub mod ready_made;
pub mod request;
pub mod router;
pub mod routes;
pub mod schema;
pub mod schemas;
pub mod serve;
pub mod settings;
pub mod state;
pub mod talk;
pub mod tls;
pub mod turns;
