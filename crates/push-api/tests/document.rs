//! The whole service without its servers: every route answers what the document says of it.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a helper is a failure with a line number"
)]

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use push_api::error::Code;
use push_api::settings::Settings;
use push_api::{router, serve};
use push_runtime::env::Env;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const NOBODY: &str = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";

/// The service with keys for single scopes, in front of a database and a broker that are not there.
async fn app() -> Router {
    let pairs = [
        ("DATABASE_URL", "mysql://u@127.0.0.1:1/push"),
        ("AMQP_URL", "amqp://127.0.0.1:1/%2f"),
        (
            "API_KEYS",
            "r:register:key-register,s:send:key-send,v:read:key-read,a:admin:key-admin",
        ),
        ("MIGRATE_ON_START", "false"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut env = Env::from_pairs(pairs);
    let settings = Settings::read(&mut env);
    let settings = env.finish(|| settings).unwrap().api;
    let (state, _) = serve::start(&settings, None, &CancellationToken::new())
        .await
        .unwrap();
    router::build(state)
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    json: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

fn call(method: &str, path: &str) -> Call {
    Call {
        method: method.parse().unwrap(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: Body::empty(),
    }
}

impl Call {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    fn json(self, body: impl ToString) -> Self {
        let mut typed = self.header("content-type", "application/json");
        typed.body = body.to_string().into();
        typed
    }

    async fn of(self, app: &Router) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let response = app
            .clone()
            .oneshot(request.body(self.body).unwrap())
            .await
            .unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 1_000_000)
            .await
            .unwrap();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        assert!(
            headers.contains_key("x-request-id"),
            "every answer has an id"
        );
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        if !status.is_success() {
            assert_eq!(json["success"], false, "{json}");
            assert!(json["message"].is_string(), "{json}");
        }
        Answer {
            status,
            headers,
            json,
        }
    }
}

/// An operation of the document that needs a caller.
struct Operation {
    method: String,
    path: String,
    scope: String,
    statuses: Vec<u16>,
    reads_body: bool,
}

async fn operations(app: &Router) -> Vec<Operation> {
    let document = call("GET", "/openapi.json").of(app).await.json;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !path.starts_with("/api/") {
                assert_eq!(operation.get("security"), None, "{path}");
                continue;
            }
            let schemes = operation["security"].as_array().unwrap();
            assert!(schemes.len() >= 2, "{path}: a key comes in either header");
            assert_eq!(schemes[0]["bearer"], schemes[1]["apiKey"], "{path}");
            let responses = operation["responses"].as_object().unwrap();
            found.push(Operation {
                method: method.to_uppercase(),
                path: path
                    .replace("{notificationId}", NOBODY)
                    .replace("{operationId}", NOBODY)
                    .replace("{provider}", "fcm")
                    .replace("{customerId}", "17")
                    .replace("{id}", "17"),
                scope: schemes[0]["bearer"][0].as_str().unwrap().to_owned(),
                statuses: responses
                    .keys()
                    .map(|status| status.parse().unwrap())
                    .collect(),
                reads_body: operation["requestBody"]["required"] == true,
            });
        }
    }
    assert_eq!(found.len(), 31);
    found
}

