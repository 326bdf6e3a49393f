//! What `cargo xtask instructions` counts and cannot reach otherwise: rows as the database is handed them, without the
//! database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_core::settle::{Next, Settlement};
use push_seal::Keyring;
use sqlx::Execute as _;
use sqlx::mysql::MySqlArguments;

use crate::bulk::{self, UNWRITABLE};
use crate::error::StoreError;
use crate::history::ClaimedRound;
use crate::history::record::{End, Wait};
use crate::history::{accept, deliveries};

/// An accepted notification.
///
/// # Errors
/// A row that cannot be written.
pub fn accepted(
    keys: &Keyring,
    notification: &Notification,
    origin: &str,
    due_at: DateTime<Utc>,
) -> Result<Option<MySqlArguments>, StoreError> {
    let mut insert = accept::insert_row(keys, notification, origin, due_at)?;
    insert.take_arguments().map_err(|_| UNWRITABLE)
}

/// What a round came to.
///
/// # Errors
/// A row that cannot be written.
pub fn settled(
    keys: &Keyring,
    round: &ClaimedRound,
    now: DateTime<Utc>,
    grace: Duration,
) -> Result<Written, StoreError> {
    match &round.settlement.next {
        Next::Done(ending) => {
            let end = End::of(&round.settlement, *ending);
            let mut update = end.update(&[round], now);
            let arguments = update.take_arguments();
            Ok(Written::Places(arguments.map_err(|_| UNWRITABLE)?))
        }
        next @ (Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_)) => {
            let wait = Wait::of(keys, round, next, now, grace)?;
            Ok(Written::Json(bulk::array(&[wait])?))
        }
    }
}

/// As the database is handed it.
#[derive(Debug)]
pub enum Written {
    /// A value a placeholder.
    Places(Option<MySqlArguments>),
    /// An array.
    Json(String),
}

/// What each of its devices came to.
///
/// # Errors
/// A row that cannot be written.
pub fn deliveries(
    settlement: &Settlement,
    customer: CustomerId,
) -> Result<Option<MySqlArguments>, StoreError> {
    let tried = deliveries::tried(settlement, customer).collect::<Vec<_>>();
    let mut upsert = deliveries::upsert(&tried);
    upsert.take_arguments().map_err(|_| UNWRITABLE)
}
