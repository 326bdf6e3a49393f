//! Counting anew what was accepted within an hour. Nobody needs that whose changes are all counted where they are made; it
//! is for what was changed in another way: by programs that are too old to count, while others do already, or by hand.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use push_core::provider::{PerProvider, Provider};
use push_core::status::{ProviderResult, Reason, Status};
use sqlx::{FromRow, MySqlConnection};

use super::changes::{Changes, Counted, Key, Standing, hour_of};
use super::counter::{Counts, add};
use super::fold::{read_changes, read_counts};
use super::read::{CHANGES, time_of};
use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const TABLE: &str = "notification_history";

/// For the next transaction only: all its statements see one moment.
const ONE_MOMENT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION";

const FIRST_HOURS: &str = "\
    SELECT CAST(UNIX_TIMESTAMP(MIN(created_at)) DIV 3600 AS SIGNED) AS first_hour FROM notification_history \
    UNION ALL \
    SELECT CAST(MIN(first_hour) AS SIGNED) FROM notification_counters WHERE span = 1";

const ROWS_OF_HOUR: &str = "\
    SELECT notification_type, status, reason, fcm_result, expo_result, created_at, send_at, sent_at, opened_at \
    FROM notification_history FORCE INDEX (by_time) \
    WHERE created_at >= ? AND created_at < ?";

const DEVICES_OF_HOUR: &str = "\
    SELECT history.notification_type, history.created_at, history.send_at, delivery.provider, delivery.at \
    FROM notification_history AS history FORCE INDEX (by_time) \
    STRAIGHT_JOIN notification_deliveries AS delivery FORCE INDEX (PRIMARY) \
        ON delivery.notification_id = history.notification_id \
    WHERE history.created_at >= ? AND history.created_at < ? AND delivery.outcome = 'accepted'";

const COUNTED_OF_HOUR: &str = "\
    SELECT notification_type, counts, NULL AS changes FROM notification_counters WHERE span = 1 AND first_hour = ? \
    UNION ALL \
    SELECT NULL, NULL, changes FROM notification_counter_changes";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("FIRST_HOURS", FIRST_HOURS),
    ("ROWS_OF_HOUR", ROWS_OF_HOUR),
    ("DEVICES_OF_HOUR", DEVICES_OF_HOUR),
    ("COUNTED_OF_HOUR", COUNTED_OF_HOUR),
];

/// What was wrong in the figures of an hour and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// When the hour began.
    pub begin: DateTime<Utc>,
    /// The type.
    pub kind: String,
    /// What was added to which counter.
    pub added: BTreeMap<String, i64>,
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = self.begin.format("%Y-%m-%dT%H:%MZ");
        write!(f, "{begin} {}:", self.kind)?;
        for (counter, n) in &self.added {
            write!(f, " {counter} {n:+}")?;
        }
        Ok(())
    }
}

impl Store {
    /// Where the figures begin: the hour of the oldest row, or the oldest that anything was counted of. `None`: nowhere.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn figures_begin(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let hours: Vec<Option<i64>> = sqlx::query_scalar(FIRST_HOURS)
            .fetch_all(&self.pool)
            .await?;
        let first = hours.into_iter().flatten().min();
        Ok(first.and_then(|hour| u32::try_from(hour).ok()).map(time_of))
    }

    /// Counts anew what was accepted within the hour that `within` lies in, and corrects the figures where they say
    /// something else. The programs may go on meanwhile: rows and figures are read as of one moment, and the difference is
    /// added like any other change.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was corrected, unless the connection broke during the commit.
    pub async fn recount_hour(&self, within: DateTime<Utc>) -> Result<Vec<Correction>, StoreError> {
        let hour = hour_of(within);
        let mut transaction = self.pool.begin_with(ONE_MOMENT).await?;
        let mut changes = by_the_rows(&mut transaction, time_of(hour)).await?;
        for (key, counts) in as_counted(&mut transaction, hour).await? {
            changes.less(key, &counts);
        }
        let corrections = changes.told().map(|(key, counts)| Correction {
            begin: time_of(key.hour),
            kind: key.kind.clone(),
            added: counts.clone(),
        });
        let corrections = corrections.collect();
        changes.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(corrections)
    }
}

