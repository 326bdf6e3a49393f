//! A notification in the list.

use std::collections::BTreeMap;

use push_core::notification::Priority;
use push_core::status::{ProviderResult, Reason, Status};
use push_store::NotificationView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::Time;
use crate::schemas;

/// A notification, without its deliveries and its timeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HistoryItem)]
pub struct Item {
    /// Its id.
    pub notification_id: Uuid,
    /// Whom it is for.
    pub customer_id: i64,
    /// What kind of news it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The headline.
    pub title: String,
    /// The text.
    pub body: String,
    /// Key-value pairs for the app.
    pub data: BTreeMap<String, String>,
    /// A picture shown with it.
    pub image_url: Option<String>,
    /// Where it stands.
    #[schema(schema_with = schemas::status)]
    pub status: Status,
    /// Why it failed or was suppressed.
    #[schema(schema_with = schemas::reason)]
    pub reason: Option<Reason>,
    /// Over all devices at FCM.
    #[schema(schema_with = schemas::provider_result)]
    pub fcm_result: ProviderResult,
    /// Over all devices at Expo.
    #[schema(schema_with = schemas::provider_result)]
    pub expo_result: ProviderResult,
    /// Most tries spent on any device.
    pub attempts: u32,
    /// How urgently the device is woken.
    #[schema(schema_with = schemas::priority)]
    pub priority: Priority,
    /// What it replaces.
    pub collapse_key: Option<String>,
    /// When it was accepted.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Time,
    /// It is not sent before; `null`: at once.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub send_at: Option<Time>,
    /// From when on it is not sent any more.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Time>,
    /// When it ended.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub completed_at: Option<Time>,
    /// When the customer opened it.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub opened_at: Option<Time>,
}

impl From<NotificationView> for Item {
    fn from(view: NotificationView) -> Self {
        let data = view.content.data.iter();
        Self {
            notification_id: view.id.as_uuid(),
            customer_id: view.customer.get(),
            kind: view.kind.into(),
            data: data
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            title: view.content.title,
            body: view.content.body,
            image_url: view.content.image_url,
            status: view.state.status,
            reason: view.state.reason,
            fcm_result: view.state.fcm,
            expo_result: view.state.expo,
            attempts: view.state.attempts,
            priority: view.priority,
            collapse_key: view.collapse_key.map(Into::into),
            created_at: Time(view.created_at),
            send_at: view.send_at.map(Time),
            expires_at: view.expires_at.map(Time),
            completed_at: view.completed_at.map(Time),
            opened_at: view.opened_at.map(Time),
        }
    }
}
