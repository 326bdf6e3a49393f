//! Accepting: from here on a notification is never lost (P1).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::Notification;
use push_core::timeline::{Step, TimelineEntry};
use serde::Serialize;
use sqlx::MySqlConnection;

use super::timeline::lines;
use super::{Acceptance, UnknownCustomer};
use crate::decode::millis;
use crate::error::StoreError;
use crate::idempotency::{Kept, Keyed, Said};
use crate::retry::Tries;
use crate::{Store, bulk, customers, idempotency};

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

/// A notification that is to be accepted, and the key of its request if it has one.
#[derive(Debug, Clone, Copy)]
pub struct ToAccept<'a> {
    /// The notification.
    pub notification: &'a Notification,
    /// The key, and the answer that is kept with it.
    pub keyed: Option<&'a Keyed>,
}

impl<'a> From<&'a Notification> for ToAccept<'a> {
    fn from(notification: &'a Notification) -> Self {
        let keyed = None;
        Self {
            notification,
            keyed,
        }
    }
}

impl Store {
    /// Commits the notifications whose customers exist, all or none of them and with their keys, and answers for each in
    /// order. What was asked for before under its key is not accepted a second time, whatever became of the customer.
    /// `due_at`: when the reconciler shall look at those that are still pending, in case no queue
    /// ever got them.
    ///
    /// # Errors
    /// [`StoreError`]; then none is accepted, unless the connection broke during the commit.
    pub async fn accept<'a, T>(
        &self,
        batch: &'a [T],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Vec<Acceptance>, StoreError>
    where
        &'a T: Into<ToAccept<'a>>,
    {
        let batch: Vec<ToAccept<'_>> = batch.iter().map(Into::into).collect();
        let mut tries = Tries::new();
        loop {
            match self.accept_once(&batch, unknown, due_at).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn accept_once(
        &self,
        batch: &[ToAccept<'_>],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        let now = batch
            .iter()
            .map(|asked| asked.notification.created_at)
            .max();
        let now = now.unwrap_or_default();
        let mut judge = Judge::default();
        let mut transaction = self.pool.begin().await?;
        judge.kept.look(&mut transaction, &keys(batch), now).await?;
        let mut news = Vec::from(batch);
        news.retain(|asked| judge.says_nothing_of(*asked));
        judge.known = customers_of(&mut transaction, &news, unknown).await?;
        news.retain(|asked| judge.known.contains(&asked.notification.customer));
        let new_keys = keys(&news);
        idempotency::keep(&mut transaction, &new_keys, now).await?;
        judge.kept.look(&mut transaction, &new_keys, now).await?;
        news.retain(|asked| judge.answer(*asked) == Acceptance::Accepted);
        for some in news.chunks(ROWS_MAX) {
            let rows: Vec<AcceptedRow> = some
                .iter()
                .map(|asked| AcceptedRow::of(asked.notification, due_at))
                .collect();
            sqlx::query(INSERT)
                .bind(bulk::array(&rows)?)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(batch.iter().map(|asked| judge.answer(*asked)).collect())
    }
}

fn keys<'a>(batch: &[ToAccept<'a>]) -> Vec<&'a Keyed> {
    batch.iter().filter_map(|asked| asked.keyed).collect()
}

/// The customers that exist, now that those were created that may be.
async fn customers_of(
    connection: &mut MySqlConnection,
    batch: &[ToAccept<'_>],
    unknown: UnknownCustomer,
) -> Result<HashSet<CustomerId>, StoreError> {
    let customers = batch.iter().map(|asked| asked.notification.customer);
    let customers: HashSet<CustomerId> = customers.collect();
    let customers: Vec<CustomerId> = customers.into_iter().collect();
    let mut known = customers::known(connection, &customers).await?;
    if unknown == UnknownCustomer::Create && known.len() < customers.len() {
        let missing: Vec<CustomerId> = customers
            .into_iter()
            .filter(|customer| !known.contains(customer))
            .collect();
        known.extend(customers::create(connection, &missing).await?);
    }
    Ok(known)
}

/// What the answers follow from.
#[derive(Default)]
struct Judge {
    kept: Kept,
    known: HashSet<CustomerId>,
}

impl Judge {
    fn says_nothing_of(&self, asked: ToAccept<'_>) -> bool {
        asked
            .keyed
            .is_none_or(|keyed| self.kept.say(keyed) == Said::Nothing)
    }

    fn answer(&self, asked: ToAccept<'_>) -> Acceptance {
        match asked
            .keyed
            .map_or(Said::Nothing, |keyed| self.kept.say(keyed))
        {
            Said::First => Acceptance::Accepted,
            Said::Before(answer) => Acceptance::Before(answer.clone()),
            Said::Other => Acceptance::KeyReused,
            Said::Nothing if self.known.contains(&asked.notification.customer) => {
                Acceptance::Accepted
            }
            Said::Nothing => Acceptance::UnknownCustomer,
        }
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
