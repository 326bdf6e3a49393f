//! Accepting: from here on a notification is never lost (P1).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_core::timeline::{Step, TimelineEntry};
use sqlx::{MySql, QueryBuilder};

use super::timeline::lines;
use super::{Acceptance, UnknownCustomer};
use crate::decode::millis;
use crate::error::StoreError;
use crate::retry::Tries;
use crate::{Store, customers};

/// Rows of one INSERT: with the largest content (every byte escaped in `data`) still below the 16 MiB that a
/// server takes as one packet by default, and 13 × 400 placeholders.
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
            customers::create(&mut transaction, &missing).await?;
            known.extend(missing);
        }
        let accepted: Vec<&Notification> = notifications
            .iter()
            .filter(|n| known.contains(&n.customer))
            .collect();
        for some in accepted.chunks(ROWS_MAX) {
            insert(some, due_at)
                .build()
                .persistent(false)
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

pub(crate) fn insert(
    notifications: &[&Notification],
    due_at: DateTime<Utc>,
) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(
        "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, data, \
         image_url, priority, collapse_key, created_at, expires_at, due_at, timeline) ",
    );
    query.push_values(notifications, |mut row, n| {
        let content = &n.content;
        row.push_bind(n.id.as_uuid())
            .push_bind(n.customer.get())
            .push_bind(n.kind.as_str().to_owned())
            .push_bind(content.title.as_str().to_owned())
            .push_bind(content.body.as_str().to_owned())
            // As text: MySQL takes no bytes for JSON. A map of strings always serializes.
            .push_bind(serde_json::to_string(&content.data).unwrap_or_default())
            .push_bind(
                content
                    .image_url
                    .as_ref()
                    .map(|url| url.as_str().to_owned()),
            )
            .push_bind(n.priority.as_str())
            .push_bind(n.collapse_key.as_ref().map(|key| key.as_str().to_owned()))
            .push_bind(millis(n.created_at))
            .push_bind(millis(n.expires_at))
            .push_bind(millis(due_at))
            .push_bind(lines(&[told(n)]));
    });
    query
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
