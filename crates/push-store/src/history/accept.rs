//! Accepting: from here on a notification is never lost (P1).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_core::timeline::{Step, TimelineEntry};
use serde::Serialize;

use super::timeline::lines;
use super::{Acceptance, UnknownCustomer};
use crate::decode::millis;
use crate::error::StoreError;
use crate::retry::Tries;
use crate::{Store, bulk, customers};

const INSERT: &str = "\
    INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, data, \
        image_url, priority, collapse_key, created_at, expires_at, due_at, timeline) \
    SELECT UNHEX(id), customer, kind, title, body, data, \
        image_url, priority, collapse_key, created_at, expires_at, due_at, timeline \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            customer BIGINT PATH '$.customer', \
            kind MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.kind', \
            title MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.title', \
            body MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.body', \
            data MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.data', \
            image_url MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.image_url', \
            priority MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.priority', \
            collapse_key MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.collapse_key', \
            created_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.created_at', \
            expires_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expires_at', \
            due_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.due_at', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline' \
        )) AS accepted";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("INSERT", INSERT)];

/// Rows of one [`INSERT`]: with the largest content (every byte of `data` escaped) still below the 16 MiB that a
/// server takes as one packet by default.
const ROWS_MAX: usize = 400;

impl Store {
    /// Commits the notifications whose customers exist, all or none of them, and answers for each in order.
    /// `due_at`: when the reconciler shall look at those that are still pending, in case no queue
    /// ever got them.
    ///
    /// # Errors
    /// [`StoreError`]; then none is accepted, unless the connection broke during the commit.
    pub async fn accept(
        &self,
        notifications: &[Notification],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        let mut tries = Tries::new();
        loop {
            match self.accept_once(notifications, unknown, due_at).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn accept_once(
        &self,
        notifications: &[Notification],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        let customers: HashSet<CustomerId> = notifications.iter().map(|n| n.customer).collect();
        let customers: Vec<CustomerId> = customers.into_iter().collect();
        let mut transaction = self.pool.begin().await?;
        let mut known = customers::known(&mut transaction, &customers).await?;
        if unknown == UnknownCustomer::Create && known.len() < customers.len() {
            let missing: Vec<CustomerId> = customers
                .into_iter()
                .filter(|customer| !known.contains(customer))
                .collect();
            known.extend(customers::create(&mut transaction, &missing).await?);
        }
        let accepted: Vec<&Notification> = notifications
            .iter()
            .filter(|n| known.contains(&n.customer))
            .collect();
        for some in accepted.chunks(ROWS_MAX) {
            let rows: Vec<AcceptedRow> = some.iter().map(|n| AcceptedRow::of(n, due_at)).collect();
            sqlx::query(INSERT)
                .bind(bulk::array(&rows)?)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        let answer = |n: &Notification| match known.contains(&n.customer) {
            true => Acceptance::Accepted,
            false => Acceptance::UnknownCustomer,
        };
        Ok(notifications.iter().map(answer).collect())
    }
}

/// An element of [`INSERT`]'s array.
#[derive(Serialize)]
struct AcceptedRow<'a> {
    id: String,
    customer: CustomerId,
    kind: &'a str,
    priority: &'static str,
    collapse_key: Option<&'a str>,
    created_at: String,
    expires_at: String,
    due_at: String,
    image_url: Option<&'a str>,
    title: &'a str,
    timeline: String,
    body: &'a str,
    /// JSON as text, as both databases take it.
    data: String,
}

impl<'a> AcceptedRow<'a> {
    fn of(notification: &'a Notification, due_at: DateTime<Utc>) -> Self {
        let content = &notification.content;
        Self {
            id: bulk::id(notification.id),
            customer: notification.customer,
            kind: notification.kind.as_str(),
            title: content.title.as_str(),
            body: content.body.as_str(),
            // A map of strings always serializes.
            data: serde_json::to_string(&content.data).unwrap_or_default(),
            image_url: content.image_url.as_ref().map(|url| url.as_str()),
            priority: notification.priority.as_str(),
            collapse_key: notification.collapse_key.as_ref().map(|key| key.as_str()),
            created_at: bulk::time(notification.created_at),
            expires_at: bulk::time(notification.expires_at),
            due_at: bulk::time(due_at),
            timeline: lines(&[told(notification)]),
        }
    }
}

fn told(notification: &Notification) -> TimelineEntry {
    let text = format!(
        "accepted for customer {}, to be sent before {}",
        notification.customer,
        notification
            .expires_at
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    TimelineEntry::new(millis(notification.created_at), Step::Accepted, text)
}
