//! The figures as they stand, from what is added up and what is not yet, in one statement: it sees both as they were at
//! one moment.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::FromRow;

use super::changes::hour_of;
use super::figures::{Figures, Sum};
use super::fold::{DAY, read_changes, read_counts};
use crate::Store;
use crate::decode::Row;
use crate::error::StoreError;

const FIGURES: &str = "\
    SELECT CAST(first_hour AS SIGNED) AS first_hour, notification_type, counts, NULL AS changes FROM notification_counters \
    WHERE span = ? AND first_hour >= ? AND first_hour < ? \
    UNION ALL \
    SELECT NULL, NULL, NULL, changes FROM notification_counter_changes";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("FIGURES", FIGURES)];

/// Over how long is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Interval {
    /// How long it is.
    #[must_use]
    pub const fn hours(self) -> u32 {
        match self {
            Self::Hour => 1,
            Self::Day => DAY,
        }
    }

    /// The beginning of the interval that a time lies in.
    #[must_use]
    pub fn begin(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let hour = hour_of(time);
        time_of(hour - hour % self.hours())
    }
}

/// The figures of one type, or of all, within one interval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiguresOf {
    /// When the interval begins.
    pub begin: DateTime<Utc>,
    /// The type; `None`: all together.
    pub kind: Option<String>,
}

impl Store {
    /// The figures of all that was accepted from `from` on and before `to`, both at the beginning of an interval. Where
    /// there is nothing, there is nothing in the answer.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn figures(
        &self,
        interval: Interval,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        by_type: bool,
    ) -> Result<BTreeMap<FiguresOf, Figures>, StoreError> {
        let hours = hour_of(from)..hour_of(to);
        let mut sums: BTreeMap<(u32, Option<String>), Sum> = BTreeMap::new();
        let mut rows = sqlx::query_as(FIGURES)
            .bind(interval.hours())
            .bind(hours.start)
            .bind(hours.end)
            .fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            let row: FiguresRow = row;
            let hour = row.first_hour.and_then(|hour| u32::try_from(hour).ok());
            if let (Some(hour), Some(counts)) = (hour, &row.counts) {
                let kind = row.notification_type.filter(|_| by_type);
                let counts = read_counts(hour, counts)?;
                sums.entry((hour, kind)).or_default().add(&counts);
            }
            for change in row
                .changes
                .iter()
                .map(|changes| read_changes(&CHANGES, changes))
            {
                for change in change? {
                    if hours.contains(&change.key.hour) {
                        let hour = change.key.hour - change.key.hour % interval.hours();
                        let kind = Some(change.key.kind).filter(|_| by_type);
                        sums.entry((hour, kind)).or_default().add(&change.counts);
                    }
                }
            }
        }
        let of = |(hour, kind)| FiguresOf {
            begin: time_of(hour),
            kind,
        };
        Ok(sums
            .into_iter()
            .map(|(key, sum)| (of(key), sum.figures()))
            .collect())
    }
}

/// A row that is read together with many.
pub(crate) const CHANGES: Row<u64> = Row {
    table: "notification_counter_changes",
    key: 0,
};

pub(super) fn time_of(hour: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(i64::from(hour) * 3_600, 0).unwrap_or_default()
}

#[derive(FromRow)]
struct FiguresRow {
    first_hour: Option<i64>,
    notification_type: Option<String>,
    counts: Option<String>,
    changes: Option<String>,
}
