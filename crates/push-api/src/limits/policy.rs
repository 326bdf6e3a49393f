//! How limits are told: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), and `Retry-After`.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use push_core::rate::Rate;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A customer's notifications (`RATE_LIMIT_PER_CUSTOMER`).
    Customer,
    /// An API key's requests (`RATE_LIMIT_PER_KEY`).
    Key,
    /// Requests from an address (`RATE_LIMIT_PER_ADDRESS`).
    Address,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Key, Self::Address];

    /// As headers and metrics call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Key => "key",
            Self::Address => "address",
        }
    }
}

impl fmt::Display for Limit {
    /// Words that follow "Too many".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "notifications for this customer",
            Self::Key => "requests with this API key",
            Self::Address => "requests from this address",
        })
    }
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub limit: Limit,
    /// How large it is.
    pub rate: Rate,
    /// When it is full again, if nothing is taken meanwhile.
    pub full_in: Duration,
}

/// Nothing is left of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How it stands.
    pub standing: Standing,
    /// After how long there is something again.
    pub after: Duration,
}

impl Exhausted {
    /// A budget of which there is one again after so long.
    #[must_use]
    pub fn new(limit: Limit, rate: Rate, after: Duration) -> Self {
        let standing = Standing {
            limit,
            rate,
            full_in: rate.full_in_when_one_comes(after),
        };
        Self { standing, after }
    }

    /// Whole seconds to stay away: who comes back then gets one.
    #[must_use]
    pub const fn retry_after(&self) -> u64 {
        whole_seconds(self.after)
    }
}

impl Standing {
    /// Tells it.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let Self {
            limit,
            rate,
            full_in,
        } = self;
        let (name, count) = (limit.as_str(), rate.count());
        let (window, left) = (whole_seconds(rate.period()), rate.left(*full_in));
        let policy = format!("\"{name}\";q={count};w={window}");
        let standing = format!("\"{name}\";r={left};t={}", whole_seconds(*full_in));
        for (name, value) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
    }
}

impl Exhausted {
    /// Tells it, and when to come back.
    pub fn tell(&self, headers: &mut HeaderMap) {
        self.standing.tell(headers);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after()));
    }
}

/// Rounded up: who waits so long has waited long enough.
pub const fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + (time.subsec_nanos() > 0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tell: impl FnOnce(&mut HeaderMap)) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        tell(&mut headers);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)));
        pairs.collect()
    }

    #[test]
    fn a_standing_is_told_as_structured_fields() {
        let standing = Standing {
            limit: Limit::Key,
            rate: Rate::parse("600/1m").unwrap(),
            full_in: Duration::from_millis(1_234),
        };
        let expected = [
            ("ratelimit-policy", "\"key\";q=600;w=60"),
            ("ratelimit", "\"key\";r=587;t=2"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told(|headers| standing.tell(headers)), expected);
    }

    #[test]
    fn whoever_comes_back_when_told_to_gets_one() {
        let rate = Rate::parse("30/1m").unwrap();
        for (millis, seconds) in [
            (1, "1"),
            (999, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (2_000, "2"),
        ] {
            let after = Duration::from_millis(millis);
            let exhausted = Exhausted::new(Limit::Customer, rate, after);
            let told = told(|headers| exhausted.tell(headers));
            let (_, retry_after) = told.iter().find(|(name, _)| name == "retry-after").unwrap();
            assert_eq!(retry_after, seconds);
            assert!(
                told.iter()
                    .any(|(_, value)| value.starts_with("\"customer\";r=0;t="))
            );
        }
    }
}
