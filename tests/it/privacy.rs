//! The privacy guard: what must not go out in a push is refused at the door, told without repeating it, and can be
//! allowed.

use push_tests::{Device, Key, Stack};
use serde_json::{Value, json};

/// For tests; the networks publish it.
const CARD: &str = "4111 1111 1111 1111";

/// Refused for these fields alone, without a word of what they hold.
async fn refused(stack: &Stack, path: &str, body: &Value, fields: &[&str]) {
    let answer = stack.api().post(path, body).answer().await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (400, "invalid_input"),
        "{}",
        answer.text
    );
    assert_eq!(answer.wrong_fields(), fields, "{}", answer.text);
    assert!(!answer.text.contains("4111"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cards_and_secrets_are_refused_in_every_way_to_send_and_what_is_harmless_passes() {
    let stack = Stack::start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let rows = stack.database.count("notification_history").await;
    let send = "/api/Push/sendToCustomer";
    let with = |field: &str, value: Value| {
        let mut body = json!({"id": 1, "title": "A title", "body": "A body"});
        body[field] = value;
        body
    };
    let told = format!("Card {CARD} was charged");
    refused(&stack, send, &with("title", json!(told)), &["title"]).await;
    refused(&stack, send, &with("body", json!(told)), &["body"]).await;
    let data =
        json!({"otp": "123456", "accessToken": "x", "note": CARD, "n": 4_111_111_111_111_111_u64});
    let fields = ["data.accessToken", "data.n", "data.note", "data.otp"];
    refused(&stack, send, &with("data", data.clone()), &fields).await;
    refused(&stack, send, &with("data", json!({CARD: "x"})), &["data"]).await;

    let batch = "/api/Push/sendBatch";
    let same = json!({"customerIds": [1], "title": "A title", "body": told});
    refused(&stack, batch, &same, &["body"]).await;
    let each = json!({"notifications": [with("data", data), with("body", json!("Fine"))]});
    let answer = stack.api().post(batch, &each).answer().await.expect(202);
    let results = &answer.json["results"];
    assert_eq!(results[0]["code"], "invalid_input", "{}", answer.text);
    assert_eq!(results[0]["errors"].as_array().unwrap().len(), 4);
    assert_eq!(results[1]["success"], true, "{}", answer.text);
    assert!(!answer.text.contains("4111"), "{}", answer.text);

    let event = |technician: &str| {
        json!({"event": "technician_assigned", "customerId": 1, "bookingId": 4_111_111_111_111_111_u64,
               "trackId": "4111111111111111", "technician": {"name": technician}})
    };
    let events = "/api/Push/events";
    refused(&stack, events, &event(CARD), &["technician.name"]).await;
    drop(
        stack
            .api()
            .post(events, &event("Ravi"))
            .answer()
            .await
            .expect(202),
    );

    let harmless = json!({"trackId": "TRK4111111111111111", "phone": "+49 1512 3456789", "at": "1764333296789",
                          "tokenCount": 3, "pinCode": "560001"});
    let answer = stack.send(1).with("data", harmless).answer().await;
    drop(answer.expect(202));
    stack.all_settled().await;
    assert_eq!(stack.database.count("notification_history").await, rows + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_operator_can_allow_keys_to_one_caller_or_everything_to_all() {
    let stack = Stack::with()
        .env_api("PRIVACY_ALLOW", "booking:otp+orderToken")
        .start()
        .await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let body = json!({"id": 1, "title": "Your code", "body": "It is in the app",
                      "data": {"otp": "4111111111111111", "orderToken": "x"}});
    let post = |key| stack.api().post("/api/Push/sendToCustomer", &body).key(key);
    drop(post(Key::Send).answer().await.expect(202));
    let other = post(Key::All).answer().await.expect(400);
    assert_eq!(other.wrong_fields(), ["data.orderToken", "data.otp"]);
    stack.all_settled().await;

    let stack = Stack::with().env_api("PRIVACY_GUARD", "off").start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let answer = stack
        .send(1)
        .with("title", CARD)
        .with("data", json!({"password": "x"}));
    drop(answer.answer().await.expect(202));
    stack.all_settled().await;
}
