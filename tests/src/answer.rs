//! An answer of a program, as it came over the wire.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// Status, headers and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; `null` when it is none.
    pub json: Value,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Self {
            status,
            headers,
            text,
            json,
        })
    }

    /// A header as text; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The answer, if its status is `status`.
    ///
    /// # Panics
    /// If it is another.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// `notificationId`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn id(&self) -> String {
        let id = self.json["notificationId"].as_str();
        id.unwrap_or_else(|| panic!("no notificationId in {}", self.text))
            .to_owned()
    }

    /// Checks what every answer of the house tells a browser, and that it does not boast of what made it.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub(crate) fn guarded(self) -> Self {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(self.header(name), value, "{} {self:?}", self.status);
        }
        let policy = self.header("content-security-policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{policy:?}: {self:?}");
        }
        for name in ["server", "x-powered-by"] {
            assert_eq!(self.header(name), "", "{self:?}");
        }
        self
    }

    /// Checks the shape that every error has, and returns its code.
    ///
    /// # Panics
    /// When it has another.
    #[must_use]
    pub fn error_code(&self) -> String {
        assert_eq!(self.json["success"], false, "{} {}", self.status, self.text);
        let message = self.json["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "no message in {}", self.text);
        assert!(!self.header("x-request-id").is_empty(), "no X-Request-Id");
        let code = self.json["code"].as_str().unwrap_or_default();
        let is_snake =
            |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
        assert!(
            !code.is_empty() && code.bytes().all(is_snake),
            "no snake_case code in {}",
            self.text
        );
        code.to_owned()
    }

    /// The fields that `errors` complains about, sorted, each once.
    ///
    /// # Panics
    /// When one of them has no field or no message.
    #[must_use]
    pub fn wrong_fields(&self) -> Vec<String> {
        let errors = self.json["errors"].as_array();
        let errors = errors.unwrap_or_else(|| panic!("no errors in {}", self.text));
        let mut fields: Vec<String> = errors
            .iter()
            .map(|error| {
                assert!(
                    error["message"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{error}"
                );
                error["field"].as_str().expect("a field").to_owned()
            })
            .collect();
        fields.sort();
        fields.dedup();
        fields
    }
}
