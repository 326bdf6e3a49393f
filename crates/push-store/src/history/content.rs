//! The columns that make a [`Notification`], with its content.

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::{
    Body, CollapseKey, Content, Data, ImageUrl, Notification, NotificationType, Priority, Title,
};
use push_seal::{KeyId, Keyring, key_of};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{StoredContent, TABLE};
use crate::decode::{JsonText, Row};
use crate::error::StoreError;
use crate::sealing;

/// The columns of what a customer reads. Sealed, it stands in one of its own, and the others are empty.
#[derive(FromRow)]
pub(crate) struct ContentRow {
    title: String,
    body: String,
    data: Option<JsonText>,
    image_url: Option<String>,
    sealed: Option<String>,
}

/// What is in `sealed`, as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SealedContent {
    title: String,
    body: String,
    data: Data,
    image_url: Option<String>,
}

/// The same, to be written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToSeal<'a> {
    title: &'a str,
    body: &'a str,
    data: &'a Data,
    image_url: Option<&'a str>,
}

impl<'a> From<&'a Content> for ToSeal<'a> {
    fn from(content: &'a Content) -> Self {
        Self {
            title: content.title.as_str(),
            body: content.body.as_str(),
            data: &content.data,
            image_url: content.image_url.as_ref().map(|url| url.as_str()),
        }
    }
}

impl<'a> From<&'a StoredContent> for ToSeal<'a> {
    fn from(content: &'a StoredContent) -> Self {
        Self {
            title: &content.title,
            body: &content.body,
            data: &content.data,
            image_url: content.image_url.as_deref(),
        }
    }
}

impl ContentRow {
    /// Retention or erasure has emptied it.
    pub(crate) fn is_emptied(&self) -> bool {
        self.title.is_empty() && self.body.is_empty() && self.sealed.is_none()
    }

    /// Which key it is sealed with; `None` where it is clear.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.sealed.as_deref().and_then(key_of)
    }

    pub(crate) fn open(
        self,
        keys: &Keyring,
        notification: Uuid,
    ) -> Result<StoredContent, StoreError> {
        let at = Row {
            table: TABLE,
            key: notification,
        };
        let Some(sealed) = self.sealed else {
            let data = at.read_nullable("data", self.data, |JsonText(data)| {
                serde_json::from_str(&data).ok()
            })?;
            return Ok(StoredContent {
                title: self.title,
                body: self.body,
                data: data.unwrap_or_default(),
                image_url: self.image_url,
            });
        };
        let place = sealing::content(notification);
        let json = sealing::open(keys, &place, sealed, &at, "sealed")?;
        let content: SealedContent = at.read("sealed", serde_json::from_str(&json).ok())?;
        Ok(StoredContent {
            title: content.title,
            body: content.body,
            data: content.data,
            image_url: content.image_url,
        })
    }
}

/// The content for `sealed`; `None` where nothing is sealed.
pub(crate) fn sealed<'a>(
    keys: &Keyring,
    notification: Uuid,
    content: impl Into<ToSeal<'a>>,
) -> Result<Option<String>, StoreError> {
    if keys.sealing().is_none() {
        return Ok(None);
    }
    let json = serde_json::to_string(&content.into())
        .map_err(|_| StoreError::Unusable("content cannot be written as JSON"))?;
    sealing::seal(keys, &sealing::content(notification), json).map(Some)
}

/// Flattened into rows that hold more.
#[derive(FromRow)]
pub(crate) struct NotificationRow {
    pub(crate) notification_id: Uuid,
    customer_id: i64,
    notification_type: String,
    #[sqlx(flatten)]
    content: ContentRow,
    priority: String,
    collapse_key: Option<String>,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl NotificationRow {
    /// Retention or erasure has emptied it.
    pub(crate) fn is_emptied(&self) -> bool {
        self.content.is_emptied()
    }

    pub(crate) fn read(self, keys: &Keyring) -> Result<Notification, StoreError> {
        let row = self;
        let at = Row {
            table: TABLE,
            key: row.notification_id,
        };
        let stored = row.content.open(keys, row.notification_id)?;
        let content = Content {
            title: at.read("title", Title::parse(&stored.title).ok())?,
            body: at.read("body", Body::parse(&stored.body).ok())?,
            data: stored.data,
            image_url: at.read_nullable("image_url", stored.image_url, |url| {
                ImageUrl::parse(&url).ok()
            })?,
        };
        Ok(Notification {
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
