//! What `cargo xtask instructions` counts and cannot reach otherwise: rows as the database is handed them, without the
//! database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_core::settle::Settlement;
use push_seal::Keyring;

use crate::bulk;
use crate::error::StoreError;
use crate::history::ClaimedRound;
use crate::history::accept::AcceptedRow;
use crate::history::deliveries::DeliveryRow;
use crate::history::record::Change;

/// An accepted notification.
///
/// # Errors
/// A row that cannot be written.
pub fn accepted(
    keys: &Keyring,
    notification: &Notification,
    origin: &str,
    due_at: DateTime<Utc>,
) -> Result<String, StoreError> {
    bulk::array(&[AcceptedRow::of(keys, notification, origin, due_at)?])
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
) -> Result<String, StoreError> {
    bulk::array(&[Change::of(keys, round, now, grace)?])
}

/// What each of its devices came to.
///
/// # Errors
/// A row that cannot be written.
pub fn deliveries(settlement: &Settlement, customer: CustomerId) -> Result<String, StoreError> {
    let row = |delivery| DeliveryRow::of(settlement, customer, delivery);
    bulk::array(&settlement.deliveries.iter().map(row).collect::<Vec<_>>())
}
