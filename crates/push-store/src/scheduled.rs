//! How many of a customer's notifications wait for about the same time: who may send so many in a minute must not have
//! any number of them come out in one, scheduled in the hours before.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::rate::Rate;
use sqlx::MySqlConnection;

use crate::decode::millis;
use crate::error::StoreError;

/// No more are counted than matter.
const AROUND: &str = "\
    SELECT COUNT(*) FROM (SELECT 1 FROM notification_history FORCE INDEX (scheduled) \
        WHERE customer_id = ? AND send_at BETWEEN ? AND ? AND status = 'pending' LIMIT ?) AS waiting";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("AROUND", AROUND)];

/// Whose notification is to be sent, and when.
pub(crate) type Appointment = (CustomerId, DateTime<Utc>);

/// What waits around some times, and what was added by whoever holds the customers' budgets.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: HashMap<Appointment, u32>,
    added: HashMap<CustomerId, Vec<DateTime<Utc>>>,
}

impl Schedule {
    /// As it is while the customers' budgets are locked. One look for each time: no join reads a range for each row.
    pub(crate) async fn look(
        connection: &mut MySqlConnection,
        rate: Option<Rate>,
        asked: BTreeSet<Appointment>,
    ) -> Result<Self, StoreError> {
        let mut schedule = Self::default();
        let Some(rate) = rate else {
            return Ok(schedule);
        };
        for (customer, send_at) in asked {
            let around: i64 = sqlx::query_scalar(AROUND)
                .bind(customer.get())
                .bind(millis(send_at - half(rate)))
                .bind(millis(send_at + half(rate)))
                .bind(rate.count())
                .fetch_one(&mut *connection)
                .await?;
            let around = u32::try_from(around).unwrap_or(u32::MAX);
            schedule.waiting.insert((customer, send_at), around);
        }
        Ok(schedule)
    }

    /// Whether one more may be sent at that time: fewer than the rate's count wait for half a period before and after.
    pub(crate) fn has_room(&self, rate: Rate, (customer, send_at): Appointment) -> bool {
        let waiting = self.waiting.get(&(customer, send_at)).copied();
        let near = |other: &&DateTime<Utc>| {
            (**other - send_at).abs().to_std().unwrap_or_default() <= half(rate)
        };
        let added = self.added.get(&customer);
        let added = added.map_or(0, |added| added.iter().filter(near).count());
        let added = u32::try_from(added).unwrap_or(u32::MAX);
        waiting.unwrap_or_default().saturating_add(added) < rate.count()
    }

    /// One more waits for that time.
    pub(crate) fn add(&mut self, (customer, send_at): Appointment) {
        self.added.entry(customer).or_default().push(send_at);
    }

    /// As if none had been added.
    pub(crate) fn forget(&mut self) {
        self.added.clear();
    }
}

fn half(rate: Rate) -> Duration {
    rate.period() / 2
}
