//! The history by filter, the newest first.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::notification::CollapseKey;
use push_core::status::{Reason, Status};
use push_seal::Keyring;
use sqlx::mysql::{MySql, MySqlArguments};
use sqlx::query::QueryAs;
use sqlx::{FromRow, MySqlConnection};

use super::filter::{Outcome, Shape};
use super::view::ViewRow;
use super::{HistoryFilter, HistoryItem, HistoryPlace};
use crate::decode::millis;
use crate::error::StoreError;
use crate::{Store, bulk};

/// The columns of an item.
macro_rules! items {
    ($rest:literal) => {
        concat!(
            "SELECT history.id, history.notification_id, history.status, history.fcm_result, history.expo_result, \
                history.reason, history.attempts, history.customer_id, history.notification_type, history.title, \
                history.body, history.data, history.image_url, history.sealed, history.priority, history.collapse_key, \
                history.created_at, history.send_at, history.expires_at, history.completed_at, history.opened_at, NULL AS timeline ",
            $rest
        )
    };
}

/// The end of each: a part of the order of time.
macro_rules! newest {
    ($start:literal) => {
        concat!(
            $start,
            " AND created_at >= ? AND created_at <= ? AND (created_at < ? OR id < ?) \
              ORDER BY created_at DESC, id DESC LIMIT ?"
        )
    };
}

const HISTORY_ANY: &str = items!(
    "FROM notification_history AS history FORCE INDEX (by_time) \
     WHERE created_at >= ? AND created_at <= ? AND (created_at < ? OR id < ?) \
     ORDER BY created_at DESC, id DESC LIMIT ?"
);

const HISTORY_CUSTOMER: &str = items!(
    "FROM notification_history AS history FORCE INDEX (by_customer) \
     WHERE customer_id = ? AND (? IS NULL OR status = ?) AND (? IS NULL OR reason = ?) \
        AND (? IS NULL OR notification_type = ?) \
        AND created_at >= ? AND created_at <= ? AND (created_at < ? OR id < ?) \
     ORDER BY created_at DESC, id DESC LIMIT ?"
);

/// All notifications of a booking have its collapse key.
const HISTORY_BOOKING: &str = items!(
    "FROM notification_history AS history FORCE INDEX (by_collapse_key) \
     WHERE collapse_key = ? AND (? IS NULL OR customer_id = ?) AND (? IS NULL OR status = ?) \
        AND (? IS NULL OR reason = ?) AND (? IS NULL OR notification_type = ?) \
        AND created_at >= ? AND created_at <= ? AND (created_at < ? OR id < ?) \
     ORDER BY created_at DESC, id DESC LIMIT ?"
);

/// Only the index is read.
const PLACES_OF_OUTCOME: &str = newest!(
    "SELECT created_at, id FROM notification_history FORCE INDEX (by_outcome) WHERE status = ? AND reason <=> ?"
);

const PLACES_OF_TYPE: &str = newest!(
    "SELECT created_at, id FROM notification_history FORCE INDEX (by_type) \
     WHERE notification_type = ? AND status = ? AND reason <=> ?"
);

const HISTORY_AT: &str = items!(
    "FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS wanted \
     STRAIGHT_JOIN notification_history AS history FORCE INDEX (PRIMARY) ON history.id = wanted.id"
);

/// A page that is read by several statements reads them all as of one moment: what changes its status meanwhile is there
/// once. For the next transaction only.
const AT_ONE_MOMENT: &str =
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; START TRANSACTION";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("HISTORY_ANY", HISTORY_ANY),
    ("HISTORY_CUSTOMER", HISTORY_CUSTOMER),
    ("HISTORY_BOOKING", HISTORY_BOOKING),
    ("PLACES_OF_OUTCOME", PLACES_OF_OUTCOME),
    ("PLACES_OF_TYPE", PLACES_OF_TYPE),
    ("HISTORY_AT", HISTORY_AT),
];

