//! What a query holds, read by hand: all its problems are told at once.

use std::collections::HashMap;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_core::time;
use serde_json::{Map, Value};

use crate::request::Problems;

/// A query as handlers take it.
pub type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Values by name, as a query has them.
pub struct Given {
    values: HashMap<String, String>,
    /// Before the name of a field, where its problem is told.
    within: &'static str,
}

impl Given {
    /// Of a name that is there twice, the last counts.
    #[must_use]
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self {
            values: pairs.into_iter().collect(),
            within: "",
        }
    }

    /// Those of a request.
    #[must_use]
    pub fn of(pairs: Pairs) -> Self {
        Self::new(pairs.map(|Query(pairs)| pairs).unwrap_or_default())
    }

    /// The same in a body, under `filter`: a string, a number or a boolean. What is `null` is not there.
    #[must_use]
    pub fn from_json(object: Map<String, Value>) -> Self {
        let text = |(name, value): (String, Value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Some((name, value.to_string()))
            }
        };
        Self {
            values: object.into_iter().filter_map(text).collect(),
            within: "filter.",
        }
    }

    /// The name of a field, as its problems are told.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }

    /// What is given under this name, if it can be read.
    pub fn read<T>(
        &self,
        problems: &mut Problems,
        name: &'static str,
        must: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.values.get(name)?;
        let value = read(text);
        if value.is_none() {
            problems.note(self.field(name), must);
        }
        value
    }

    /// A time.
    pub fn time(&self, problems: &mut Problems, name: &'static str) -> Option<DateTime<Utc>> {
        let must = "must be a time of RFC 3339, such as 2026-01-02T03:04:05.678Z";
        self.read(problems, name, must, |text| time::parse(text).ok())
    }

    /// `from` and `to`, in their order.
    pub fn times(&self, problems: &mut Problems) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let (from, to) = (self.time(problems, "from"), self.time(problems, "to"));
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            problems.note(self.field("to"), "must be later than from");
        }
        (from, to)
    }

    /// `customerId`.
    pub fn customer(&self, problems: &mut Problems) -> Option<CustomerId> {
        let must = "must be a positive integer";
        self.read(problems, "customerId", must, |text| {
            CustomerId::try_from(text.parse::<i64>().ok()?).ok()
        })
    }
}

/// What a value must be that has one of these spellings.
pub fn one_of<T: std::fmt::Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("must be one of {}", all.join(", "))
}