/// What the rows say.
async fn by_the_rows(
    connection: &mut MySqlConnection,
    begin: DateTime<Utc>,
) -> Result<Changes, StoreError> {
    let end = begin + TimeDelta::hours(1);
    let mut changes = Changes::default();
    let mut rows = sqlx::query_as(ROWS_OF_HOUR)
        .bind(begin)
        .bind(end)
        .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let row: HistoryRow = row;
        let counted = row.counted();
        changes.found(&counted);
        changes.moved(&counted, None, row.standing()?.as_ref());
        if row.opened_at.is_some() {
            changes.opened(&counted);
        }
    }
    drop(rows);
    let mut devices = sqlx::query_as(DEVICES_OF_HOUR)
        .bind(begin)
        .bind(end)
        .fetch(&mut *connection);
    while let Some(device) = devices.try_next().await? {
        let device: DeviceRow = device;
        let provider = Row {
            table: "notification_deliveries",
            key: device.at,
        }
        .read("provider", Provider::from_spelling(&device.provider))?;
        changes.reached(&device.counted(), provider, device.at);
    }
    Ok(changes)
}

/// What the figures say.
async fn as_counted(
    connection: &mut MySqlConnection,
    hour: u32,
) -> Result<BTreeMap<Key, Counts>, StoreError> {
    let mut counted: BTreeMap<Key, Counts> = BTreeMap::new();
    let rows: Vec<CountedRow> = sqlx::query_as(COUNTED_OF_HOUR)
        .bind(hour)
        .fetch_all(connection)
        .await?;
    for row in rows {
        if let (Some(kind), Some(counts)) = (row.notification_type, row.counts) {
            let counts = read_counts(hour, &counts)?;
            add(counted.entry(Key { hour, kind }).or_default(), counts);
        }
        if let Some(changes) = row.changes {
            let changes = read_changes(&CHANGES, &changes)?.into_iter();
            for change in changes.filter(|change| change.key.hour == hour) {
                add(counted.entry(change.key).or_default(), change.counts);
            }
        }
    }
    Ok(counted)
}

#[derive(FromRow)]
struct HistoryRow {
    notification_type: String,
    status: String,
    reason: Option<String>,
    fcm_result: String,
    expo_result: String,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    opened_at: Option<DateTime<Utc>>,
}

impl HistoryRow {
    fn counted(&self) -> Counted {
        Counted {
            created_at: self.created_at,
            send_at: self.send_at,
            kind: self.notification_type.clone(),
        }
    }

    fn standing(&self) -> Result<Option<Standing>, StoreError> {
        let at = Row {
            table: TABLE,
            key: self.created_at,
        };
        let result = |column, text: &str| at.read(column, ProviderResult::from_spelling(text));
        let results = PerProvider {
            fcm: result("fcm_result", &self.fcm_result)?,
            expo: result("expo_result", &self.expo_result)?,
        };
        let status = at.read("status", Status::from_spelling(&self.status))?;
        let reason = at.read_nullable("reason", self.reason.as_deref(), Reason::from_spelling)?;
        Ok(Standing::of(status, reason, results, self.sent_at))
    }
}

#[derive(FromRow)]
struct DeviceRow {
    notification_type: String,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    provider: String,
    at: DateTime<Utc>,
}

impl DeviceRow {
    fn counted(&self) -> Counted {
        Counted {
            created_at: self.created_at,
            send_at: self.send_at,
            kind: self.notification_type.clone(),
        }
    }
}

#[derive(FromRow)]
struct CountedRow {
    notification_type: Option<String>,
    counts: Option<String>,
    changes: Option<String>,
}
