//! A notification, as the API tells of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::escape::escape;

/// A notification, without its deliveries and its timeline.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    pub notification_id: String,
    pub customer_id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub body: String,
    pub data: BTreeMap<String, String>,
    pub status: String,
    pub reason: Option<String>,
    pub fcm_result: String,
    pub expo_result: String,
    pub attempts: u32,
    pub priority: String,
    pub collapse_key: Option<String>,
    pub created_at: DateTime<Utc>,
    pub send_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub opened_at: Option<DateTime<Utc>>,
}

/// Where nothing is to be told.
pub const NOTHING: &str = "–";

/// A text of the API, or that there is none.
pub fn or_nothing(text: Option<&str>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), escape)
}
