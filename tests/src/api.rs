//! The API as its callers see it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::device::unique;
use crate::secrets::Secrets;

/// Who calls: the keys that every stack configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// All scopes.
    All,
    /// `register` only.
    Register,
    /// `send` only; configured as a hash.
    Send,
    /// `read` only.
    Read,
}

/// SHA-256 of the secret of [`Key::Send`].
const SEND_HASH: &str = "1096055b345e53c61b0a6775f5e04826ba50fdb29a13971843b8eb2676e55db6";

impl Key {
    /// The secret that a caller sends.
    #[must_use]
    pub const fn secret(self) -> &'static str {
        match self {
            Self::All => "key-all-3f9c1d7e5b",
            Self::Register => "key-register-71b2e8d4",
            Self::Send => "key-send-a94e6c20f3",
            Self::Read => "key-read-5d08b7c1e6",
        }
    }

    /// The value of `API_KEYS`.
    #[must_use]
    pub fn setting() -> String {
        format!(
            "all:register+send+read+admin:{},app:register:{},booking:send:sha256:{SEND_HASH},desk:read:{}",
            Self::All.secret(),
            Self::Register.secret(),
            Self::Read.secret()
        )
    }

    pub(crate) const ALL: [Self; 4] = [Self::All, Self::Register, Self::Send, Self::Read];
}

/// A client of one replica.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    http: reqwest::Client,
    secrets: Secrets,
}

impl Api {
    pub(crate) fn new(base: String, http: reqwest::Client, secrets: Secrets) -> Self {
        Self {
            base,
            http,
            secrets,
        }
    }

    /// A call, by default with all scopes.
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call {
            request: self.http.request(method, format!("{}{path}", self.base)),
            key: Some(Key::All),
            secrets: self.secrets.clone(),
        }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    /// A notification with a title and a text that nobody else has.
    pub fn send(&self, customer: i64) -> Send {
        Send {
            api: self.clone(),
            body: json!({"id": customer, "title": unique("Title "), "body": unique("Text ")}),
            headers: Vec::new(),
            wait: None,
        }
    }
}

/// A call that is being put together.
#[must_use]
#[derive(Debug)]
pub struct Call {
    request: reqwest::RequestBuilder,
    key: Option<Key>,
    secrets: Secrets,
}

impl Call {
    /// As somebody else.
    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// Without the usual credentials.
    pub fn anonymous(mut self) -> Self {
        self.key = None;
        self
    }

    /// With this instead of the usual credentials.
    pub fn bearer(mut self, credentials: &str) -> Self {
        self.secrets.add(credentials);
        self.key = None;
        self.request = self.request.bearer_auth(credentials);
        self
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.secrets.learn_from(body);
        self.request = self.request.json(body);
        self
    }

    /// With any body.
    pub fn raw(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body: Vec<u8> = body.into();
        self.request = self.request.header("content-type", content_type).body(body);
        self
    }

    /// The answer, or the reason why there is none.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn try_answer(self) -> reqwest::Result<Answer> {
        let request = match self.key {
            Some(key) => self.request.bearer_auth(key.secret()),
            None => self.request,
        };
        let answer = Answer::read(request.send().await?).await?.guarded();
        // Who asks for content may get it; who is told what is wrong gets none.
        if answer.status >= 400 {
            let told = self.secrets.found_in(&answer.text);
            assert_eq!(told, [""; 0], "an error repeats them: {}", answer.text);
        }
        Ok(answer)
    }

    /// The answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn answer(self) -> Answer {
        self.try_answer().await.expect("the API answers")
    }
}

/// A notification that is being put together.
#[must_use]
#[derive(Clone, Debug)]
pub struct Send {
    api: Api,
    body: Value,
    headers: Vec<(&'static str, String)>,
    wait: Option<u32>,
}

impl Send {
    /// With this field, whatever it was.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body[field] = value.into();
        self
    }

    /// With this body, whatever it was.
    pub fn with_body(mut self, body: &Value) -> Self {
        self.body = body.clone();
        self
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// `Prefer: wait=seconds`.
    pub fn wait(mut self, seconds: u32) -> Self {
        self.wait = Some(seconds);
        self
    }

    /// The body as it will be sent.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The answer, or the reason why there is none.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn try_answer(self) -> reqwest::Result<Answer> {
        let mut call = self.api.post("/api/Push/sendToCustomer", &self.body);
        if let Some(seconds) = self.wait {
            call = call.header("prefer", &format!("wait={seconds}"));
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        call.try_answer().await
    }

    /// The answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn answer(self) -> Answer {
        self.try_answer().await.expect("the API answers")
    }

    /// The id of a notification that was accepted.
    ///
    /// # Panics
    /// When it was not.
    pub async fn accepted(self) -> String {
        self.answer().await.expect(202).id()
    }
}
