//! One notification with everything that is known of it.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, DeviceId, NotificationId, RegistrationId};
use push_core::notification::{CollapseKey, NotificationType, Priority};
use push_core::outcome::Cause;
use push_core::provider::{Platform, Provider};
use push_core::settle::DeliveryOutcome;
use push_core::token::MaskedToken;
use push_seal::Keyring;
use sqlx::FromRow;

use super::content::ContentRow;
use super::state::StateRow;
use super::{DeliveryView, NotificationView, TABLE, timeline};
use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const VIEW: &str = "\
    SELECT notification_id, status, fcm_result, expo_result, reason, attempts, \
        customer_id, notification_type, title, body, data, image_url, sealed, priority, collapse_key, \
        created_at, send_at, expires_at, completed_at, opened_at, timeline \
    FROM notification_history WHERE notification_id = ?";

const DELIVERIES: &str = "\
    SELECT delivery.registration_id, device.device_id, delivery.platform, delivery.provider, delivery.token_masked, \
        delivery.outcome, delivery.provider_id, delivery.attempts, delivery.maybe_delivered, \
        delivery.error_code, delivery.error_text, delivery.receipt, delivery.at \
    FROM notification_deliveries AS delivery \
    LEFT JOIN customer_push_tokens AS device ON device.id = delivery.registration_id \
    WHERE delivery.notification_id = ? ORDER BY delivery.registration_id, delivery.provider";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("VIEW", VIEW), ("DELIVERIES", DELIVERIES)];

impl Store {
    /// The notification with its deliveries and its timeline; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn notification(
        &self,
        id: NotificationId,
    ) -> Result<Option<NotificationView>, StoreError> {
        self.opening(|keys| self.notification_with(keys, id)).await
    }

    async fn notification_with(
        &self,
        keys: Keyring,
        id: NotificationId,
    ) -> Result<Option<NotificationView>, StoreError> {
        let row: Option<ViewRow> = sqlx::query_as(VIEW)
            .bind(id.as_uuid())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let deliveries: Vec<DeliveryViewRow> = sqlx::query_as(DELIVERIES)
            .bind(id.as_uuid())
            .fetch_all(&self.pool)
            .await?;
        let deliveries = deliveries.into_iter().map(TryInto::try_into);
        row.view(&keys, deliveries.collect::<Result<_, _>>()?)
            .map(Some)
    }
}

/// Flattened into rows that hold more.
#[derive(FromRow)]
pub(super) struct ViewRow {
    #[sqlx(flatten)]
    state: StateRow,
    customer_id: i64,
    notification_type: String,
    #[sqlx(flatten)]
    content: ContentRow,
    priority: String,
    collapse_key: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    opened_at: Option<DateTime<Utc>>,
    timeline: Option<String>,
}

impl ViewRow {
    pub(super) fn view(
        self,
        keys: &Keyring,
        deliveries: Vec<DeliveryView>,
    ) -> Result<NotificationView, StoreError> {
        let at = Row {
            table: TABLE,
            key: self.state.notification_id,
        };
        let lines = self.timeline.unwrap_or_default();
        Ok(NotificationView {
            id: self.state.notification_id.into(),
            customer: at.read("customer_id", CustomerId::try_from(self.customer_id).ok())?,
            kind: at.read(
                "notification_type",
                NotificationType::parse(&self.notification_type).ok(),
            )?,
            content: self.content.open(keys, self.state.notification_id)?,
            priority: at.read("priority", Priority::from_spelling(&self.priority))?,
            collapse_key: at.read_nullable("collapse_key", self.collapse_key, |key| {
                CollapseKey::parse(&key).ok()
            })?,
            state: self.state.try_into()?,
            created_at: self.created_at,
            send_at: self.send_at,
            expires_at: self.expires_at,
            completed_at: self.completed_at,
            opened_at: self.opened_at,
            deliveries,
            timeline: at.read("timeline", timeline::read(&lines))?,
        })
    }
}

#[derive(FromRow)]
struct DeliveryViewRow {
    registration_id: u64,
    device_id: Option<String>,
    platform: Option<String>,
    provider: String,
    token_masked: Option<String>,
    outcome: String,
    provider_id: Option<String>,
    attempts: u32,
    maybe_delivered: bool,
    error_code: Option<String>,
    error_text: Option<String>,
    receipt: Option<String>,
    at: DateTime<Utc>,
}

impl TryFrom<DeliveryViewRow> for DeliveryView {
    type Error = StoreError;

    fn try_from(row: DeliveryViewRow) -> Result<Self, StoreError> {
        let at = Row {
            table: "notification_deliveries",
            key: row.registration_id,
        };
        let text = row.error_text.unwrap_or_default();
        Ok(Self {
            registration: RegistrationId(row.registration_id),
            device_id: at
                .read_nullable("device_id", row.device_id, |id| DeviceId::parse(&id).ok())?,
            platform: at.read_nullable("platform", row.platform, |text| {
                Platform::from_spelling(&text)
            })?,
            provider: at.read("provider", Provider::from_spelling(&row.provider))?,
            token: row.token_masked.map(MaskedToken::from_stored),
            outcome: at.read("outcome", DeliveryOutcome::from_spelling(&row.outcome))?,
            provider_id: row.provider_id,
            attempts: row.attempts,
            maybe_delivered: row.maybe_delivered,
            error: row.error_code.map(|code| Cause { code, text }),
            receipt: row.receipt,
            at: row.at,
        })
    }
}
