//! FCM: strict, and word for word what the real service says.

use serde_json::{Value, json};

use crate::harness::{FCM_TOKEN, Sim, fcm_message, fixture, fixtures};

fn case(id: &str) -> Value {
    let file = fixture("fcm/errors.json");
    let cases = file["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["id"] == id).unwrap();
    case["response"].clone()
}

fn has_fcm_error(body: &Value) -> bool {
    body.to_string().contains("google.firebase.fcm.v1.FcmError")
}

#[tokio::test]
async fn golden_messages_are_accepted() {
    let sim = Sim::start().await;
    let mut accepted = 0;
    for file in fixtures("fcm") {
        let body = &fixture(&file)["wire"]["body"];
        if body.is_object() {
            let (status, answer) = sim.fcm(body).await;
            assert_eq!(status, 200, "{file}: {answer}");
            let name = answer["name"].as_str().unwrap();
            assert!(name.starts_with("projects/app/messages/0:"), "{name}");
            accepted += 1;
        }
    }
    assert_eq!(accepted, 11);
}

#[tokio::test]
async fn the_literal_messages_of_the_guide_are_refused_as_the_service_does() {
    let sim = Sim::start().await;
    let mut refused = 0;
    for file in fixtures("fcm/literal") {
        let fixture = fixture(&file);
        let (body, expected) = (&fixture["wire"]["body"], &fixture["service_response"]);
        if body.is_object() {
            let (status, answer) = sim.fcm(body).await;
            assert_eq!(json!(status), expected["status"], "{file}");
            assert_eq!(answer, expected["body"], "{file}");
            refused += 1;
        }
    }
    assert!(refused >= 6, "{refused}");
    assert_eq!(sim.get("/sim/counts").await["fcm"]["accepted"], 0);
}

/// What the SDK lets through is judged as the schema check beside it says; the four messages below
/// pass the schema and break a rule of the FCM layer.
#[tokio::test]
async fn messages_that_the_sdk_lets_through_are_judged_by_the_schema() {
    const BEYOND_THE_SCHEMA: [&str; 4] = [
        "data reserved key",
        "android.ttl 40 days",
        "token with spaces",
        "5000-byte body",
    ];
    let sim = Sim::start().await;
    let file = fixture("fcm/sdk_validation.json");
    for case in file["cases"].as_array().unwrap() {
        let (id, mut message) = (case["id"].as_str().unwrap(), case["wire_message"].clone());
        if !message.is_object() {
            continue;
        }
        if message["notification"]["body"] == "<5000 x>" {
            message["notification"]["body"] = "x".repeat(5000).into();
        }
        let (status, answer) = sim.fcm(&json!({"message": message})).await;
        let text = case["schema_check"].as_str().unwrap();
        if BEYOND_THE_SCHEMA.iter().any(|start| id.starts_with(start)) {
            assert_eq!(status, 400, "{id}");
            assert!(has_fcm_error(&answer), "{id}: {answer}");
        } else if text == "accepted by the schema" {
            assert_eq!(status, 200, "{id}: {answer}");
        } else {
            assert_eq!(answer["error"]["message"], text, "{id}");
            assert!(!has_fcm_error(&answer), "{id}: {answer}");
        }
    }
}

#[tokio::test]
async fn refusals_have_the_recorded_bodies() {
    let sim = Sim::start().await;
    let with = |more: Value| {
        let mut message = fcm_message();
        let fields = message["message"].as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        message
    };
    let big = "x".repeat(4093);
    let full = "x".repeat(4000);
    let channel = json!({"notification": {"channel_id": "y".repeat(100)}});
    let table = [
        (
            "no_target",
            json!({"message": {"notification": {"title": "T"}}}),
        ),
        ("no_target", json!({"validate_only": true})),
        (
            "invalid_token",
            with(json!({"token": "not a token at all, surely"})),
        ),
        (
            "unknown_field",
            with(json!({"notification": {"sound": "x"}})),
        ),
        ("non_string_data", with(json!({"data": {"n": 12}}))),
        (
            "too_big_generic",
            with(json!({"notification": {"body": big}})),
        ),
        (
            "too_big_android",
            with(json!({"notification": {"body": full}, "android": channel})),
        ),
    ];
    for (id, message) in table {
        let expected = case(id);
        let (status, answer) = sim.fcm(&message).await;
        assert_eq!(json!(status), expected["status"], "{id}");
        assert_eq!(sorted(answer), sorted(expected["body"].clone()), "{id}");
    }
}

/// The order of `details` is not a contract.
fn sorted(mut body: Value) -> Value {
    if let Some(details) = body["error"]["details"].as_array_mut() {
        details.sort_by_key(Value::to_string);
    }
    body
}

#[tokio::test]
async fn what_is_not_json_is_refused_without_fcm_error() {
    let sim = Sim::start().await;
    let response = sim.h1.post(sim.url("/v1/projects/app/messages:send"));
    let response = response
        .bearer_auth(&sim.access_token)
        .body("{\"message\":");
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    let text = body["error"]["message"].as_str().unwrap();
    assert!(text.starts_with("Invalid JSON payload received."), "{text}");
    assert!(!has_fcm_error(&body));
}

#[tokio::test]
async fn a_known_unexpired_bearer_is_needed() {
    let mut sim = Sim::start().await;
    let url = sim.url("/v1/projects/app/messages:send");
    let bare = sim.h1.post(url).json(&fcm_message()).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert!(!has_fcm_error(&bare.json().await.unwrap()));

    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    sim.set("/sim/oauth/expire", json!({})).await;
    let (status, answer) = sim.fcm(&fcm_message()).await;
    assert_eq!(
        (json!(status), answer),
        (json!(401), case("bad_access_token")["body"].clone())
    );

    sim.access_token = sim.server.issue_token();
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    sim.set("/sim/clock", json!({"advanceMs": 3_599_000})).await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 401);
}

