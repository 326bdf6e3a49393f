//! Errors have one shape; credentials, paths, methods and media types are judged before anything else.

use push_tests::{Answer, Api, Device, Key, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SEND: &str = "/api/Push/sendToCustomer";

fn good() -> Value {
    json!({"id": 1, "title": "T", "body": "B"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_do_what() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let api = stack.api();
    let unauthorized = async |call: push_tests::Call| {
        let answer = call.answer().await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (401, "unauthorized")
        );
        assert!(
            answer.header("www-authenticate").contains("Bearer"),
            "RFC 9110, 11.6.1"
        );
        answer.text
    };
    unauthorized(api.post(SEND, &good()).anonymous()).await;
    let wrong = "not-a-key-at-all-1234";
    let told = unauthorized(
        api.post(SEND, &good())
            .anonymous()
            .header("authorization", &format!("Bearer {wrong}")),
    )
    .await;
    assert!(!told.contains(wrong));
    unauthorized(
        api.post(SEND, &good())
            .anonymous()
            .header("x-api-key", wrong),
    )
    .await;
    unauthorized(
        api.post(SEND, &good())
            .anonymous()
            .header("authorization", "Basic a2V5OmtleQ=="),
    )
    .await;
    // The hash of a secret is not the secret.
    let settings = stack.api_settings();
    let keys = &settings
        .iter()
        .find(|(name, _)| name == "API_KEYS")
        .unwrap()
        .1;
    let hash = keys
        .split("sha256:")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    unauthorized(
        api.post(SEND, &good())
            .anonymous()
            .header("x-api-key", hash),
    )
    .await;
    unauthorized(
        api.post(SEND, &good())
            .anonymous()
            .header("x-api-key", &format!("sha256:{hash}")),
    )
    .await;

    // Scopes: each key does its own work only.
    let device = Device::android_fcm("pixel").registration(1);
    let id = stack.send(1).accepted().await;
    let view = format!("/api/Push/notifications/{id}");
    let calls: [(&str, Method, &str, Value, Key); 5] = [
        (
            "register",
            Method::POST,
            "/api/Push/register",
            device.clone(),
            Key::Register,
        ),
        (
            "unregister",
            Method::POST,
            "/api/Push/unregister",
            device,
            Key::Register,
        ),
        ("send", Method::POST, SEND, good(), Key::Send),
        (
            "test",
            Method::POST,
            "/api/Push/test",
            json!({"customerId": 1}),
            Key::Send,
        ),
        ("notifications", Method::GET, &view, Value::Null, Key::Read),
    ];
    let before = stack.database.count("notification_history").await;
    for (name, method, path, body, right) in &calls {
        for key in [Key::Register, Key::Send, Key::Read] {
            let call = api.call(method.clone(), path).key(key);
            let call = if body.is_null() {
                call
            } else {
                call.json(body)
            };
            let answer = call.answer().await;
            if key == *right {
                assert!(
                    matches!(answer.status, 200 | 202),
                    "{name} {key:?}: {}",
                    answer.text
                );
            } else {
                assert_eq!(
                    (answer.status, answer.error_code().as_str()),
                    (403, "forbidden"),
                    "{name} {key:?}"
                );
            }
        }
    }
    assert_eq!(
        stack.database.count("notification_history").await,
        before + 2
    );
    let by_header = api
        .post(SEND, &good())
        .anonymous()
        .header("x-api-key", Key::Send.secret())
        .answer()
        .await;
    assert_eq!(by_header.status, 202);
    // No worker runs in this story.
    stack.leaves_pending();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_error_has_one_shape() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let api = stack.api();
    let is = |answer: &Answer, status: u16, code: &str| {
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (status, code),
            "{}",
            answer.text
        );
        assert!(
            answer
                .header("content-type")
                .starts_with("application/json")
        );
    };
    let post =
        |content_type: &str, body: Vec<u8>| api.call(Method::POST, SEND).raw(content_type, body);

    for body in [
        "",
        "{",
        "[]",
        "\"text\"",
        "{\"id\": 1,}",
        "nonsense S3CRET-CONTENT",
    ] {
        let answer = post("application/json", body.into()).answer().await;
        is(&answer, 400, "malformed_json");
        assert!(!answer.text.contains("S3CRET"), "{}", answer.text);
    }
    is(
        &post(
            "application/json",
            b"{\"id\":1,\"title\":\"\xff\"}".to_vec(),
        )
        .answer()
        .await,
        400,
        "malformed_json",
    );
    is(
        &post("text/plain", good().to_string().into()).answer().await,
        415,
        "unsupported_media_type",
    );
    is(
        &api.call(Method::POST, SEND).answer().await,
        415,
        "unsupported_media_type",
    );
    let padded = |length: usize| {
        format!(
            "{}{}",
            good(),
            " ".repeat(length - good().to_string().len())
        )
    };
    is(
        &post("application/json", padded(64 * 1024 + 1).into())
            .answer()
            .await,
        413,
        "body_too_large",
    );
    is(
        &post("application/json", padded(900 * 1024).into())
            .answer()
            .await,
        413,
        "body_too_large",
    );
    let largest = post("application/json; charset=utf-8", padded(64 * 1024).into())
        .answer()
        .await;
    assert_eq!(largest.status, 202, "64 KiB are allowed: {}", largest.text);

    is(
        &api.get("/api/Push/nothing").answer().await,
        404,
        "not_found",
    );
    is(&api.get("/").answer().await, 404, "not_found");
    let wrong_method = api.get(SEND).answer().await;
    is(&wrong_method, 405, "method_not_allowed");
    assert!(
        wrong_method.header("allow").contains("POST"),
        "RFC 9110, 15.5.6"
    );
    let unknown = "/api/Push/notifications/00000000-0000-7000-8000-000000000000";
    is(
        &api.get(unknown).answer().await,
        404,
        "unknown_notification",
    );
    let no_id = api.get("/api/Push/notifications/x").answer().await;
    assert!(matches!(no_id.status, 400 | 404), "{}", no_id.text);
    drop(no_id.error_code());
    assert_eq!(stack.database.count("notification_history").await, 1);
    // No worker runs in this story.
    stack.leaves_pending();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn paths_are_found_in_any_case_and_every_answer_has_a_request_id() {
    let stack = Stack::start().await;
    let api = stack.api();
    stack.know_customer(1).await;
    let device = Device::android_fcm("pixel").registration(1);
    for path in [
        "/api/Push/register",
        "/api/push/register",
        "/API/PUSH/REGISTER",
        "/aPi/pUsH/rEgIsTeR",
    ] {
        assert_eq!(api.post(path, &device).answer().await.status, 200, "{path}");
    }
    for path in [SEND, "/api/push/sendtocustomer", "/API/push/SENDTOCUSTOMER"] {
        let answer = api
            .post(path, &good())
            .header("prefer", "wait=20")
            .answer()
            .await
            .expect(200);
        let id = answer.id();
        for view in [
            format!("/api/push/notifications/{id}"),
            format!("/API/PUSH/NOTIFICATIONS/{}", id.to_uppercase()),
        ] {
            assert_eq!(api.get(&view).answer().await.expect(200).id(), id);
        }
    }

    let id_of = async |api: &Api, method: Method, path: &str, own: Option<&str>| {
        let mut call = api.call(method, path);
        if let Some(own) = own {
            call = call.header("x-request-id", own);
        }
        call.answer().await.header("x-request-id").to_owned()
    };
    let mut seen = Vec::new();
    for (method, path) in [
        (Method::GET, "/healthz"),
        (Method::GET, "/readyz"),
        (Method::GET, "/metrics"),
        (Method::GET, "/openapi.json"),
        (Method::GET, "/nowhere"),
        (Method::PUT, SEND),
        (Method::POST, SEND),
        (
            Method::GET,
            "/api/Push/notifications/00000000-0000-7000-8000-000000000000",
        ),
    ] {
        assert_eq!(
            id_of(&api, method.clone(), path, Some("caller-7.a")).await,
            "caller-7.a",
            "{path}"
        );
        let generated = id_of(&api, method, path, None).await;
        assert!(
            generated.len() >= 16 && !seen.contains(&generated),
            "{path}: {generated:?}"
        );
        seen.push(generated);
    }
    let logs = &stack.logs()[0];
    let wild = format!("x{}", "y".repeat(3_000));
    let answered = id_of(&api, Method::GET, "/nowhere", Some(&wild)).await;
    assert!(
        !answered.is_empty() && !logs.says(&wild),
        "an id of 3,000 characters does not fill the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_answer_is_guarded_and_names_no_program() {
    // Each answer that the harness reads is looked at: here are all kinds of them.
    let stack = Stack::start().await;
    stack.know_customer(1).await;
    let api = stack.api();
    let sent = api.post(SEND, &good()).header("prefer", "wait=20");
    let id = sent.answer().await.expect(200).id();
    let view = format!("/api/Push/notifications/{id}");
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
        ("/api/Push/history", 200),
        (&view, 200),
        ("/nowhere", 404),
        (SEND, 405),
    ] {
        drop(api.get(path).answer().await.expect(status));
    }
    let csv = api.get("/api/Push/history").header("accept", "text/csv");
    let csv = csv.answer().await.expect(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    let post =
        |content_type: &str, body: Vec<u8>| api.call(Method::POST, SEND).raw(content_type, body);
    for (call, status) in [
        (post("application/json", good().to_string().into()), 202),
        (post("application/json", b"{".to_vec()), 400),
        (post("application/json", b"{}".to_vec()), 400),
        (post("text/plain", b"x".to_vec()), 415),
        (post("application/json", vec![b' '; 70_000]), 413),
        (api.post(SEND, &good()).anonymous(), 401),
        (api.post(SEND, &good()).key(Key::Read), 403),
        (
            api.post(SEND, &json!({"id": 9, "title": "T", "body": "B"})),
            404,
        ),
    ] {
        let answer = call.answer().await.expect(status);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // The worker's probes, and what no route answers there.
    drop(stack.readiness(&stack.workers[0]).await.expect(200));
    let worker = stack.api_under(stack.workers[0].url());
    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/nowhere", 404)] {
        drop(worker.get(path).anonymous().answer().await.expect(status));
    }
    // What is no HTTP never reaches a handler; the answer boasts of nothing either.
    let huge = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for words in ["nonsense\r\n\r\n", &huge] {
        let told = raw(&stack.apis[0].url(), words).await.to_ascii_lowercase();
        assert!(
            !told.contains("server:") && !told.contains("hyper"),
            "{told}"
        );
    }
    stack.all_settled().await;
}

/// What comes back for these bytes.
pub async fn raw(url: &str, words: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // It may hang up in the middle.
    drop(stream.write_all(words.as_bytes()).await);
    let mut told = Vec::new();
    drop(stream.read_to_end(&mut told).await);
    String::from_utf8_lossy(&told).into_owned()
}
