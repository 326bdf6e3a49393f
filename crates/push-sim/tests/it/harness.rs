//! A simulator of its own for each test, and clients for it.

use std::time::Duration;

use push_sim::{Config, Server, serve};
use reqwest::{Client, Response};
use serde_json::{Value, json};

pub const FCM_TOKEN: &str = "eXaMpLeFidAndroid01234:APA91bEXAMPLE_not_a_real_token";
pub const EXPO_TOKEN: &str = "ExponentPushToken[one]";

/// Longest wait for something that must happen; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Sim {
    pub server: Server,
    pub h1: Client,
    pub h2: Client,
    pub access_token: String,
}

impl Sim {
    pub async fn start() -> Sim {
        Sim::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Sim {
        // Fails when another test was first, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = serve(config).await.unwrap();
        let access_token = server.issue_token();
        Sim {
            server,
            h1: Client::builder().http1_only().build().unwrap(),
            h2: Client::builder().http2_prior_knowledge().build().unwrap(),
            access_token,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// A control call that must succeed.
    pub async fn set(&self, path: &str, body: Value) {
        let response = self
            .h1
            .post(self.url(path))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path} {body}: {text}");
    }

    pub async fn script(&self, provider: &str, answers: Value) {
        self.set(
            "/sim/script",
            json!({"provider": provider, "answers": answers}),
        )
        .await;
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.h1.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub async fn fcm_with(&self, client: &Client, body: &Value) -> reqwest::Result<Response> {
        client
            .post(self.url("/v1/projects/app/messages:send"))
            .bearer_auth(&self.access_token)
            .json(body)
            .send()
            .await
    }

    /// Sends to FCM: status and body.
    pub async fn fcm(&self, body: &Value) -> (u16, Value) {
        read(self.fcm_with(&self.h2, body).await.unwrap()).await
    }

    pub async fn expo_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = self.url(&format!("/--/api/v2/push/{path}"));
        read(self.h1.post(url).json(body).send().await.unwrap()).await
    }

    pub async fn expo(&self, body: &Value) -> (u16, Value) {
        self.expo_post("send", body).await
    }

    /// Asks until `done` is content with what `path` says.
    pub async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let value = self.get(path).await;
                if done(&value) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{path} never came to what was wanted"))
    }
}

/// Status and body; a body that is not JSON as a string.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

pub fn fcm_message() -> Value {
    json!({"message": {
        "token": FCM_TOKEN,
        "notification": {"title": "T", "body": "B"},
        "data": {"notificationId": "n1"},
    }})
}

pub fn expo_message(token: &str) -> Value {
    json!({"to": token, "title": "T", "body": "B", "data": {"notificationId": "n1"}})
}

/// A file below `tests/fixtures/providers`.
pub fn fixture(path: &str) -> Value {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/providers"
    );
    let text = std::fs::read_to_string(format!("{root}/{path}")).unwrap();
    // One capture holds half a surrogate pair, which serde_json does not read.
    let text = text.replace(r#""\ud83d""#, r#""\ufffd""#);
    serde_json::from_str(&text).unwrap()
}

/// Names of the JSON files in a folder of the fixtures, as `folder/name.json`.
pub fn fixtures(folder: &str) -> Vec<String> {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/providers"
    );
    let mut files: Vec<_> = std::fs::read_dir(format!("{root}/{folder}"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    files.sort();
    files
}
