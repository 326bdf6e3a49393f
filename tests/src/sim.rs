//! The simulator's control API.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::device::{Device, Phone};

/// What the simulator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// FCM HTTP v1.
    Fcm,
    /// Expo push.
    Expo,
    /// Google's token endpoint.
    Oauth,
    /// Expo's receipts.
    Receipts,
}

impl Provider {
    /// As the simulator spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fcm => "fcm",
            Self::Expo => "expo",
            Self::Oauth => "oauth",
            Self::Receipts => "receipts",
        }
    }
}

/// A simulator of this test's own.
#[derive(Clone, Debug)]
pub struct Sim {
    base: String,
    http: reqwest::Client,
}

impl Sim {
    pub(crate) fn new(base: String, http: reqwest::Client) -> Self {
        Self { base, http }
    }

    async fn post(&self, path: &str, body: Value) {
        let request = self.http.post(format!("{}{path}", self.base)).json(&body);
        let answer = Answer::read(request.send().await.expect("the simulator answers")).await;
        let answer = answer.expect("the simulator answers");
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query);
        let request = self.http.get(url.expect("a URL"));
        let answer = Answer::read(request.send().await.expect("the simulator answers")).await;
        answer.expect("the simulator answers").json
    }

    /// What to answer `token`, in order; after that all is well.
    pub async fn script(&self, provider: Provider, token: &str, answers: Value) {
        let body = json!({"provider": provider.as_str(), "token": token, "answers": answers});
        self.post("/sim/script", body).await;
    }

    /// What to answer `token`, always.
    pub async fn always(&self, provider: Provider, token: &str, answer: Value) {
        let body = json!({"provider": provider.as_str(), "token": token, "answers": [answer], "then": "repeat_last"});
        self.post("/sim/script", body).await;
    }

    /// What to answer whoever asks, in order.
    pub async fn script_all(&self, provider: Provider, answers: Value) {
        let body = json!({"provider": provider.as_str(), "answers": answers});
        self.post("/sim/script", body).await;
    }

    /// What to answer whoever asks, always.
    pub async fn always_all(&self, provider: Provider, answer: Value) {
        let body =
            json!({"provider": provider.as_str(), "answers": [answer], "then": "repeat_last"});
        self.post("/sim/script", body).await;
    }

    /// `down`, `hang`, `503` or `ok`.
    pub async fn outage(&self, provider: Provider, mode: &str) {
        let body = json!({"provider": provider.as_str(), "mode": mode});
        self.post("/sim/outage", body).await;
    }

    /// How long each answer takes.
    pub async fn latency(&self, provider: Provider, milliseconds: u32) {
        let body = json!({"provider": provider.as_str(), "ms": milliseconds});
        self.post("/sim/latency", body).await;
    }

    /// How long after its ticket a receipt appears.
    pub async fn receipts_appear_after(&self, milliseconds: u32) {
        self.post("/sim/receipts", json!({"delayMs": milliseconds}))
            .await;
    }

    /// How many receipts each request so far has asked for, oldest first.
    pub async fn receipts_asked(&self) -> Vec<usize> {
        let requests = self.requests(Provider::Receipts, "").await;
        let ids = |request: &Value| request["body"]["ids"].as_array().map_or(0, Vec::len);
        requests.iter().map(ids).collect()
    }

    /// Expo takes this access token only.
    pub async fn expo_takes_only(&self, access_token: &str) {
        self.post("/sim/expo/access-token", json!({"token": access_token}))
            .await;
    }

    /// Whether bodies and headers are kept.
    pub(crate) async fn record_bodies(&self, kept: bool) {
        self.post("/sim/record", json!({"bodies": kept})).await;
    }

    /// An access token that was asked for by nobody.
    pub(crate) async fn issue_access_token(&self) -> String {
        let request = self.http.post(format!("{}/sim/oauth/token", self.base));
        let answer = Answer::read(request.send().await.expect("the simulator answers")).await;
        let answer = answer.expect("the simulator answers").json;
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// The public half of the worker's key: from now on signatures are checked.
    pub(crate) async fn believe_only(&self, pem: &str) {
        let request = self.http.post(format!("{}/sim/oauth/key", self.base));
        let answer = request.body(pem.to_owned()).send().await;
        assert_eq!(answer.expect("the simulator answers").status(), 200);
    }

    /// All access tokens are worth nothing from now on.
    pub async fn expire_access_tokens(&self) {
        self.post("/sim/oauth/expire", json!({})).await;
    }

    /// Makes the device's tokens one phone.
    pub async fn know(&self, device: &Device) {
        let platform = if device.platform == "ios" {
            "ios"
        } else {
            "android"
        };
        let body = json!({"name": device.name, "platform": platform, "tokens": device.tokens()});
        self.post("/sim/phones", body).await;
    }

    /// The messages that arrived for `token`, oldest first, with `body`, `headers`, `atMs`, `status`, `accepted`.
    pub async fn requests(&self, provider: Provider, token: &str) -> Vec<Value> {
        let query = [("provider", provider.as_str()), ("token", token)];
        let found = self.get("/sim/requests", &query).await;
        found["items"].as_array().cloned().unwrap_or_default()
    }

    /// The record from there on, oldest first.
    pub(crate) async fn record_after(&self, after: u64, limit: usize) -> Value {
        let (after, limit) = (after.to_string(), limit.to_string());
        let query = [("after", after.as_str()), ("limit", limit.as_str())];
        self.get("/sim/requests", &query).await
    }

    /// How many messages arrived for `token`.
    pub async fn sends(&self, provider: Provider, token: &str) -> usize {
        self.requests(provider, token).await.len()
    }

    /// All counters.
    pub async fn counts(&self) -> Value {
        self.get("/sim/counts", &[]).await
    }

    /// How often this notification rang on this phone.
    pub async fn rings(&self, phone: &Phone, notification: &str) -> u64 {
        self.displays(phone).await[notification]
            .as_u64()
            .unwrap_or(0)
    }

    /// What rang on this phone: notification id to number of rings.
    pub async fn displays(&self, phone: &Phone) -> Value {
        self.phone(phone).await["displays"].clone()
    }

    /// The entries on the screen, the newest first.
    pub async fn shown(&self, phone: &Phone) -> Vec<Value> {
        let shown = self.phone(phone).await["shown"].clone();
        shown.as_array().cloned().unwrap_or_default()
    }

    /// The phone as the simulator tells of it.
    pub async fn phone(&self, phone: &Phone) -> Value {
        let query = [("name", phone.device.name.as_str())];
        let mut found = self.get("/sim/phones", &query).await;
        found["phones"][0].take()
    }
}