#[tokio::test]
async fn validate_only_delivers_nothing() {
    let sim = Sim::start().await;
    for name in ["validate_only", "validateOnly"] {
        let mut message = fcm_message();
        message[name] = true.into();
        let (status, answer) = sim.fcm(&message).await;
        assert_eq!(status, 200);
        assert!(answer["name"].is_string());
        message["message"]["notification"]["sound"] = "x".into();
        assert_eq!(sim.fcm(&message).await.0, 400);
    }
    assert_eq!(sim.get("/sim/phones").await["total"], 0);
    let counts = sim.get("/sim/counts").await;
    assert_eq!(
        (&counts["fcm"]["accepted"], &counts["fcm"]["requests"]),
        (&json!(0), &json!(4))
    );
}

#[tokio::test]
async fn every_recorded_answer_can_be_scripted_by_its_id() {
    let sim = Sim::start().await;
    let file = fixture("fcm/errors.json");
    for case in file["cases"].as_array().unwrap() {
        let (id, expected) = (&case["id"], &case["response"]);
        if expected.get("transport").is_some() || id == "ok" {
            continue;
        }
        sim.script("fcm", json!([{"case": id}])).await;
        let response = sim.fcm_with(&sim.h2, &fcm_message()).await.unwrap();
        let headers = response.headers().clone();
        let answer = crate::harness::read(response).await;
        // `ok_not_json` answers the word OK.
        assert_eq!(json!(answer.0), expected["status"], "{id}");
        assert_eq!(answer.1, expected["body"], "{id}");
        for (name, value) in expected["headers"].as_object().unwrap() {
            assert_eq!(headers[name.as_str()], value.as_str().unwrap(), "{id}");
        }
    }
    assert_eq!(sim.get("/sim/counts").await["fcm"]["accepted"], 0);
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
}

#[tokio::test]
async fn a_script_is_for_its_token_and_cannot_hide_a_faulty_payload() {
    let sim = Sim::start().await;
    let script = json!({"provider": "fcm", "token": FCM_TOKEN, "then": "repeat_last",
        "answers": [{"status": 429, "headers": {"retry-after": "Sun, 22 Nov 2026 12:00:00 GMT"}}]});
    sim.set("/sim/script", script).await;
    let mut other = fcm_message();
    other["message"]["token"] = "another-registration:APA91b".into();
    assert_eq!(sim.fcm(&other).await.0, 200);
    let mut faulty = fcm_message();
    faulty["message"]["foo"] = 1.into();
    assert_eq!(sim.fcm(&faulty).await.0, 400);
    for _ in 0..2 {
        assert_eq!(sim.fcm(&fcm_message()).await.0, 429);
    }
    let remove = json!({"provider": "fcm", "token": FCM_TOKEN, "answers": []});
    sim.set("/sim/script", remove).await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_googles_404() {
    let sim = Sim::start().await;
    let expected = case("not_found_html");
    for path in [
        "/batch",
        "/v1/projects/app/messages:sendEach",
        "/v1/projects/app/messages:send",
    ] {
        let response = sim.h1.get(sim.url(path)).send().await.unwrap();
        let (status, body) = crate::harness::read(response).await;
        assert_eq!(
            (json!(status), &body),
            (json!(404), &expected["body"]),
            "{path}"
        );
    }
}
