//! Limits: how many notifications a customer gets, and how much a caller may ask for.

use crate::errors::raw;
use push_tests::{Answer, Api, Device, Key, Stack};
use serde_json::{Value, json};

const LIMIT: &str = "RATE_LIMIT_PER_CUSTOMER";

/// Checks that a refusal says when to come back, and returns that.
fn limited(answer: &Answer, limit: &str) -> u64 {
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (429, "rate_limited"),
        "{}",
        answer.text
    );
    let policy = answer.header("ratelimit-policy");
    assert!(policy.starts_with(&format!("\"{limit}\";q=")), "{policy}");
    let standing = answer.header("ratelimit");
    let empty = format!("\"{limit}\";r=0;t=");
    assert!(standing.starts_with(&empty), "{standing}");
    answer.header("retry-after").parse().unwrap()
}

async fn refused(stack: &Stack, limit: &str) -> f64 {
    let mut refused = 0.0;
    for api in &stack.apis {
        let metrics = stack.metrics_of(api).await;
        refused += metrics.sum("push_rate_limited_total", limit).unwrap();
    }
    refused
}

fn event(new_status: &str, booking: i64) -> Value {
    json!({
        "event": "status_changed", "customerId": 1, "bookingId": booking, "trackId": "BID123",
        "technician": {"name": "John"}, "newStatus": new_status,
    })
}