#[tokio::test]
async fn every_route_is_closed_and_answers_what_its_document_says() {
    let app = app().await;
    for operation in operations(&app).await {
        let Operation {
            method,
            path,
            scope,
            statuses,
            reads_body,
        } = operation;
        let expect = async |call: Call, status: u16, code: &str| {
            let answer = call.of(&app).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (status, code),
                "{method} {path}"
            );
            let general = [404, 405].contains(&status);
            assert!(
                general || statuses.contains(&status),
                "{method} {path}: {status} is not documented"
            );
            answer
        };
        let to = || call(&method, &path);
        let good = format!("key-{scope}");
        let closed = expect(to().json("{}"), 401, "unauthorized").await;
        assert_eq!(closed.headers[header::WWW_AUTHENTICATE], "Bearer");
        expect(to().key("wrong").json("{}"), 401, "unauthorized").await;
        for other in ["register", "send", "read", "admin"] {
            if other != scope {
                expect(
                    to().key(&format!("key-{other}")).json("{}"),
                    403,
                    "forbidden",
                )
                .await;
            }
        }
        if reads_body {
            expect(to().key(&good), 415, "unsupported_media_type").await;
            expect(to().key(&good).json("{"), 400, "malformed_json").await;
            expect(to().key(&good).json("[]"), 400, "malformed_json").await;
            let invalid = expect(to().key(&good).json("{}"), 400, "invalid_input").await;
            assert!(
                !invalid.json["errors"].as_array().unwrap().is_empty(),
                "{path}"
            );
            let most = if path.ends_with("/sendBatch") {
                2 * 1024 * 1024
            } else {
                64 * 1024
            };
            let large = " ".repeat(most + 1);
            expect(to().key(&good).json(large), 413, "body_too_large").await;
            let header = to().header("x-api-key", &good).json("{}");
            expect(header, 400, "invalid_input").await;
        }
        let wrong_method = expect(call("PATCH", &path).key(&good), 405, "method_not_allowed").await;
        let allowed = wrong_method.headers[header::ALLOW].to_str().unwrap();
        assert!(allowed.contains(&method), "{path}: {allowed}");
        let shouted = call(&method, &path.to_uppercase()).key("wrong");
        expect(shouted, 401, "unauthorized").await;
        expect(
            call(&method, &format!("{path}/")).key(&good),
            404,
            "not_found",
        )
        .await;
    }
}

#[tokio::test]
async fn without_a_database_good_requests_are_asked_to_come_again() {
    let app = app().await;
    let fcm = "cXyzAbCdEfGhIjKlMnOpQr:APA91bEXAMPLE";
    let device = json!({"userType": "customer", "id": 1, "fcmToken": fcm, "platform": "ios"});
    let refused = [
        ("register", "key-register", device.clone()),
        ("unregister", "key-register", device),
        (
            "sendToCustomer",
            "key-send",
            json!({"id": 1, "title": "t", "body": "b"}),
        ),
        (
            "sendBatch",
            "key-send",
            json!({"customerIds": [1, 2], "title": "t", "body": "b"}),
        ),
        (
            "events",
            "key-send",
            json!({"event": "status_changed", "customerId": 1, "bookingId": 1, "trackId": 1, "newStatus": "Completed"}),
        ),
        ("test", "key-send", json!({"customerId": 1})),
    ];
    // Together: each waits for the schema for a while.
    futures::future::join_all(refused.into_iter().map(async |(path, key, body)| {
        let answer = call("POST", &format!("/api/Push/{path}"))
            .key(key)
            .json(body)
            .of(&app)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (503, "database_unavailable"),
            "{path}"
        );
        assert!(answer.headers.contains_key(header::RETRY_AFTER), "{path}");
        assert!(!answer.json.to_string().contains("127.0.0.1"), "{path}");
    }))
    .await;
    let path = format!("/api/Push/notifications/{NOBODY}");
    let answer = call("GET", &path).key("key-read").of(&app).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (503, "database_unavailable")
    );
    let path = "/api/Push/notifications/no-uuid";
    let answer = call("GET", path).key("key-read").of(&app).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (404, "unknown_notification")
    );

    let alive = call("GET", "/healthz").of(&app).await;
    assert_eq!(
        (alive.status, &alive.json["success"]),
        (StatusCode::OK, &json!(true))
    );
    let ready = call("GET", "/READYZ").of(&app).await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json["status"]),
        (503, &json!("not_ready"))
    );
    assert_eq!(ready.json["checks"]["broker"]["state"], "degraded");
    assert_eq!(ready.code(), "not_ready");
    assert!(ready.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_same_shape() {
    let app = app().await;
    for path in [
        "/",
        "/api/Push",
        "/api/Push/sendEverywhere",
        "/docs/..%2f",
        "/api/Push/notifications/",
    ] {
        let answer = call("GET", path)
            .header("x-request-id", "mine-1")
            .of(&app)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (404, "not_found"),
            "{path}"
        );
        assert_eq!(answer.headers["x-request-id"], "mine-1");
    }
    // Metrics have an address of their own here.
    let answer = call("GET", "/metrics").of(&app).await;
    assert_eq!(answer.code(), "not_found");
    let answer = call("GET", "/docs").of(&app).await;
    assert_eq!(answer.code(), "not_found");
    let document = call("GET", "/openapi.json").of(&app).await.json;
    assert_eq!(document["paths"].get("/metrics"), None);
}

