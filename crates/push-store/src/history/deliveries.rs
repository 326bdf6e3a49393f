//! `notification_deliveries`: the last word on each device at each provider.

use push_core::id::{CustomerId, NotificationId};
use push_core::outcome::Sent;
use push_core::settle::{Delivery, Settlement};
use sqlx::mysql::MySqlArguments;
use sqlx::query::Query;
use sqlx::{MySql, MySqlConnection};

use super::ClaimedRound;
use super::lock::Locked;
use crate::decode::millis;
use crate::error::StoreError;
use crate::{bulk, hash};

/// The places of a row of [`UPSERT`].
macro_rules! row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}

/// A later try replaces an earlier one; that some try may have got through is not forgotten.
const UPSERT: &str = concat!(
    "\
    INSERT INTO notification_deliveries (notification_id, registration_id, provider, customer_id, platform, \
        token_hash, token_masked, outcome, provider_id, attempts, maybe_delivered, error_code, error_text, at) \
    VALUES ",
    row!(),
    "«, ",
    row!(),
    "» \
    ON DUPLICATE KEY UPDATE \
        platform = COALESCE(VALUES(platform), platform), \
        token_hash = VALUES(token_hash), token_masked = VALUES(token_masked), outcome = VALUES(outcome), \
        provider_id = VALUES(provider_id), attempts = GREATEST(attempts, VALUES(attempts)), \
        maybe_delivered = GREATEST(maybe_delivered, VALUES(maybe_delivered)), \
        error_code = VALUES(error_code), error_text = VALUES(error_text), receipt = NULL, at = VALUES(at)"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("UPSERT", UPSERT)];

/// Rows of one [`UPSERT`].
const ROWS_MAX: usize = 256;

pub(super) async fn write_deliveries(
    connection: &mut MySqlConnection,
    fresh: &[(&ClaimedRound, Locked)],
) -> Result<(), StoreError> {
    let tried = fresh
        .iter()
        .flat_map(|(round, locked)| tried(&round.settlement, locked.customer));
    let tried: Vec<Tried<'_>> = tried.collect();
    for some in bulk::some_rows(&tried, ROWS_MAX) {
        upsert(some).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What became of whose device.
type Tried<'a> = (NotificationId, CustomerId, &'a Delivery);

/// Of each device of a round.
pub(crate) fn tried(
    settlement: &Settlement,
    customer: CustomerId,
) -> impl Iterator<Item = Tried<'_>> {
    let deliveries = settlement.deliveries.iter();
    deliveries.map(move |delivery| (settlement.notification, customer, delivery))
}

/// [`UPSERT`] for these.
pub(crate) fn upsert<'q>(tried: &[Tried<'q>]) -> Upsert<'q> {
    let upsert = sqlx::query(bulk::for_rows(UPSERT, tried.len()));
    tried.iter().fold(upsert, bind_row)
}

type Upsert<'q> = Query<'q, MySql, MySqlArguments>;

/// The values of a row of [`UPSERT`].
fn bind_row<'q>(upsert: Upsert<'q>, (notification, customer, delivery): &Tried<'q>) -> Upsert<'q> {
    let token = &delivery.token;
    let cause = delivery.cause.as_ref();
    upsert
        .bind(notification.as_uuid())
        .bind(delivery.registration.0)
        .bind(token.provider().as_str())
        .bind(customer.get())
        .bind(delivery.platform.map(|platform| platform.as_str()))
        .bind(hash::of_token(token.reveal()).to_vec())
        .bind(token.masked().as_str().to_owned())
        .bind(delivery.outcome.as_str())
        .bind(delivery.provider_id.as_ref().map(|id| id.as_str()))
        .bind(delivery.tries)
        .bind(delivery.sent == Sent::Maybe)
        .bind(cause.map(|cause| cause.code.as_str()))
        .bind(cause.map(|cause| cause.text.as_str()))
        .bind(millis(delivery.at))
}
