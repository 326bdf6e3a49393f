//! `notification_deliveries`: the last word on each device at each provider.

use push_core::id::NotificationId;
use push_core::outcome::Sent;
use push_core::settle::{Delivery, Settlement};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::lock::Locked;
use crate::decode::millis;
use crate::error::StoreError;
use crate::hash;

/// Rows of one INSERT: 14 × 500 placeholders.
const ROWS_MAX: usize = 500;

/// A delivery with the columns that a settlement has for all of its own.
pub(crate) struct DeliveryRow<'a> {
    pub(crate) notification: NotificationId,
    pub(crate) customer: i64,
    pub(crate) delivery: &'a Delivery,
}

pub(super) async fn write_deliveries(
    connection: &mut MySqlConnection,
    fresh: &[(&Settlement, Locked)],
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for (settlement, locked) in fresh {
        rows.extend(settlement.deliveries.iter().map(|delivery| DeliveryRow {
            notification: settlement.notification,
            customer: locked.customer.get(),
            delivery,
        }));
    }
    for some in rows.chunks(ROWS_MAX) {
        upsert(some)
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A later try replaces an earlier one; that some try may have got through is not forgotten.
pub(crate) fn upsert(rows: &[DeliveryRow]) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(
        "INSERT INTO notification_deliveries (notification_id, registration_id, provider, customer_id, platform, \
         token_hash, token_masked, outcome, provider_id, attempts, maybe_delivered, error_code, error_text, at) ",
    );
    query.push_values(rows, |mut columns, row| {
        let delivery = row.delivery;
        let token = &delivery.token;
        columns
            .push_bind(row.notification.as_uuid())
            .push_bind(delivery.registration.0)
            .push_bind(token.provider().as_str())
            .push_bind(row.customer)
            .push_bind(delivery.platform.map(|platform| platform.as_str()))
            .push_bind(hash::of_token(token.reveal()))
            .push_bind(token.masked().as_str().to_owned())
            .push_bind(delivery.outcome.as_str())
            .push_bind(
                delivery
                    .provider_id
                    .as_ref()
                    .map(|id| id.as_str().to_owned()),
            )
            .push_bind(delivery.tries)
            .push_bind(delivery.sent == Sent::Maybe)
            .push_bind(delivery.cause.as_ref().map(|cause| cause.code.clone()))
            .push_bind(delivery.cause.as_ref().map(|cause| cause.text.clone()))
            .push_bind(millis(delivery.at));
    });
    query.push(
        " ON DUPLICATE KEY UPDATE platform = COALESCE(VALUES(platform), platform), \
         token_hash = VALUES(token_hash), token_masked = VALUES(token_masked), outcome = VALUES(outcome), \
         provider_id = VALUES(provider_id), attempts = GREATEST(attempts, VALUES(attempts)), \
         maybe_delivered = GREATEST(maybe_delivered, VALUES(maybe_delivered)), \
         error_code = VALUES(error_code), error_text = VALUES(error_text), at = VALUES(at)",
    );
    query
}