#[tokio::test]
async fn the_document_knows_every_code_and_all_that_it_refers_to() {
    let document = serde_json::to_value(router::document(true)).unwrap();
    let codes = document["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .unwrap()
        .clone();
    let known: Vec<Value> = Code::ALL.iter().map(|code| json!(code)).collect();
    assert_eq!(codes, known);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(document["paths"].get("/metrics").is_some());
}

/// What an operation of the document lacks.
fn lacks(path: &str, operation: &Value) -> Vec<String> {
    let mut lacking: Vec<String> = ["operationId", "summary", "description", "tags"]
        .iter()
        .filter(|key| {
            operation[**key].as_str().is_none_or(str::is_empty) && !operation[**key].is_array()
        })
        .map(ToString::to_string)
        .collect();
    let mut examples = |place: &str, body: &Value| {
        for (media, content) in body["content"].as_object().into_iter().flatten() {
            let has = ["example", "examples"]
                .iter()
                .any(|key| !content[key].is_null());
            if !has {
                lacking.push(format!("an example of {place} ({media})"));
            }
        }
    };
    examples("its body", &operation["requestBody"]);
    let answers = operation["responses"].as_object().unwrap();
    for (status, answer) in answers {
        examples(&format!("its answer {status}"), answer);
    }
    if path.starts_with("/api/") {
        for (status, answer) in answers
            .iter()
            .filter(|(status, _)| status.as_str() >= "400")
        {
            let told = answer["description"].as_str().unwrap_or_default();
            let codes = answer["content"]["application/json"]["examples"].as_object();
            if codes.is_none_or(|codes| {
                codes
                    .keys()
                    .any(|code| !told.contains(&format!("`{code}`: ")))
            }) {
                lacking.push(format!("the codes of its answer {status}"));
            }
        }
        if operation["security"].as_array().is_none_or(Vec::is_empty) {
            lacking.push("who may call it".to_owned());
        }
    }
    lacking
}

#[test]
fn the_document_is_complete() {
    let document = serde_json::to_value(router::document(true)).unwrap();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["info"]["license"]["name"].is_string());
    assert!(document["servers"][0]["url"].is_string());
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert_eq!(lacks(path, operation), Vec::<String>::new(), "{place}");
            let name = operation["operationId"].as_str().unwrap();
            assert!(
                name.chars().all(|c| c.is_ascii_alphabetic()),
                "{place}: {name}"
            );
            assert!(
                names.insert(name.to_owned()),
                "{place}: {name} is another's, too"
            );
        }
    }
}

/// A code that no operation has and the description does not tell of would surprise whoever meets it.
#[test]
fn every_code_is_told_where_it_can_occur() {
    let document = serde_json::to_value(router::document(true)).unwrap();
    let text = document["paths"].to_string() + &document["info"]["description"].to_string();
    for code in Code::ALL {
        let code = serde_json::to_value(code).unwrap();
        let told = format!("`{}`", code.as_str().unwrap());
        assert!(text.contains(&told), "{told}");
    }
}
