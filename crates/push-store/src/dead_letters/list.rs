//! Dead letters by filter, the newest first.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::job::GiveUpReason;
use push_core::outcome::Cause;
use push_core::provider::{Platform, Provider};
use push_core::replay::LetterState;
use push_core::token::MaskedToken;
use sqlx::FromRow;
use uuid::Uuid;

use super::filter::{Bind as _, LetterPlace, Shape, of_shape};
use super::{DeadLetterId, Filter, LetterView};
use crate::Store;
use crate::decode::{Row, millis};
use crate::error::StoreError;

macro_rules! list {
    ($index:literal, $equal:literal) => {
        concat!(
            "SELECT id, notification_id, customer_id, provider, platform, token_masked, reason, error_code, error_text, \
                attempts, created_at, state, replayed_at, replayed_by, discarded_at, discarded_by, discard_reason \
             FROM dead_letters FORCE INDEX (",
            $index,
            ") WHERE ",
            $equal,
            "created_at >= ? AND created_at <= ? AND (created_at < ? OR id < ?) \
             ORDER BY created_at DESC, id DESC LIMIT ?"
        )
    };
}

const LIST_ANY: &str = of_shape!(Any, list);
const LIST_STATE: &str = of_shape!(State, list);
const LIST_REASON: &str = of_shape!(Reason, list);
const LIST_PROVIDER: &str = of_shape!(Provider, list);
const LIST_STATE_REASON: &str = of_shape!(StateReason, list);
const LIST_STATE_PROVIDER: &str = of_shape!(StateProvider, list);
const LIST_REASON_PROVIDER: &str = of_shape!(ReasonProvider, list);
const LIST_STATE_REASON_PROVIDER: &str = of_shape!(StateReasonProvider, list);
const LIST_CUSTOMER: &str = of_shape!(Customer, list);
const LIST_NOTIFICATION: &str = of_shape!(Notification, list);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("LIST_ANY", LIST_ANY),
    ("LIST_STATE", LIST_STATE),
    ("LIST_REASON", LIST_REASON),
    ("LIST_PROVIDER", LIST_PROVIDER),
    ("LIST_STATE_REASON", LIST_STATE_REASON),
    ("LIST_STATE_PROVIDER", LIST_STATE_PROVIDER),
    ("LIST_REASON_PROVIDER", LIST_REASON_PROVIDER),
    ("LIST_STATE_REASON_PROVIDER", LIST_STATE_REASON_PROVIDER),
    ("LIST_CUSTOMER", LIST_CUSTOMER),
    ("LIST_NOTIFICATION", LIST_NOTIFICATION),
];

const fn statement(shape: Shape) -> &'static str {
    match shape {
        Shape::Any => LIST_ANY,
        Shape::State => LIST_STATE,
        Shape::Reason => LIST_REASON,
        Shape::Provider => LIST_PROVIDER,
        Shape::StateReason => LIST_STATE_REASON,
        Shape::StateProvider => LIST_STATE_PROVIDER,
        Shape::ReasonProvider => LIST_REASON_PROVIDER,
        Shape::StateReasonProvider => LIST_STATE_REASON_PROVIDER,
        Shape::Customer => LIST_CUSTOMER,
        Shape::Notification => LIST_NOTIFICATION,
    }
}

impl Store {
    /// The newest `limit` dead letters that the filter means and that come after `after` in that order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn dead_letters(
        &self,
        filter: &Filter,
        after: Option<LetterPlace>,
        limit: u32,
    ) -> Result<Vec<LetterView>, StoreError> {
        let upper = filter.upper();
        let (before, id) = after.map_or((upper, u64::MAX), |place| (millis(place.at), place.id.0));
        let rows: Vec<LetterViewRow> = sqlx::query_as(statement(filter.shape()))
            .values(filter.values())
            .bind(filter.lower())
            .bind(upper.min(before))
            .bind(before)
            .bind(id)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(LetterViewRow::view).collect()
    }
}

/// The columns of a [`LetterView`]. Flattened into the row that holds more.
#[derive(FromRow)]
pub(super) struct LetterViewRow {
    pub(super) id: u64,
    pub(super) notification_id: Option<Uuid>,
    customer_id: Option<i64>,
    provider: Option<String>,
    platform: Option<String>,
    token_masked: Option<String>,
    reason: String,
    error_code: String,
    error_text: String,
    attempts: u32,
    created_at: DateTime<Utc>,
    state: String,
    replayed_at: Option<DateTime<Utc>>,
    replayed_by: Option<String>,
    discarded_at: Option<DateTime<Utc>>,
    discarded_by: Option<String>,
    discard_reason: Option<String>,
}

impl LetterViewRow {
    pub(super) fn view(self) -> Result<LetterView, StoreError> {
        let at = Row {
            table: "dead_letters",
            key: self.id,
        };
        Ok(LetterView {
            id: DeadLetterId(self.id),
            notification: self.notification_id.map(NotificationId::from),
            customer: at.read_nullable("customer_id", self.customer_id, |id| {
                CustomerId::try_from(id).ok()
            })?,
            provider: at.read_nullable("provider", self.provider, |text| {
                Provider::from_spelling(&text)
            })?,
            platform: at.read_nullable("platform", self.platform, |text| {
                Platform::from_spelling(&text)
            })?,
            token: self.token_masked.map(MaskedToken::from_stored),
            reason: at.read("reason", GiveUpReason::from_spelling(&self.reason))?,
            error: Cause {
                code: self.error_code,
                text: self.error_text,
            },
            attempts: self.attempts,
            created_at: self.created_at,
            state: at.read("state", LetterState::from_spelling(&self.state))?,
            replayed_at: self.replayed_at,
            replayed_by: self.replayed_by,
            discarded_at: self.discarded_at,
            discarded_by: self.discarded_by,
            discard_reason: self.discard_reason,
        })
    }
}
