//! Which dead letters: the same filters for looking and for acting.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::Call;
use crate::when::When;

/// All that is given has to hold.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(id = "filter", multiple = true)]
pub struct Filter {
    /// Why they were given up: retries_exhausted, expired, operator_must_act, delivery_limit, poison, unprocessable
    #[arg(long)]
    reason: Option<String>,
    /// The provider that was asked last
    #[arg(long, value_parser = ["fcm", "expo"])]
    provider: Option<String>,
    /// Whom they were for
    #[arg(long, value_name = "ID")]
    customer: Option<i64>,
    /// Which notification they belong to
    #[arg(long, value_name = "ID")]
    notification: Option<Uuid>,
    /// Recorded at this time or later
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    from: Option<When>,
    /// Recorded before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    to: Option<When>,
    /// true: those that were replayed; false: those that wait for somebody
    #[arg(long, value_name = "BOOL")]
    replayed: Option<bool>,
}

impl Filter {
    fn fields(&self, now: DateTime<Utc>) -> impl Iterator<Item = (&'static str, String)> {
        let fields = [
            ("reason", self.reason.clone()),
            ("provider", self.provider.clone()),
            ("customerId", self.customer.map(|id| id.to_string())),
            ("notificationId", self.notification.map(|id| id.to_string())),
            ("from", self.from.map(|from| from.before(now))),
            ("to", self.to.map(|to| to.before(now))),
            (
                "replayed",
                self.replayed.map(|replayed| replayed.to_string()),
            ),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }

    /// As parameters.
    pub fn query<'c>(&self, call: Call<'c>, now: DateTime<Utc>) -> Call<'c> {
        self.fields(now)
            .fold(call, |call, (name, value)| call.query(name, Some(value)))
    }

    /// As part of a body; the API reads texts there, too.
    pub fn body(&self, now: DateTime<Utc>) -> Value {
        let fields = self.fields(now);
        Map::from_iter(fields.map(|(name, value)| (name.to_owned(), value.into()))).into()
    }

    /// In words, for a question.
    pub fn told(&self, now: DateTime<Utc>) -> String {
        let parts: Vec<_> = self
            .fields(now)
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if parts.is_empty() {
            "all that are open".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_has_what_is_given_and_nothing_else() {
        let now = "2026-03-02T10:20:30Z".parse().unwrap();
        let filter = Filter {
            provider: Some("fcm".to_owned()),
            customer: Some(7),
            from: Some(When::parse("2h").unwrap()),
            ..Filter::default()
        };
        assert_eq!(
            filter.body(now),
            json!({"provider": "fcm", "customerId": "7", "from": "2026-03-02T08:20:30.000Z"})
        );
        assert_eq!(
            filter.told(now),
            "provider fcm, customerId 7, from 2026-03-02T08:20:30.000Z"
        );
        assert_eq!(Filter::default().body(now), json!({}));
    }
}
