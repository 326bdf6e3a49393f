//! What must never appear in a log, a metric or an error (P7): collected as it is used, looked for wherever a program
//! says something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Shorter texts would be found by chance.
const LENGTH_MIN: usize = 8;
/// What every access token of the simulator begins with.
const ACCESS_TOKEN: &str = "sim-token-";
/// What in the names of settings says that their value is a secret.
const SECRET_SETTINGS: [&str; 4] = ["KEY", "SECRET", "PASSWORD", "ACCESS_TOKEN"];

/// Tokens, titles, bodies, pictures, collapse and track keys, data values and API keys that a test used, and what the programs' settings hold; each with
/// the spellings that would give it away.
#[derive(Clone, Debug)]
pub(crate) struct Secrets(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Default for Secrets {
    fn default() -> Self {
        let secrets = Self(Arc::default());
        let own = BTreeSet::from([ACCESS_TOKEN.to_owned()]);
        secrets.kept().insert(ACCESS_TOKEN.to_owned(), own);
        secrets
    }
}

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        if secret.len() >= LENGTH_MIN {
            self.kept().insert(secret.to_owned(), spellings(secret));
        }
    }

    /// Takes from a request what must not be repeated.
    pub(crate) fn learn_from(&self, request: &Value) {
        for field in [
            "title",
            "body",
            "imageUrl",
            "collapseKey",
            "trackId",
            "fcmToken",
            "expoPushToken",
        ] {
            self.learn_text(&request[field]);
        }
        self.learn_text(&request["technician"]["name"]);
        for (name, value) in request["data"].as_object().into_iter().flatten() {
            // The type is a label of the history, not content.
            if name != "type" {
                self.learn_text(value);
            }
        }
        for one in request["notifications"].as_array().into_iter().flatten() {
            self.learn_from(one);
        }
    }

    /// Takes from a program's settings what must not be told.
    pub(crate) fn learn_settings(&self, settings: &[(String, String)]) {
        for (name, value) in settings {
            if name == "API_KEYS" {
                let secrets = value.split(',').filter_map(|key| key.rsplit(':').next());
                secrets.for_each(|secret| self.add(secret));
            } else if let Some(password) = password_of(value) {
                self.add(password);
            } else if is_secret(name) {
                // Of a key in PEM each line, of a list each part.
                let parts = value.split(['\n', ',', ':']);
                parts
                    .filter(|part| !part.starts_with("-----"))
                    .for_each(|part| self.add(part));
            }
        }
    }

    /// The secrets that `text` gives away.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let kept = self.kept();
        let told = |spellings: &BTreeSet<String>| {
            spellings
                .iter()
                .any(|spelling| text.contains(spelling.as_str()))
        };
        let found = kept.iter().filter(|(_, spellings)| told(spellings));
        found.map(|(secret, _)| secret.clone()).collect()
    }

    fn learn_text(&self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As it is; escaped in JSON, once and twice; encoded in a URL; and of an Expo token what is within its brackets.
fn spellings(secret: &str) -> BTreeSet<String> {
    let inner = secret
        .split_once('[')
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    let forms = [
        Some(secret),
        inner.filter(|inner| inner.len() >= LENGTH_MIN),
    ];
    let mut all = BTreeSet::new();
    for form in forms.into_iter().flatten() {
        let escaped = in_json(form);
        all.extend([form.to_owned(), in_json(&escaped), escaped, in_url(form)]);
    }
    all
}

fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn in_url(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// That of a URL that names a user.
fn password_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

fn is_secret(name: &str) -> bool {
    let is_public =
        name.contains("PUBLIC") || name.contains("RATE_LIMIT") || name.ends_with("_FILE");
    !is_public && SECRET_SETTINGS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_disguise_helps() {
        let secrets = Secrets::default();
        secrets.learn_from(&json!({"notifications": [{"title": "A \"quoted\"\ntitle", "data": {"n": 4_111_111_111_u64}}],
                                   "expoPushToken": "ExponentPushToken[abcdefgh:1]", "technician": {"name": "Ravi Kumar"},
                                   "imageUrl": "https://pictures.example/a.png", "collapseKey": "booking-4711", "trackId": "track-4711"}));
        secrets.learn_settings(&[
            (
                "DATABASE_URL".to_owned(),
                "mysql://u:s3cret-password@h/d".to_owned(),
            ),
            (
                "API_KEYS".to_owned(),
                "a:send:key-in-clear,b:read:sha256:0123456789".to_owned(),
            ),
            (
                "FIREBASE_PRIVATE_KEY".to_owned(),
                "-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----".to_owned(),
            ),
            (
                "FIREBASE_TOKEN_URI".to_owned(),
                "http://127.0.0.1:1/token".to_owned(),
            ),
            (
                "CUSTOMER_JWT_PUBLIC_KEY".to_owned(),
                "a public key".to_owned(),
            ),
        ]);
        for told in [
            "A \"quoted\"\ntitle",
            r#"{"message":"A \"quoted\"\ntitle"}"#,
            r#"{"message":"{\"x\":\"A \\\"quoted\\\"\\ntitle\"}"}"#,
            "n=4111111111",
            "/ExponentPushToken%5Babcdefgh%3A1%5D",
            "abcdefgh:1",
            "by Ravi Kumar",
            "GET https://pictures.example/a.png",
            "key booking-4711",
            "track-4711 is known",
            "s3cret-password",
            "key-in-clear",
            "0123456789",
            "MIIEvQIBADANBg",
            "Bearer sim-token-7",
        ] {
            assert!(!secrets.found_in(told).is_empty(), "{told}");
        }
        for harmless in [
            "mysql://u@h/d",
            "http://127.0.0.1:1/token",
            "a public key",
            "Ravi",
            "sim-",
        ] {
            assert!(secrets.found_in(harmless).is_empty(), "{harmless}");
        }
    }
}
