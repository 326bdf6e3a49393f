//! The control API and the page.

use serde_json::json;

use crate::harness::{EXPO_TOKEN, FCM_TOKEN, Sim, expo_message, fcm_message};

#[tokio::test]
async fn requests_are_listed_with_body_headers_and_outcome() {
    let sim = Sim::start().await;
    sim.fcm(&fcm_message()).await;
    sim.expo(&json!([
        expo_message(EXPO_TOKEN),
        expo_message("ExpoPushToken[b]")
    ]))
    .await;
    let all = sim.get("/sim/requests").await;
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0]["body"], fcm_message());
    assert_eq!(items[0]["headers"]["authorization"], "Bearer sim-token-1");
    assert_eq!(
        (&items[0]["status"], &items[0]["accepted"]),
        (&json!(200), &json!(true))
    );
    assert!(items[0]["atMs"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(items[1]["request"], items[2]["request"]);
    assert_eq!(items[1]["body"], expo_message(EXPO_TOKEN));
    let one = sim
        .get("/sim/requests?provider=expo&token=ExpoPushToken%5Bb%5D")
        .await;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let rest = sim.get("/sim/requests?after=2").await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next"]),
        (1, &json!(3))
    );
}

#[tokio::test]
async fn a_bench_can_leave_the_bodies_out() {
    let sim = Sim::start().await;
    sim.set("/sim/record", json!({"bodies": false})).await;
    sim.fcm(&fcm_message()).await;
    let requests = sim.get("/sim/requests").await;
    assert_eq!(requests["items"][0]["token"], FCM_TOKEN);
    assert!(requests["items"][0].get("body").is_none());
}

#[tokio::test]
async fn one_phone_with_two_tokens_shows_one_entry_for_one_tag() {
    let sim = Sim::start().await;
    let binding = json!({"name": "Ana's phone", "tokens": [FCM_TOKEN, EXPO_TOKEN]});
    sim.set("/sim/phones", binding).await;
    let mut fcm = fcm_message();
    fcm["message"]["android"] = json!({"notification": {"tag": "booking-1"}});
    let mut expo = expo_message(EXPO_TOKEN);
    expo["tag"] = "booking-1".into();
    sim.fcm(&fcm).await;
    sim.expo(&json!([expo])).await;
    let phones = sim.get("/sim/phones").await;
    assert_eq!(phones["total"], 1);
    let phone = &phones["phones"][0];
    assert_eq!(phone["name"], "Ana's phone");
    assert_eq!(phone["shown"].as_array().unwrap().len(), 1);
    assert_eq!(phone["shown"][0]["provider"], "expo");
    assert_eq!(phone["displays"], json!({"n1": 2}));
    assert_eq!(phone["history"].as_array().unwrap().len(), 2);
    let none = sim.get("/sim/phones?token=unknown").await;
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn an_iphone_replaces_by_collapse_id() {
    let sim = Sim::start().await;
    let binding = json!({"name": "i", "tokens": [FCM_TOKEN, EXPO_TOKEN], "platform": "ios"});
    sim.set("/sim/phones", binding).await;
    let mut fcm = fcm_message();
    fcm["message"]["apns"] = json!({"headers": {"apns-collapse-id": "c"}});
    let mut expo = expo_message(EXPO_TOKEN);
    expo["collapseId"] = "c".into();
    sim.fcm(&fcm).await;
    sim.expo(&json!([expo])).await;
    let phone = &sim.get("/sim/phones").await["phones"][0];
    assert_eq!(phone["shown"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn arrivals_are_streamed() {
    let sim = Sim::start().await;
    let mut events = sim.h1.get(sim.url("/sim/events")).send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    sim.fcm(&fcm_message()).await;
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = events.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    let arrival: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
    assert!(text.starts_with("event: push\n"), "{text}");
    assert_eq!(
        (&arrival["phone"], &arrival["title"]),
        (&json!(FCM_TOKEN), &json!("T"))
    );
}

#[tokio::test]
async fn the_list_says_up_to_which_arrival_it_goes_also_after_a_reset() {
    let sim = Sim::start().await;
    assert_eq!(sim.get("/sim/phones").await["seq"], 0);
    sim.fcm(&fcm_message()).await;
    let phones = sim.get("/sim/phones").await;
    assert_eq!(
        (&phones["seq"], &phones["phones"][0]["shown"][0]["seq"]),
        (&json!(1), &json!(1))
    );
    sim.set("/sim/reset", json!({})).await;
    assert_eq!(sim.get("/sim/phones").await["seq"], 1);
    sim.fcm(&fcm_message()).await;
    let phones = sim.get("/sim/phones").await;
    assert_eq!(
        (&phones["seq"], &phones["phones"][0]["shown"][0]["seq"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn the_page_is_guarded_by_a_policy_without_holes() {
    let sim = Sim::start().await;
    let response = sim.h1.get(sim.url("/")).send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(response.text().await.unwrap().contains("<!doctype html>"));
}

#[tokio::test]
async fn a_reset_forgets_all_but_valid_access_tokens() {
    let sim = Sim::start().await;
    sim.fcm(&fcm_message()).await;
    sim.script("fcm", json!([{"case": "internal"}])).await;
    sim.set("/sim/outage", json!({"provider": "expo", "mode": "down"}))
        .await;
    sim.set("/sim/reset", json!({})).await;
    assert_eq!(sim.get("/sim/requests").await["items"], json!([]));
    assert_eq!(sim.get("/sim/phones").await["total"], 0);
    let counts = sim.get("/sim/counts").await;
    assert_eq!(
        (&counts["fcm"]["requests"], &counts["fcm"]["tokens"]),
        (&json!(0), &json!({}))
    );
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    assert_eq!(sim.expo(&json!([expo_message(EXPO_TOKEN)])).await.0, 200);
}

#[tokio::test]
async fn wrong_control_calls_say_what_is_wrong() {
    let sim = Sim::start().await;
    let table = [
        (
            "/sim/script",
            json!({"provider": "fcm", "answers": [{"case": "nope"}]}),
            "unknown case",
        ),
        (
            "/sim/script",
            json!({"provider": "fcm", "answer": []}),
            "unknown field `answer`",
        ),
        (
            "/sim/outage",
            json!({"provider": "fcm", "mode": "up"}),
            "unknown variant `up`",
        ),
        (
            "/sim/latency",
            json!({"provider": "sms", "ms": 1}),
            "unknown variant `sms`",
        ),
    ];
    for (path, body, expected) in table {
        let response = sim.h1.post(sim.url(path)).json(&body).send().await.unwrap();
        assert!(response.status().is_client_error(), "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains(expected), "{path}: {text}");
    }
}
