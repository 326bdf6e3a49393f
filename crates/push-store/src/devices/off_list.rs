//! Which tokens of a customer's are off, and why: for the timeline only.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, DeviceId, RegistrationId};
use push_core::left_out::{TokenOff, WhyOff};
use push_core::provider::Provider;
use push_core::token::{ExpoToken, FcmToken, MaskedToken, Token};
use push_seal::Keyring;
use sqlx::FromRow;

use super::{TABLE, open_token};
use crate::Store;
use crate::bulk;
use crate::decode::Row;
use crate::error::StoreError;

/// The latest of each customer. The rows are those that the active devices are found among.
const OFF: &str = "\
    SELECT customer_id, id, device_id, is_active, fcm_token, fcm_dead_at, fcm_off_because, \
        expo_push_token, expo_dead_at, expo_off_because, updated_at \
    FROM (SELECT device.customer_id, device.id, device.device_id, device.is_active, \
            device.fcm_token, device.fcm_dead_at, device.fcm_off_because, \
            device.expo_push_token, device.expo_dead_at, device.expo_off_because, device.updated_at, \
            ROW_NUMBER() OVER (PARTITION BY device.customer_id ORDER BY device.updated_at DESC, device.id DESC) AS place \
        FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS wanted \
        STRAIGHT_JOIN customer_push_tokens AS device FORCE INDEX (customer_device) ON device.customer_id = wanted.id \
        WHERE NOT device.is_active OR device.fcm_dead_at IS NOT NULL OR device.expo_dead_at IS NOT NULL) AS ranked \
    WHERE place <= ? ORDER BY customer_id, place";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("OFF", OFF)];

impl Store {
    /// The tokens of these customers that are off, of the latest ten devices of each.
    pub(super) async fn tokens_off(
        &self,
        customers: &[CustomerId],
    ) -> Result<Vec<(CustomerId, TokenOff)>, StoreError> {
        let rows: Vec<OffRow> = sqlx::query_as(OFF)
            .bind(bulk::customers(customers)?)
            .bind(TokenOff::DEVICES_MAX)
            .fetch_all(&self.pool)
            .await?;
        let mut off = Vec::new();
        for row in rows {
            let Ok(customer) = CustomerId::try_from(row.customer_id) else {
                continue;
            };
            match row.tokens(&self.keys) {
                Ok(tokens) => off.extend(tokens.map(|token| (customer, token))),
                Err(error) => {
                    tracing::warn!(%error, "a device cannot be read; no timeline tells of it")
                }
            }
        }
        Ok(off)
    }
}

#[derive(FromRow)]
struct OffRow {
    customer_id: i64,
    id: u64,
    device_id: Option<String>,
    is_active: bool,
    fcm_token: Option<String>,
    fcm_dead_at: Option<DateTime<Utc>>,
    fcm_off_because: Option<String>,
    expo_push_token: Option<String>,
    expo_dead_at: Option<DateTime<Utc>>,
    expo_off_because: Option<String>,
    updated_at: DateTime<Utc>,
}

impl OffRow {
    fn tokens(self, keys: &Keyring) -> Result<impl Iterator<Item = TokenOff>, StoreError> {
        let at = Row {
            table: TABLE,
            key: self.id,
        };
        let device_id =
            at.read_nullable("device_id", self.device_id, |id| DeviceId::parse(&id).ok())?;
        let open = |token, provider| open_token(keys, token, provider, self.customer_id, &at);
        let fcm = open(self.fcm_token, Provider::Fcm)?;
        let fcm = fcm.and_then(|token| FcmToken::parse(&token).ok());
        let expo = open(self.expo_push_token, Provider::Expo)?;
        let expo = expo.and_then(|token| ExpoToken::parse(&token).ok());
        let why = |text: Option<String>| text.and_then(|text| WhyOff::from_spelling(&text));
        let sides = [
            (
                Provider::Fcm,
                fcm.map(|token| Token::Fcm(token).masked()),
                self.fcm_dead_at,
                why(self.fcm_off_because),
            ),
            (
                Provider::Expo,
                expo.map(|token| Token::Expo(token).masked()),
                self.expo_dead_at,
                why(self.expo_off_because),
            ),
        ];
        let registration = RegistrationId(self.id);
        let (is_active, updated_at) = (self.is_active, self.updated_at);
        let token = move |(provider, token, dead_at, why): Side| {
            // Of a device that is off as a whole, also what nobody says when it went off.
            let gone = !is_active && (token.is_some() || why.is_some());
            let since = dead_at.or(gone.then_some(updated_at))?;
            Some(TokenOff {
                registration,
                device_id: device_id.clone(),
                provider,
                token,
                why,
                since,
            })
        };
        Ok(sides.into_iter().filter_map(token))
    }
}

type Side = (
    Provider,
    Option<MaskedToken>,
    Option<DateTime<Utc>>,
    Option<WhyOff>,
);
