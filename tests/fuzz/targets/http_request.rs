//! Whole requests, as text: method and path, headers, an empty line, the body. All that lies before the database has
//! its say: routes, credentials, headers, queries, cursors, bodies and their fields.
#![no_main]

use std::cell::RefCell;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use libfuzzer_sys::{Corpus, fuzz_target};
use push_api::settings::Settings;
use push_api::{router, serve};
use push_runtime::env::Env;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A good credential for everything, so that few tries end at the door.
const KEY: &str = "x-api-key";
const SECRET: &str = "fuzz";
/// What customers' tokens are looked at with.
const PUBLIC_KEY: &str = include_str!("../../../crates/push-sim/tests/keys/throwaway.pub.pem");

struct Service {
    runtime: Runtime,
    app: Router,
}

thread_local! {
    static SERVICE: RefCell<Service> = RefCell::new(Service::start());
}

impl Service {
    /// In front of servers that are not there. The clock stands still and jumps: nothing is waited for.
    fn start() -> Self {
        push_runtime::install_crypto();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let pairs = [
            ("DATABASE_URL", "mysql://u@127.0.0.1:1/push"),
            ("AMQP_URL", "amqp://127.0.0.1:1/%2f"),
            ("API_KEYS", "all:register+send+read+admin:fuzz"),
            (
                "CUSTOMER_JWT_SECRET",
                "an-hs256-secret-of-32-bytes-at-least",
            ),
            ("CUSTOMER_JWT_PUBLIC_KEY", PUBLIC_KEY),
            ("MIGRATE_ON_START", "false"),
        ];
        let mut env = Env::from_pairs(pairs.map(|(name, value)| (name.into(), value.into())));
        let settings = Settings::read(&mut env);
        let settings = env.finish(|| settings).expect("settings").api;
        let started = runtime.block_on(serve::start(&settings, None, &CancellationToken::new()));
        let (state, _) = started.expect("it starts");
        let app = router::build(state);
        Self { runtime, app }
    }

    fn ask(&self, request: Request<Body>) {
        let app = self.app.clone();
        self.runtime.block_on(async move {
            let answer = app
                .oneshot(request)
                .await
                .unwrap_or_else(|never| match never {});
            let status = answer.status();
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "a fault of ours");
            let is_json = answer
                .headers()
                .get("content-type")
                .is_some_and(|kind| kind == "application/json");
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("it is in memory")
                .to_bytes();
            if is_json {
                let told: Value = serde_json::from_slice(&body).expect("what says JSON is JSON");
                assert!(
                    status.is_success()
                        || told["success"] == Value::Bool(false)
                        || told["openapi"].is_string()
                );
            }
        });
    }
}

/// `None`: HTTP itself would not let it through.
fn read(text: &[u8]) -> Option<Request<Body>> {
    let end = text.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&text[..end], &text[end + 2..]),
        None => (text, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let method = Method::from_bytes(first.next()?).ok()?;
    let uri = Uri::try_from(first.next()?).ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    let mut request = request.body(Body::from(body.to_vec())).ok()?;
    let headers = request.headers_mut();
    if !headers.contains_key("authorization") && !headers.contains_key(KEY) {
        headers.insert(KEY, HeaderValue::from_static(SECRET));
    }
    if !headers.contains_key("content-type") {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    Some(request)
}

fuzz_target!(|text: &[u8]| -> Corpus {
    let Some(request) = read(text) else {
        return Corpus::Reject;
    };
    SERVICE.with_borrow(|service| service.ask(request));
    Corpus::Keep
});
