//! The columns that make a [`Notification`], with its content.

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::{
    Body, CollapseKey, Content, Data, ImageUrl, Notification, NotificationType, Priority, Title,
};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::TABLE;
use crate::decode::Row;
use crate::error::StoreError;

/// Flattened into rows that hold more.
#[derive(FromRow)]
pub(crate) struct NotificationRow {
    pub(crate) notification_id: Uuid,
    customer_id: i64,
    notification_type: String,
    title: String,
    body: String,
    data: Option<Json<Data>>,
    image_url: Option<String>,
    priority: String,
    collapse_key: Option<String>,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl NotificationRow {
    /// Retention or erasure has emptied it.
    pub(crate) fn is_emptied(&self) -> bool {
        self.title.is_empty() && self.body.is_empty()
    }
}

impl TryFrom<NotificationRow> for Notification {
    type Error = StoreError;

    fn try_from(row: NotificationRow) -> Result<Self, StoreError> {
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        let content = Content {
            title: at.read("title", Title::parse(&row.title).ok())?,
            body: at.read("body", Body::parse(&row.body).ok())?,
            data: row.data.map(|data| data.0).unwrap_or_default(),
            image_url: at
                .read_nullable("image_url", row.image_url, |url| ImageUrl::parse(&url).ok())?,
        };
        Ok(Self {
            id: row.notification_id.into(),
            customer: at.read("customer_id", CustomerId::try_from(row.customer_id).ok())?,
            kind: at.read(
                "notification_type",
                NotificationType::parse(&row.notification_type).ok(),
            )?,
            content,
            priority: at.read("priority", Priority::from_spelling(&row.priority))?,
            collapse_key: at.read_nullable("collapse_key", row.collapse_key, |key| {
                CollapseKey::parse(&key).ok()
            })?,
            created_at: row.created_at,
            send_at: row.send_at,
            expires_at: at.read("expires_at", row.expires_at)?,
        })
    }
}
