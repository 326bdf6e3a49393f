//! How long notifications waited where they came at a steady rate: from when each was to be sent, so that nobody who was
//! held up hides anything.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::customers;
use super::rig::Rig;
use crate::bench::figures::Figures;

/// Entries of one page of the simulator's record.
const PAGE: usize = 10_000;
/// Tens of thousands of rows.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Waits in microseconds. The simulator's and the database's clocks tell whole milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// From when it was to be sent to its 202.
    pub(super) accepted: Figures,
    /// From its 202 to the request to the provider.
    pub(super) called: Figures,
    /// From when it was to be sent to the request to the provider.
    pub(super) arrived: Figures,
    /// From when it was to be sent until it was recorded.
    pub(super) recorded: Figures,
}

/// A request: whose, when it was to be sent, when it was answered; microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    customer: i64,
    due: u64,
    answered: u64,
}

/// Times of something by whom it befell, in milliseconds since 1970, each list in order.
type Times = HashMap<i64, Vec<u64>>;

impl Waits {
    /// `None` when they cannot be told, which is a problem of the rig's then.
    pub(super) async fn of(rig: &mut Rig, answer: &Value) -> Option<Self> {
        let began = answer["beganUs"].as_u64().unwrap_or_default();
        let calls = calls(answer, began, rig.customers());
        let arrivals = rig.arrivals().await;
        let recorded = rig.recorded_since(began / 1_000).await;
        let (arrived, recorded) = (paired(&calls, &arrivals), paired(&calls, &recorded));
        let (Some(arrived), Some(recorded)) = (arrived, recorded) else {
            rig.problems
                .push("not every notification of a steady flow was seen".to_owned());
            return None;
        };
        let of_calls = calls
            .iter()
            .map(|call| call.answered.saturating_sub(call.due));
        Some(Self {
            accepted: Figures::of(of_calls.collect())?,
            called: Figures::of(since(&arrived, |call| call.answered))?,
            arrived: Figures::of(since(&arrived, |call| call.due))?,
            recorded: Figures::of(since(&recorded, |call| call.due))?,
        })
    }
}

fn since(pairs: &[(Call, u64)], from: impl Fn(&Call) -> u64) -> Vec<u64> {
    // A clock of milliseconds may tell a moment as before its cause.
    let wait = |(call, at): &(Call, u64)| (at * 1_000).saturating_sub(from(call));
    pairs.iter().map(wait).collect()
}

fn calls(answer: &Value, began: u64, (first, count): (i64, usize)) -> Vec<Call> {
    let calls = answer["calls"].as_array().into_iter().flatten();
    let mut calls: Vec<_> = calls
        .filter_map(|call| {
            let number = |index: usize| call[index].as_u64();
            Some(Call {
                customer: first + i64::try_from(number(0)? % count as u64).ok()?,
                due: began + number(1)?,
                answered: began + number(2)?,
            })
        })
        .collect();
    calls.sort_unstable_by_key(|call| call.due);
    calls
}

/// Each call with the time of what came of it: a customer's first with the first, and so on. `None` when there are not as
/// many.
fn paired(calls: &[Call], times: &Times) -> Option<Vec<(Call, u64)>> {
    let mut taken: HashMap<i64, usize> = HashMap::new();
    let pairs: Option<Vec<_>> = calls
        .iter()
        .map(|call| {
            let place = taken.entry(call.customer).or_default();
            let time = times.get(&call.customer)?.get(*place)?;
            *place += 1;
            Some((*call, *time))
        })
        .collect();
    let all = times.values().map(Vec::len).sum::<usize>();
    pairs.filter(|pairs| pairs.len() == all)
}

impl Rig {
    /// Requests to FCM for customers with one device, since the record was read last.
    pub(super) async fn arrivals(&mut self) -> Times {
        let tokens: HashMap<_, _> = {
            let (first, count) = self.customers();
            let customers = (first..).take(count);
            customers.map(|id| (customers::fcm_token(id), id)).collect()
        };
        let mut times = Times::new();
        loop {
            let page = self.stack.sim.record_after(self.read, PAGE).await;
            let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
            for item in items {
                let token = item["token"].as_str().unwrap_or_default();
                if let (Some(customer), Some(at)) = (tokens.get(token), item["atMs"].as_u64()) {
                    times.entry(*customer).or_default().push(at);
                }
            }
            self.read = page["next"].as_u64().unwrap_or(self.read);
            if items.len() < PAGE {
                return times;
            }
        }
    }

    async fn recorded_since(&self, began_ms: u64) -> Times {
        let statement = format!(
            "SELECT CONCAT_WS('|', customer_id, CAST(UNIX_TIMESTAMP(completed_at) * 1000 AS SIGNED)) FROM notification_history \
             WHERE created_at >= FROM_UNIXTIME({began_ms} / 1000) ORDER BY id"
        );
        let lines = self.stack.database.try_texts(&statement, ANSWER_MAX).await;
        let mut times = Times::new();
        for line in lines.unwrap_or_default() {
            if let Some((Ok(customer), Ok(at))) = line
                .split_once('|')
                .map(|(customer, at)| (customer.parse(), at.parse()))
            {
                times.entry(customer).or_default().push(at);
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wait_begins_when_it_was_to_be_sent() {
        let answer = json!({"calls": [[2, 5_000, 9_000], [0, 0, 1_000], [1, 2_500, 3_000]]});
        // Two customers take turns: 7, 8, 7.
        let calls = calls(&answer, 1_000_000, (7, 2));
        let customers: Vec<_> = calls.iter().map(|call| call.customer).collect();
        assert_eq!(customers, [7, 8, 7]);
        let times = Times::from([(7, vec![1_002, 1_012]), (8, vec![1_002])]);
        let pairs = paired(&calls, &times).unwrap();
        assert_eq!(since(&pairs, |call| call.due), [2_000, 0, 7_000]);
        assert_eq!(since(&pairs, |call| call.answered), [1_000, 0, 3_000]);
    }

    #[test]
    fn what_is_missing_or_too_much_is_seen() {
        let call = Call {
            customer: 7,
            due: 0,
            answered: 0,
        };
        assert_eq!(paired(&[call], &Times::new()), None);
        assert_eq!(paired(&[call], &Times::from([(7, vec![1, 2])])), None);
        assert!(paired(&[call], &Times::from([(7, vec![1])])).is_some());
    }
}
