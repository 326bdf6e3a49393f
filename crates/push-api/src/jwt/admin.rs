//! What makes an admin of a token's bearer.

use std::sync::Arc;

use serde_json::{Map, Value};

/// The width of the columns that say who did something, less the prefix.
const SUB_BYTES_MAX: usize = 60;

/// A claim and the value that it must have, or have among others.
#[derive(Clone, Debug)]
pub struct AdminClaim {
    name: String,
    value: String,
}

impl AdminClaim {
    /// Reads `name=value`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(format!("is {text:?}; write name=value")),
        }
    }

    /// Whether it is among these claims: the value itself, in an array, or in a list with spaces.
    pub(super) fn is_in(&self, claims: &Map<String, Value>) -> bool {
        match claims.get(&self.name) {
            Some(Value::String(text)) => {
                *text == self.value || text.split(' ').any(|word| word == self.value)
            }
            Some(Value::Array(list)) => list.iter().any(|item| *item == self.value.as_str()),
            Some(Value::Bool(flag)) => self.value == if *flag { "true" } else { "false" },
            Some(Value::Number(number)) => number.to_string() == self.value,
            Some(Value::Object(_) | Value::Null) | None => false,
        }
    }
}

/// What the audit trail calls them. Exact, because it must tell people apart: a `sub` that does not fit is nobody. No API
/// key has a name with a colon.
pub(super) fn name(sub: &Value) -> Option<Arc<str>> {
    let sub = match sub {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_i64()?.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let fits =
        (1..=SUB_BYTES_MAX).contains(&sub.len()) && sub.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| format!("jwt:{sub}").into())
}
