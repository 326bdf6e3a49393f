//! The privacy guard (`PRIVACY_GUARD`, `PRIVACY_ALLOW`): refuses content that must not go out in a push. What it refuses
//! is never repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use push_core::privacy::{has_card_number, names_secret};
use serde_json::{Map, Value};

use crate::request::Problems;

const CARD: &str = "holds a payment card number, which must not go out in a push: leave it out, or send its last four digits \
                    (PRIVACY_ALLOW and PRIVACY_GUARD of push-api)";
const CARD_AS_KEY: &str =
    "has a key that holds a payment card number, which must not go out in a push: leave it out";
const SECRET: &str = "is named as a secret is, and secrets must not go out in a push: let the app fetch it from you, or have \
                      the key allowed (PRIVACY_ALLOW and PRIVACY_GUARD of push-api)";

/// What may be sent, and by whom. Cheap to clone.
#[derive(Clone, Debug)]
pub enum PrivacyGuard {
    /// Cards and secrets are refused, but for what is allowed.
    Reject(Arc<Allowed>),
    /// Everything is let through.
    Off,
}

/// The keys of `data` that an API key may use, by its name.
pub type Allowed = BTreeMap<String, BTreeSet<String>>;

/// Reads `PRIVACY_ALLOW`.
///
/// # Errors
/// What is not of the form `name:dataKey+dataKey`.
pub fn parse_allowed(text: &str) -> Result<Allowed, String> {
    let mut allowed = Allowed::new();
    for entry in text.split(',').map(str::trim) {
        let parts = entry.split_once(':');
        let keys = parts.map(|(name, keys)| (name, keys.split('+').map(str::trim)));
        match keys {
            Some((name, mut keys))
                if !name.is_empty() && keys.clone().all(|key| !key.is_empty()) =>
            {
                let of_name = allowed.entry(name.to_owned()).or_default();
                of_name.extend(keys.by_ref().map(str::to_owned));
            }
            _ => {
                return Err(format!(
                    "has {entry:?}; write apiKeyName:dataKey+dataKey, comma-separated"
                ));
            }
        }
    }
    Ok(allowed)
}

impl PrivacyGuard {
    /// What it says to one caller.
    #[must_use]
    pub fn towards(&self, caller: &str) -> Guard<'_> {
        match self {
            Self::Reject(allowed) => Guard::Reject(allowed.get(caller)),
            Self::Off => Guard::Off,
        }
    }
}

/// The guard towards one caller.
#[derive(Clone, Copy, Debug)]
pub enum Guard<'a> {
    /// Cards and secrets are refused, but for these keys of `data`.
    Reject(Option<&'a BTreeSet<String>>),
    /// Everything is let through.
    Off,
}

impl Guard<'_> {
    /// Looks at a text that the customer reads.
    pub fn check_text(self, problems: &mut Problems, field: &'static str, text: Option<&str>) {
        match self {
            Self::Reject(_) if text.is_some_and(has_card_number) => problems.note(field, CARD),
            Self::Reject(_) | Self::Off => {}
        }
    }

    /// Looks at what the app gets.
    pub fn check_data(self, problems: &mut Problems, data: Option<&Map<String, Value>>) {
        let Self::Reject(allowed) = self else {
            return;
        };
        let is_allowed = |key: &String| allowed.is_some_and(|allowed| allowed.contains(key));
        for (key, value) in data
            .into_iter()
            .flatten()
            .filter(|(key, _)| !is_allowed(key))
        {
            if has_card_number(key) {
                problems.note("data", CARD_AS_KEY);
            } else if names_secret(key) && !value.is_null() {
                problems.note(format!("data.{key}"), SECRET);
            } else if holds_card(value) {
                problems.note(format!("data.{key}"), CARD);
            }
        }
    }
}

fn holds_card(value: &Value) -> bool {
    match value {
        Value::String(text) => has_card_number(text),
        Value::Number(number) => has_card_number(&number.to_string()),
        // The last two are refused for what they are.
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(guard: Guard<'_>, data: Value) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        guard.check_data(&mut problems, data.as_object());
        let wrong = problems.check(Some(())).err().unwrap_or_default();
        wrong
            .into_iter()
            .map(|problem| (problem.field, problem.message))
            .collect()
    }

    #[test]
    fn what_is_allowed_is_allowed_to_its_key_only() {
        let allowed = parse_allowed("backend:otp+reference, app:token").unwrap();
        let guard = PrivacyGuard::Reject(Arc::new(allowed));
        let data = json!({"otp": "123456", "token": "abc", "reference": "4111111111111111"});
        let fields = |caller| -> Vec<String> {
            let told = told(guard.towards(caller), data.clone());
            told.into_iter().map(|(field, _)| field).collect()
        };
        assert_eq!(fields("backend"), ["data.token"]);
        assert_eq!(fields("app"), ["data.otp", "data.reference"]);
        assert_eq!(
            fields("other"),
            ["data.otp", "data.reference", "data.token"]
        );
        assert!(told(PrivacyGuard::Off.towards("other"), data.clone()).is_empty());
        for wrong in [
            "",
            "backend",
            "backend:",
            ":otp",
            "backend:otp+",
            "a:b,,c:d",
        ] {
            assert!(parse_allowed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        let guard = PrivacyGuard::Reject(Arc::default());
        let card = "4111111111111111";
        for data in [
            json!({"x": card}),
            json!({"x": 4_111_111_111_111_111_u64}),
            json!({card: "x"}),
            json!({"x": format!("paid by {card}"), "otp": 1}),
        ] {
            let told = told(guard.towards("a"), data);
            assert!(!told.is_empty());
            assert!(!format!("{told:?}").contains(card), "{told:?}");
        }
        let nothing = json!({"trackId": "TRK1", "otp": null, "x": [1], "tokenCount": 3});
        assert!(told(guard.towards("a"), nothing).is_empty());
    }
}
