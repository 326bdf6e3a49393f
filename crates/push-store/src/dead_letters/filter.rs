//! Which dead letters are meant, and the index that serves the question.
//!
//! State, reason and provider have few values, so that no index of one of them would do for a question about another:
//! each combination has an index of its own, in the order of time. A customer and a notification have few dead letters:
//! what else is asked is looked at row by row there.

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::job::GiveUpReason;
use push_core::provider::Provider;
use push_core::replay::LetterState;
use serde::{Deserialize, Serialize};
use sqlx::mysql::{MySql, MySqlArguments};
use sqlx::query::{QueryAs, QueryScalar};

use super::DeadLetterId;
use crate::decode::millis;

/// Which dead letters: those for which all that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// What was done with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LetterState>,
    /// Why they were given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<GiveUpReason>,
    /// The provider that was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whom they were for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Which notification they belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification: Option<NotificationId>,
    /// Not given up before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Given up before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

/// A place in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterPlace {
    /// When a dead letter was recorded.
    pub at: DateTime<Utc>,
    /// Which of those it is.
    pub id: DeadLetterId,
}

/// The index that serves a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Any,
    State,
    Reason,
    Provider,
    StateReason,
    StateProvider,
    ReasonProvider,
    StateReasonProvider,
    Customer,
    Notification,
}

/// A value of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Word(Option<&'static str>),
    Number(Option<i64>),
    Id(NotificationId),
}

impl Filter {
    pub(crate) const fn shape(&self) -> Shape {
        match (self.notification, self.customer) {
            (Some(_), _) => return Shape::Notification,
            (None, Some(_)) => return Shape::Customer,
            (None, None) => {}
        }
        match (self.state, self.reason, self.provider) {
            (None, None, None) => Shape::Any,
            (Some(_), None, None) => Shape::State,
            (None, Some(_), None) => Shape::Reason,
            (None, None, Some(_)) => Shape::Provider,
            (Some(_), Some(_), None) => Shape::StateReason,
            (Some(_), None, Some(_)) => Shape::StateProvider,
            (None, Some(_), Some(_)) => Shape::ReasonProvider,
            (Some(_), Some(_), Some(_)) => Shape::StateReasonProvider,
        }
    }

    /// The values that the statement of this shape asks for, in its order.
    pub(crate) fn values(&self) -> Vec<Value> {
        let state = self.state.map(LetterState::as_str);
        let reason = self.reason.map(GiveUpReason::as_str);
        let provider = self.provider.map(Provider::as_str);
        let words = [state, reason, provider];
        let twice = words.into_iter().flat_map(|word| [Value::Word(word); 2]);
        let customer = self.customer.map(CustomerId::get);
        match (self.notification, customer) {
            (Some(id), customer) => [
                Value::Id(id),
                Value::Number(customer),
                Value::Number(customer),
            ]
            .into_iter()
            .chain(twice)
            .collect(),
            (None, Some(customer)) => [Value::Number(Some(customer))]
                .into_iter()
                .chain(twice)
                .collect(),
            (None, None) => words
                .into_iter()
                .flatten()
                .map(|word| Value::Word(Some(word)))
                .collect(),
        }
    }

    /// The first moment that is meant.
    pub(crate) fn lower(&self) -> DateTime<Utc> {
        self.from.map_or(BEGINNING, millis).max(BEGINNING)
    }

    /// The last moment that is meant.
    pub(crate) fn upper(&self) -> DateTime<Utc> {
        let before = |to: DateTime<Utc>| millis(to - TimeDelta::nanoseconds(1));
        self.to.map_or(END, before).clamp(BEGINNING, END)
    }
}

/// What a `TIMESTAMP` can hold.
const BEGINNING: DateTime<Utc> = match DateTime::from_timestamp_secs(1) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};
const END: DateTime<Utc> = match DateTime::from_timestamp_secs(i32::MAX as i64) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

/// What takes the values of a filter.
pub(crate) trait Bind: Sized {
    fn value(self, value: Value) -> Self;

    fn values(self, values: Vec<Value>) -> Self {
        values.into_iter().fold(self, Self::value)
    }
}

macro_rules! bind {
    ($([$($out:ident)?] $query:ty;)+) => {$(
        impl<'q $(, $out)?> Bind for $query {
            fn value(self, value: Value) -> Self {
                match value {
                    Value::Word(word) => self.bind(word),
                    Value::Number(number) => self.bind(number),
                    Value::Id(id) => self.bind(id.as_uuid()),
                }
            }
        }
    )+};
}
bind! {
    [O] QueryAs<'q, MySql, O, MySqlArguments>;
    [O] QueryScalar<'q, MySql, O, MySqlArguments>;
}

/// What a statement of each shape asks for: the index, and what is equal.
macro_rules! of_shape {
    (Any, $with:ident) => {
        $with!("created", "")
    };
    (State, $with:ident) => {
        $with!("by_state", "state = ? AND ")
    };
    (Reason, $with:ident) => {
        $with!("by_reason", "reason = ? AND ")
    };
    (Provider, $with:ident) => {
        $with!("by_provider", "provider = ? AND ")
    };
    (StateReason, $with:ident) => {
        $with!("by_state_reason", "state = ? AND reason = ? AND ")
    };
    (StateProvider, $with:ident) => {
        $with!("by_state_provider", "state = ? AND provider = ? AND ")
    };
    (ReasonProvider, $with:ident) => {
        $with!("by_reason_provider", "reason = ? AND provider = ? AND ")
    };
    (StateReasonProvider, $with:ident) => {
        $with!(
            "by_state_reason_provider",
            "state = ? AND reason = ? AND provider = ? AND "
        )
    };
    (Customer, $with:ident) => {
        $with!(
            "by_customer",
            "customer_id = ? AND (? IS NULL OR state = ?) AND (? IS NULL OR reason = ?) \
             AND (? IS NULL OR provider = ?) AND "
        )
    };
    (Notification, $with:ident) => {
        $with!(
            "notification",
            "notification_id = ? AND (? IS NULL OR customer_id = ?) AND (? IS NULL OR state = ?) \
             AND (? IS NULL OR reason = ?) AND (? IS NULL OR provider = ?) AND "
        )
    };
}
pub(crate) use of_shape;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fit_their_column_and_the_end_does_not_count() {
        let at = |text: &str| Some(text.parse().unwrap());
        let filter = Filter {
            from: at("2026-01-02T03:04:05.678Z"),
            to: at("2026-01-02T03:04:05.679Z"),
            ..Filter::default()
        };
        assert_eq!(filter.lower(), filter.upper());
        let odd = Filter {
            from: at("0001-01-01T00:00:00Z"),
            to: at("9999-01-01T00:00:00Z"),
            ..Filter::default()
        };
        assert_eq!((odd.lower(), odd.upper()), (BEGINNING, END));
        assert!(BEGINNING > DateTime::UNIX_EPOCH && END > BEGINNING);
    }
}
