//! Expo: tickets, receipts and refusals.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use push_sim::Config;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING};
use serde_json::{Value, json};

use crate::harness::{EXPO_TOKEN, Sim, expo_message, fixture, fixtures, read};

fn token(number: usize) -> String {
    format!("ExponentPushToken[{number:022}]")
}

fn messages(count: usize) -> Value {
    (0..count)
        .map(|number| expo_message(&token(number)))
        .collect()
}

fn ids(answer: &Value) -> Vec<String> {
    let tickets = answer["data"].as_array().unwrap();
    tickets
        .iter()
        .map(|ticket| ticket["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_the_sdk_sends_is_accepted() {
    let sim = Sim::start().await;
    let mut sent = 0;
    for file in fixtures("expo") {
        let body = &fixture(&file)["wire"]["body"];
        if body.is_array() {
            let (status, answer) = sim.expo(body).await;
            assert_eq!(status, 200, "{file}: {answer}");
            sent += 1;
        }
    }
    assert!(sent >= 9, "{sent}");
}

#[tokio::test]
async fn plain_and_gzip_give_a_ticket_per_recipient_in_order() {
    let sim = Sim::start().await;
    let script = json!({"provider": "expo", "token": token(1),
        "answers": [{"case": "ticket_device_not_registered_with_token"}], "then": "repeat_last"});
    sim.set("/sim/script", script).await;
    let body = json!([expo_message(&token(0)), {"to": [token(1), token(2)], "title": "T"}]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body.to_string().as_bytes()).unwrap();
    let plain = sim.expo(&body).await;
    let packed = sim
        .h2
        .post(sim.url("/--/api/v2/push/send"))
        .header(CONTENT_ENCODING, "gzip")
        .body(gzip.finish().unwrap());
    let packed = read(packed.send().await.unwrap()).await;
    for (status, answer) in [plain, packed] {
        assert_eq!(status, 200);
        let tickets = answer["data"].as_array().unwrap();
        let states: Vec<_> = tickets.iter().map(|ticket| &ticket["status"]).collect();
        assert_eq!(states, ["ok", "error", "ok"]);
        assert_eq!(
            tickets[1]["details"],
            json!({
            "error": "DeviceNotRegistered", "expoPushToken": token(1)})
        );
        let text = tickets[1]["message"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("\"{}\" is not", token(1))),
            "{text}"
        );
    }
    let counts = sim.get("/sim/counts").await;
    assert_eq!(counts["expo"]["requestSizes"], json!({"3": 2}));
    assert_eq!(
        counts["expo"]["tokens"][token(1)],
        json!({"sends": 2, "accepted": 0})
    );
}

#[tokio::test]
async fn a_bare_object_is_answered_with_a_bare_ticket() {
    let sim = Sim::start().await;
    let (_, answer) = sim.expo(&expo_message(EXPO_TOKEN)).await;
    assert_eq!(answer["data"]["status"], "ok");
}

#[tokio::test]
async fn a_hundred_recipients_are_the_limit() {
    let sim = Sim::start().await;
    assert_eq!(sim.expo(&messages(100)).await.0, 200);
    let (status, answer) = sim.expo(&messages(101)).await;
    assert_eq!(status, 400);
    assert_eq!(answer["errors"][0]["code"], "PUSH_TOO_MANY_NOTIFICATIONS");
    let recipients: Vec<_> = (0..101).map(token).collect();
    let (status, _) = sim.expo(&json!([{"to": recipients, "title": "T"}])).await;
    assert_eq!(status, 400);
    assert_eq!(sim.get("/sim/counts").await["expo"]["accepted"], 100);
}

#[tokio::test]
async fn one_foreign_token_fails_the_whole_request_and_the_details_tell_them_apart() {
    let sim = Sim::start().await;
    let project = json!({"token": token(1), "project": "@account/old"});
    sim.set("/sim/projects", project).await;
    let (status, answer) = sim.expo(&messages(3)).await;
    assert_eq!(status, 400);
    let error = &answer["errors"][0];
    assert_eq!(error["code"], "PUSH_TOO_MANY_EXPERIENCE_IDS");
    let expected = json!({"@account/old": [token(1)], "@sim/app": [token(0), token(2)]});
    assert_eq!(error["details"], expected);
    assert_eq!(sim.get("/sim/phones").await["total"], 0);
    assert_eq!(sim.expo(&json!([expo_message(&token(1))])).await.0, 200);
}

#[tokio::test]
async fn a_configured_access_token_is_asked_for() {
    let config = Config {
        expo_access_token: Some("secret".to_owned()),
        ..Config::default()
    };
    let sim = Sim::with(config).await;
    for path in ["send", "getReceipts"] {
        let body = if path == "send" {
            messages(1)
        } else {
            json!({"ids": []})
        };
        let post = || {
            sim.h1
                .post(sim.url(&format!("/--/api/v2/push/{path}")))
                .json(&body)
        };
        let (status, answer) = read(post().send().await.unwrap()).await;
        assert_eq!(
            (status, &answer["errors"][0]["code"]),
            (401, &json!("UNAUTHORIZED"))
        );
        let wrong = post().header(AUTHORIZATION, "Bearer wrong");
        let (status, answer) = read(wrong.send().await.unwrap()).await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_token")));
        let right = post().header(AUTHORIZATION, "Bearer secret");
        assert_eq!(right.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn malformed_requests_name_the_field() {
    let sim = Sim::start().await;
    let table = [
        (json!([]), "\"value\" must contain at least 1 item"),
        (json!([{"to": 5}]), "\"[0].to\" must be a string"),
        (
            json!([expo_message(EXPO_TOKEN), {"to": EXPO_TOKEN, "data": "x"}]),
            "\"[1].data\" must be of type object",
        ),
    ];
    for (body, expected) in table {
        let (status, answer) = sim.expo(&body).await;
        assert_eq!(status, 400);
        assert_eq!(answer["errors"][0]["code"], "VALIDATION_ERROR");
        assert_eq!(answer["errors"][0]["message"], expected);
    }
}

#[tokio::test]
async fn a_message_over_4096_bytes_gets_the_ticket_for_that() {
    let sim = Sim::start().await;
    let big = json!({"to": EXPO_TOKEN, "body": "x".repeat(4097)});
    let (status, answer) = sim.expo(&json!([big, expo_message(EXPO_TOKEN)])).await;
    assert_eq!(status, 200);
    assert_eq!(answer["data"][0]["details"]["error"], "MessageTooBig");
    assert_eq!(answer["data"][1]["status"], "ok");
}

#[tokio::test]
async fn every_recorded_answer_can_be_scripted_by_its_id() {
    let sim = Sim::start().await;
    let file = fixture("expo/errors.json");
    for case in file["push_send"].as_array().unwrap() {
        let (id, expected) = (&case["id"], &case["response"]);
        if expected.get("transport").is_some() || id == "ticket_ok" {
            continue;
        }
        sim.script("expo", json!([{"case": id}])).await;
        let recorded = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]";
        let (status, answer) = sim.expo(&json!([expo_message(recorded)])).await;
        assert_eq!(json!(status), expected["status"], "{id}");
        assert_eq!(answer, expected["body"], "{id}");
    }
    assert_eq!(sim.get("/sim/counts").await["expo"]["accepted"], 0);
}

#[tokio::test]
async fn a_gateway_error_may_have_delivered_all_the_same() {
    let sim = Sim::start().await;
    let answers = json!([{"case": "gateway_timeout", "accepted": true}]);
    sim.script("expo", answers).await;
    assert_eq!(sim.expo(&messages(2)).await.0, 504);
    assert_eq!(sim.expo(&messages(2)).await.0, 200);
    let phones = sim.get("/sim/phones").await;
    for phone in phones["phones"].as_array().unwrap() {
        assert_eq!(phone["displays"], json!({"n1": 2}));
    }
    assert_eq!(sim.get("/sim/counts").await["displays"]["repeated"], 2);
}

#[tokio::test]
async fn receipts_appear_after_their_delay_and_vanish_after_a_day() {
    let sim = Sim::start().await;
    sim.set("/sim/receipts", json!({"delayMs": 900_000})).await;
    let script = json!({"provider": "receipts", "token": token(1),
        "answers": [{"case": "DeviceNotRegistered"}]});
    sim.set("/sim/script", script).await;
    let ids = ids(&sim.expo(&messages(2)).await.1);
    let ask = || async {
        let (status, answer) = sim.expo_post("getReceipts", &json!({"ids": ids})).await;
        assert_eq!(status, 200);
        answer["data"].clone()
    };
    assert_eq!(ask().await, json!({}));
    sim.set("/sim/clock", json!({"advanceMs": 900_000})).await;
    let receipts = ask().await;
    assert_eq!(receipts[&ids[0]], json!({"status": "ok"}));
    assert_eq!(receipts[&ids[1]]["details"]["error"], "DeviceNotRegistered");
    assert_eq!(receipts[&ids[1]]["details"]["expoPushToken"], token(1));
    sim.set("/sim/clock", json!({"advanceMs": 23 * 3_600_000}))
        .await;
    assert_eq!(ask().await, receipts);
    sim.set("/sim/clock", json!({"advanceMs": 3_600_000})).await;
    assert_eq!(ask().await, json!({}));
}

#[tokio::test]
async fn a_thousand_receipts_are_the_limit_and_gateways_fail_here_too() {
    let sim = Sim::start().await;
    let ids: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    let (status, answer) = sim.expo_post("getReceipts", &json!({"ids": ids})).await;
    assert_eq!(status, 400);
    assert_eq!(answer["errors"][0]["code"], "PUSH_TOO_MANY_RECEIPTS");
    let (status, _) = sim
        .expo_post("getReceipts", &json!({"ids": ids[1..]}))
        .await;
    assert_eq!(status, 200);
    sim.script("receipts", json!([{"case": "bad_gateway"}]))
        .await;
    assert_eq!(
        sim.expo_post("getReceipts", &json!({"ids": []})).await.0,
        502
    );
    assert_eq!(
        sim.expo_post("getReceipts", &json!({"ids": []})).await.0,
        200
    );
}
