//! Who may do what, and with whose data.

use push_tests::{Answer, Device, Key, SigningKey, Stack};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "the-issuers-secret-of-32-bytes-or-more";
const NOBODY: &str = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";

async fn call(stack: &Stack, token: &str, method: Method, path: &str, body: &Value) -> Answer {
    let call = stack.api().call(method, path).bearer(token).json(body);
    call.answer().await
}

async fn post(stack: &Stack, token: &str, path: &str, body: &Value) -> Answer {
    call(stack, token, Method::POST, path, body).await
}

fn good(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What an answer says, and nothing that differs from request to request.
fn said(answer: Answer, status: u16) -> Value {
    answer.expect(status).json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_customers_token_touches_what_is_the_customers_own() {
    let (rsa, ec) = (
        SigningKey::rs256(push_tests::PRIVATE_KEY),
        SigningKey::es256(),
    );
    let public = format!("{}{}", rsa.public_pem(), ec.public_pem());
    let stack = Stack::with()
        .env_api("CUSTOMER_JWT_SECRET", SECRET)
        .env_api("CUSTOMER_JWT_PUBLIC_KEY", &public)
        .start()
        .await;
    stack.know_customer(1).await;
    let other = stack.register(2, Device::android_both("another's")).await;
    let theirs = stack.send(2).wait(20).answer().await.expect(200).id();
    assert_eq!(stack.sim.rings(&other, &theirs).await, 1);

    // Signed in any of the three ways.
    let device = Device::android_fcm("own");
    stack.sim.know(&device).await;
    for (key, sub) in [
        (SigningKey::hs256(SECRET), json!("1")),
        (rsa, json!(1)),
        (ec, json!("1")),
    ] {
        let token = key.token(sub);
        let body = device.registration(1);
        good(&post(&stack, &token, "/api/Push/register", &body).await);
    }
    let token = SigningKey::hs256(SECRET).token("1");
    let own = stack.send(1).wait(20).answer().await.expect(200).id();
    let told = post(
        &stack,
        &token,
        "/api/Push/opened",
        &json!({"notificationId": own}),
    )
    .await;
    assert_eq!(told.expect(200).json["first"], true);
    let preferences = json!({"pushEnabled": true, "types": {}});
    let path = "/api/Push/preferences/1";
    good(&call(&stack, &token, Method::PUT, path, &preferences).await);
    good(&call(&stack, &token, Method::GET, path, &json!({})).await);

    // What is another's is not told apart from what is not there.
    for (method, path, body) in [
        (
            Method::POST,
            "/api/Push/register",
            &(|id| device.registration(id)) as &dyn Fn(i64) -> Value,
        ),
        (Method::POST, "/api/Push/unregister", &|id| {
            other.device.registration(id)
        }),
        (
            Method::POST,
            "/api/Push/opened",
            &|id| json!({"notificationId": theirs, "customerId": id}),
        ),
        (Method::GET, "/api/Push/preferences/{id}", &|_| json!({})),
        (Method::PUT, "/api/Push/preferences/{id}", &|_| {
            preferences.clone()
        }),
    ] {
        let of = async |id: i64| {
            let path = path.replace("{id}", &id.to_string());
            said(
                call(&stack, &token, method.clone(), &path, &body(id)).await,
                403,
            )
        };
        let (known, unknown) = (of(2).await, of(999).await);
        assert_eq!(
            (&known, &known["code"]),
            (&unknown, &json!("forbidden")),
            "{method} {path}"
        );
    }
    let opened = async |id: &str| {
        let body = json!({"notificationId": id});
        said(post(&stack, &token, "/api/Push/opened", &body).await, 404)
    };
    assert_eq!(opened(&theirs).await, opened(NOBODY).await);
    assert_eq!(stack.notification(&theirs).await["openedAt"], json!(null));

    // The other's tokens, named as if they were one's own: nothing happens to them.
    let stolen = other.device.registration(1);
    let told = post(&stack, &token, "/api/Push/unregister", &stolen).await;
    let never_there = json!({"userType": "customer", "id": 1, "deviceId": "never-there"});
    let same = post(&stack, &token, "/api/Push/unregister", &never_there).await;
    assert_eq!(said(told, 200), said(same, 200));
    let still = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(still.json["status"], "sent", "{}", still.text);

    // Nothing else is open to a customer.
    for (method, path) in [
        (Method::POST, "/api/Push/sendToCustomer".to_owned()),
        (Method::GET, format!("/api/Push/notifications/{own}")),
        (Method::GET, "/api/Push/history?customerId=1".to_owned()),
        (Method::GET, "/api/Push/admin/queues".to_owned()),
    ] {
        let told = call(&stack, &token, method, &path, &json!({})).await;
        assert_eq!(told.expect(403).error_code(), "forbidden", "{path}");
    }
    // A backend's key is for all customers.
    let body = json!({"notificationId": theirs});
    let call = stack
        .api()
        .post("/api/Push/opened", &body)
        .key(Key::Register);
    good(&call.answer().await);
}