async fn tell(api: &Api, event: &Value) -> Answer {
    api.post("/api/Push/events", event).answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn four_replicas_let_thirty_through_and_not_a_hundred_and_twenty() {
    let stack = Stack::with().apis(4).env_api(LIMIT, "30/1h").start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.register(2, Device::android_fcm("other")).await;
    let sends = (0..120).map(|index| stack.api_at(index % 4).send(1).answer());
    let answers = futures::future::join_all(sends).await;
    let (accepted, others): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 202);
    assert_eq!((accepted.len(), others.len()), (30, 90));
    for answer in &others {
        let after = limited(answer, "customer");
        assert!((1..=120).contains(&after), "one each two minutes: {after}");
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"customer\";q=30;w=3600"
        );
    }
    // Another customer has a budget of its own.
    stack.send(2).accepted().await;
    stack.all_settled().await;
    assert_eq!(stack.database.count("notification_history").await, 31);
    assert!((refused(&stack, "customer").await - 90.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spam_cannot_starve_what_happens_to_a_booking() {
    let stack = Stack::with().env_api(LIMIT, "2/1h").start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let api = stack.api();
    for _ in 0..2 {
        stack.send(1).accepted().await;
    }
    limited(&stack.send(1).answer().await, "customer");
    let test = api.post("/api/Push/test", &json!({"customerId": 1}));
    limited(&test.answer().await, "customer");

    // Both are of high priority.
    let first = tell(&api, &event("Reached", 1)).await.expect(202);
    for _ in 0..3 {
        let same = tell(&api, &event("Reached", 1)).await.expect(200);
        assert_eq!(same.json["reason"], "unchanged");
    }
    assert_eq!(tell(&api, &event("Reached", 2)).await.status, 202);
    let too_many = event("Reached", 3);
    let refusal = tell(&api, &too_many).await;
    let named = || async {
        let call = api.post("/api/Push/events", &too_many);
        call.header("idempotency-key", "event-3").answer().await
    };
    limited(&refusal, "customer");
    limited(&named().await, "customer");
    let learnt = "SELECT COUNT(*) FROM booking_status WHERE booking_id = '3' AND status <> ''";
    assert_eq!(stack.database.number(learnt).await, 0);
    // Time passes: what was refused is still news, also under its key, and a repetition takes nothing.
    let pass = "UPDATE customer_rate_limits SET full_at = full_at - INTERVAL 30 MINUTE";
    stack.database.execute(pass).await;
    let late = named().await.expect(202);
    for _ in 0..2 {
        assert_eq!(named().await.expect(202).id(), late.id());
    }
    stack.database.execute(pass).await;
    assert_eq!(tell(&api, &event("Completed", 3)).await.status, 202);
    limited(&tell(&api, &event("Completed", 2)).await, "customer");
    assert_eq!(stack.settled(&first.id()).await.status, "sent");
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_a_batch_the_first_of_each_customer_pass_and_the_others_are_told_when() {
    let stack = Stack::with().env_api(LIMIT, "2/1h").start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.register(2, Device::android_fcm("other")).await;
    let element = |customer| stack.send(customer).body().clone();
    let elements = [1, 1, 77, 1, 2, 1].map(element);
    let body = json!({ "notifications": elements });
    let send = || {
        let call = stack.api().post("/api/Push/sendBatch", &body);
        call.key(Key::Send).header("idempotency-key", "b").answer()
    };
    let answer = send().await.expect(202);
    let results = answer.json["results"].as_array().unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|result| result["code"].as_str().unwrap_or("ok"))
        .collect();
    let limited = "rate_limited";
    assert_eq!(
        told,
        ["ok", "ok", "unknown_customer", limited, "ok", limited]
    );
    let after = results[3]["retryAfterSeconds"].as_u64().unwrap();
    assert!((1_700..=1_800).contains(&after), "{after}");
    assert_eq!(results[0].get("retryAfterSeconds"), None);
    assert_eq!(send().await.expect(202).text, answer.text);
    stack.all_settled().await;
    assert_eq!(stack.database.count("notification_history").await, 3);
    assert!((refused(&stack, "customer").await - 2.0).abs() < 0.5);
}

const NOBODY: &str = "/api/Push/notifications/0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";

/// Without credentials, and with what a proxy says of where it comes from.
async fn from(api: &Api, path: &str, forwarded_for: &str) -> Answer {
    let call = api.get(path).anonymous();
    call.header("x-forwarded-for", forwarded_for).answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_are_counted_by_key_and_without_one_by_address() {
    let stack = Stack::with()
        .env_api("RATE_LIMIT_PER_KEY", "3/1h")
        .env_api("RATE_LIMIT_PER_ADDRESS", "4/1h")
        .env_api("TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let api = stack.api();
    let read = |key| api.get(NOBODY).key(key).answer();
    for left in [2, 1, 0] {
        let answer = read(Key::Read).await.expect(404);
        assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=3;w=3600");
        let standing = answer.header("ratelimit");
        let expected = format!("\"key\";r={left};t=");
        assert!(standing.starts_with(&expected), "{standing}");
    }
    let after = limited(&read(Key::Read).await, "key");
    assert!((1_100..=1_200).contains(&after), "{after}");
    // Other keys have their own, also where they may not do this.
    assert_eq!(read(Key::All).await.status, 404);
    assert_eq!(read(Key::Register).await.status, 403);

    // Whatever is tried without a valid key counts for where it comes from, as the proxy says it.
    let wrong = api.get(NOBODY).anonymous().header("x-api-key", "wrong");
    let wrong = wrong.header("x-forwarded-for", "192.0.2.1").answer().await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("ratelimit").starts_with("\"address\";r=3;t="));
    for (path, status) in [(NOBODY, 401), ("/nowhere", 404), ("/openapi.json", 200)] {
        assert_eq!(from(&api, path, "192.0.2.1").await.status, status);
    }
    for path in [NOBODY, "/nowhere", "/openapi.json"] {
        limited(&from(&api, path, "192.0.2.1").await, "address");
    }
    limited(
        &from(&api, NOBODY, "198.51.100.1, 192.0.2.1").await,
        "address",
    );
    assert_eq!(from(&api, NOBODY, "192.0.2.2").await.status, 401);
    // Who has a key, and the probes, are not in that.
    assert_eq!(read(Key::All).await.status, 404);
    for probe in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(from(&api, probe, "192.0.2.1").await.status, 200, "{probe}");
    }
    assert!((refused(&stack, "key").await - 1.0).abs() < 0.5);
    assert!((refused(&stack, "address").await - 4.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_but_a_trusted_proxy_says_where_a_request_comes_from() {
    let stack = Stack::with()
        .env_api("RATE_LIMIT_PER_ADDRESS", "4/1h")
        .env_api("TRUSTED_PROXIES", "192.0.2.0/24")
        .start()
        .await;
    for index in 0..4 {
        let invented = format!("198.51.100.{index}");
        assert_eq!(from(&stack.api(), NOBODY, &invented).await.status, 401);
    }
    limited(&from(&stack.api(), NOBODY, "198.51.100.9").await, "address");
    let long = format!("/{}", "x".repeat(9_000));
    let long = stack.api().get(&long).answer().await.expect(414);
    assert_eq!(long.error_code(), "uri_too_long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reads_that_hang_keep_nobody_from_sending() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let locked = stack.database.lock_table("notification_counters").await;
    let api = stack.api();
    let figures = |_| {
        let call = api.get("/api/Push/stats?interval=day");
        tokio::spawn(async move { call.answer().await.status })
    };
    let asking: Vec<_> = (0..40).map(figures).collect();
    // As soon as one has waited in vain, all that may ask hang.
    let (refused, _, others) = futures::future::select_all(asking).await;
    assert_eq!(refused.unwrap(), 503);
    stack.send(1).accepted().await;
    stack.register(2, Device::android_fcm("other")).await;
    assert_eq!(stack.readiness(&stack.apis[0]).await.status, 200);
    locked.release().await;
    for status in futures::future::join_all(others).await {
        assert!([200, 503].contains(&status.unwrap()));
    }
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_storm_of_repetitions_keeps_nobody_from_sending() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let first = stack.send(1).header("idempotency-key", "storm");
    let body = first.body().clone();
    let id = first.answer().await.expect(202).id();
    stack.all_settled().await;
    let locked = stack.database.lock_notification(&id).await;
    let api = stack.api();
    let repeat = |_| {
        let send = api.send(1).with_body(&body);
        send.header("idempotency-key", "storm").answer()
    };
    // Each makes a note that waits for the row; more of them than there are connections.
    for answer in futures::future::join_all((0..40).map(repeat)).await {
        assert_eq!(answer.expect(202).id(), id);
    }
    stack.send(1).accepted().await;
    stack.register(2, Device::android_fcm("other")).await;
    assert_eq!(stack.readiness(&stack.apis[0]).await.status, 200);
    locked.release().await;
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_too_long_or_too_deep_is_refused_and_the_next_request_is_served() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let api = stack.api();
    let path = "/api/Push/sendToCustomer";
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(32), "]".repeat(32));
    let answer = api.post(path, &json!({})).raw("application/json", deep);
    let answer = answer.answer().await.expect(400);
    assert_eq!(answer.error_code(), "malformed_json");
    assert!(answer.text.contains("nested too deeply"), "{}", answer.text);
    let large = "x".repeat(100_000);
    let words = format!("GET {NOBODY} HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n");
    let told = raw(&stack.apis[0].url(), &words).await;
    // Who is hung up on in the middle may not hear why.
    assert!(
        told.is_empty() || told.starts_with("HTTP/1.1 431 "),
        "{told}"
    );
    let long = format!("{NOBODY}?{}", "x".repeat(9_000));
    let answer = api.get(&long).answer().await.expect(414);
    assert_eq!(answer.error_code(), "uri_too_long");
    assert_eq!(api.get(NOBODY).answer().await.status, 404);
}
