//! What must never appear in a log or a metric (P7): collected as it is used, looked for at the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Shorter texts would be found by chance.
const LENGTH_MIN: usize = 8;

/// Tokens, titles, bodies, data values and API keys that a test used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        if secret.len() >= LENGTH_MIN {
            let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            secrets.insert(secret.to_owned());
        }
    }

    /// Takes from a request what must not be repeated.
    pub(crate) fn learn_from(&self, request: &Value) {
        for field in ["title", "body", "fcmToken", "expoPushToken"] {
            if let Some(text) = request[field].as_str() {
                self.add(text);
            }
        }
        for (name, value) in request["data"].as_object().into_iter().flatten() {
            // The type is a label of the history, not content.
            if let Some(text) = value.as_str().filter(|_| name != "type") {
                self.add(text);
            }
        }
    }

    /// The secrets that `text` gives away. JSON escapes are no disguise for what tests use.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = secrets
            .iter()
            .filter(|secret| text.contains(secret.as_str()));
        found.cloned().collect()
    }
}
