//! `notification_deliveries`: the last word on each device at each provider.

use push_core::id::CustomerId;
use push_core::outcome::Sent;
use push_core::settle::{Delivery, Settlement};
use serde::Serialize;
use sqlx::MySqlConnection;

use super::ClaimedRound;
use super::lock::Locked;
use crate::error::StoreError;
use crate::{bulk, hash};

/// A later try replaces an earlier one; that some try may have got through is not forgotten.
const UPSERT: &str = "\
    INSERT INTO notification_deliveries (notification_id, registration_id, provider, customer_id, platform, \
        token_hash, token_masked, outcome, provider_id, attempts, maybe_delivered, error_code, error_text, at) \
    SELECT UNHEX(tried.id), tried.registration, tried.provider, tried.customer, tried.platform, \
        UNHEX(tried.token_hash), tried.token_masked, tried.outcome, tried.provider_id, tried.tries, tried.maybe, \
        tried.error_code, tried.error_text, tried.answered_at \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            registration BIGINT UNSIGNED PATH '$.registration', \
            provider MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.provider', \
            customer BIGINT PATH '$.customer', \
            platform MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.platform', \
            token_hash CHAR(64) PATH '$.token_hash', \
            token_masked MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.token_masked', \
            outcome MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.outcome', \
            provider_id MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.provider_id', \
            tries BIGINT PATH '$.tries', \
            maybe TINYINT PATH '$.maybe', \
            error_code MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_code', \
            error_text MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.error_text', \
            answered_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.answered_at' \
        )) AS tried \
    ON DUPLICATE KEY UPDATE \
        platform = COALESCE(VALUES(platform), notification_deliveries.platform), \
        token_hash = VALUES(token_hash), token_masked = VALUES(token_masked), outcome = VALUES(outcome), \
        provider_id = VALUES(provider_id), \
        attempts = GREATEST(notification_deliveries.attempts, VALUES(attempts)), \
        maybe_delivered = GREATEST(notification_deliveries.maybe_delivered, VALUES(maybe_delivered)), \
        error_code = VALUES(error_code), error_text = VALUES(error_text), receipt = NULL, at = VALUES(at)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("UPSERT", UPSERT)];

/// Rows of one [`UPSERT`].
const ROWS_MAX: usize = 1_000;

pub(super) async fn write_deliveries(
    connection: &mut MySqlConnection,
    fresh: &[(&ClaimedRound, Locked)],
) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(fresh.len());
    for (round, locked) in fresh {
        let settlement = &round.settlement;
        let row = |delivery| DeliveryRow::of(settlement, locked.customer, delivery);
        rows.extend(settlement.deliveries.iter().map(row));
    }
    for some in bulk::arrays(&rows, ROWS_MAX)? {
        sqlx::query(UPSERT)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An element of [`UPSERT`]'s array.
#[derive(Serialize)]
pub(crate) struct DeliveryRow<'a> {
    id: String,
    registration: u64,
    provider: &'static str,
    customer: CustomerId,
    platform: Option<&'static str>,
    token_hash: String,
    token_masked: String,
    outcome: &'static str,
    provider_id: Option<&'a str>,
    tries: u32,
    maybe: u8,
    error_code: Option<&'a str>,
    error_text: Option<&'a str>,
    answered_at: String,
}

impl<'a> DeliveryRow<'a> {
    pub(crate) fn of(
        settlement: &Settlement,
        customer: CustomerId,
        delivery: &'a Delivery,
    ) -> Self {
        let token = &delivery.token;
        let cause = delivery.cause.as_ref();
        Self {
            id: bulk::id(settlement.notification),
            registration: delivery.registration.0,
            provider: token.provider().as_str(),
            customer,
            platform: delivery.platform.map(|platform| platform.as_str()),
            token_hash: bulk::hex(&hash::of_token(token.reveal())),
            token_masked: token.masked().as_str().to_owned(),
            outcome: delivery.outcome.as_str(),
            provider_id: delivery.provider_id.as_ref().map(|id| id.as_str()),
            tries: delivery.tries,
            maybe: u8::from(delivery.sent == Sent::Maybe),
            error_code: cause.map(|cause| cause.code.as_str()),
            error_text: cause.map(|cause| cause.text.as_str()),
            answered_at: bulk::time(delivery.at),
        }
    }
}