impl Store {
    /// The newest `limit` notifications that the filter means and that come after `after` in that order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn history(
        &self,
        filter: &HistoryFilter,
        after: Option<HistoryPlace>,
        limit: u32,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        self.opening(|keys| self.history_with(keys, filter, after, limit))
            .await
    }

    async fn history_with(
        &self,
        keys: Keyring,
        filter: &HistoryFilter,
        after: Option<HistoryPlace>,
        limit: u32,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let part = Part::of(filter, after, limit);
        let rows = match filter.shape() {
            Shape::Any => {
                let asked = part.bind(sqlx::query_as(HISTORY_ANY));
                asked.fetch_all(&self.pool).await?
            }
            Shape::Booking(booking) => {
                let key = CollapseKey::of_booking(booking);
                let customer = filter.customer.map(CustomerId::get);
                let asked = sqlx::query_as(HISTORY_BOOKING)
                    .bind(key.as_str())
                    .bind(customer)
                    .bind(customer);
                let asked = part.bind(bind_rest(asked, filter));
                asked.fetch_all(&self.pool).await?
            }
            Shape::Customer(customer) => {
                let asked = sqlx::query_as(HISTORY_CUSTOMER).bind(customer.get());
                let asked = part.bind(bind_rest(asked, filter));
                asked.fetch_all(&self.pool).await?
            }
            Shape::Outcomes(outcomes) => self.page_of(None, &outcomes, &part).await?,
            Shape::TypeOutcomes(kind, outcomes) => {
                self.page_of(Some(kind.as_str()), &outcomes, &part).await?
            }
        };
        rows.into_iter().map(|row| row.item(&keys)).collect()
    }

    /// The page that several ranges make together.
    async fn page_of(
        &self,
        kind: Option<&str>,
        outcomes: &[Outcome],
        part: &Part,
    ) -> Result<Vec<ItemRow>, StoreError> {
        let mut transaction = self.pool.begin_with(AT_ONE_MOMENT).await?;
        let mut places = BTreeSet::new();
        for outcome in outcomes {
            places.extend(places_of(&mut transaction, kind, *outcome, part).await?);
        }
        let newest: Vec<u64> = places
            .iter()
            .rev()
            .take(part.limit as usize)
            .map(|place| place.id)
            .collect();
        let mut rows: Vec<ItemRow> = sqlx::query_as(HISTORY_AT)
            .bind(bulk::array(&newest)?)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.view.created_at, row.id)));
        Ok(rows)
    }
}

/// What is looked at row by row.
fn bind_rest<'q>(
    query: QueryAs<'q, MySql, ItemRow, MySqlArguments>,
    filter: &'q HistoryFilter,
) -> QueryAs<'q, MySql, ItemRow, MySqlArguments> {
    let status = filter.status.map(Status::as_str);
    let reason = filter.reason.map(Reason::as_str);
    let kind = filter.kind.as_ref().map(|kind| kind.as_str());
    query
        .bind(status)
        .bind(status)
        .bind(reason)
        .bind(reason)
        .bind(kind)
        .bind(kind)
}

async fn places_of(
    connection: &mut MySqlConnection,
    kind: Option<&str>,
    (status, reason): Outcome,
    part: &Part,
) -> Result<Vec<PlaceRow>, StoreError> {
    let asked = match kind {
        None => sqlx::query_as(PLACES_OF_OUTCOME),
        Some(kind) => sqlx::query_as(PLACES_OF_TYPE).bind(kind),
    };
    let asked = asked.bind(status.as_str()).bind(reason.map(Reason::as_str));
    Ok(part.bind(asked).fetch_all(connection).await?)
}

/// Which part of the order of time.
struct Part {
    lower: DateTime<Utc>,
    upper: DateTime<Utc>,
    before: DateTime<Utc>,
    row: u64,
    limit: u32,
}

impl Part {
    fn of(filter: &HistoryFilter, after: Option<HistoryPlace>, limit: u32) -> Self {
        let upper = filter.upper();
        let (before, row) = after.map_or((upper, u64::MAX), |place| (millis(place.at), place.row));
        Self {
            lower: filter.lower(),
            upper: upper.min(before),
            before,
            row,
            limit,
        }
    }

    fn bind<'q, T>(
        &self,
        query: QueryAs<'q, MySql, T, MySqlArguments>,
    ) -> QueryAs<'q, MySql, T, MySqlArguments> {
        query
            .bind(self.lower)
            .bind(self.upper)
            .bind(self.before)
            .bind(self.row)
            .bind(self.limit)
    }
}

/// In the order of time.
#[derive(FromRow, PartialEq, Eq, PartialOrd, Ord)]
struct PlaceRow {
    created_at: DateTime<Utc>,
    id: u64,
}

#[derive(FromRow)]
struct ItemRow {
    id: u64,
    #[sqlx(flatten)]
    view: ViewRow,
}

impl ItemRow {
    fn item(self, keys: &Keyring) -> Result<HistoryItem, StoreError> {
        let place = HistoryPlace {
            at: self.view.created_at,
            row: self.id,
        };
        let notification = self.view.view(keys, Vec::new())?;
        Ok(HistoryItem {
            place,
            notification,
        })
    }
}
