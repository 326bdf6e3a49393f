//! `pushctl doctor`: what is as it should be, and each thing that is not, with what to do.

use axum::Router;
use axum::http::header::DATE;
use axum::routing::get;
use push_tests::{Device, Ended, Environment, Key, Provider, Stack, eventually, run_to_end};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::pushctl::{environment, told};

const FINE: i32 = 0;
const WARNINGS: i32 = 7;
const PROBLEMS: i32 = 8;

async fn doctor(environment: &Environment, more: &[&str]) -> (Ended, Value) {
    let arguments = [&["doctor", "--json"], more].concat();
    let ended = run_to_end("pushctl", &arguments, environment).await;
    let document = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    (ended, document)
}

/// What one check found, worse than fine: level and text, with what to do.
fn bad(document: &Value, check: &str) -> Vec<(String, String)> {
    let findings = document["findings"].as_array().unwrap().iter();
    let bad = findings.filter(|finding| finding["check"] == check && finding["level"] != "ok");
    bad.map(|finding| {
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        (
            text("level"),
            format!("{} → {}", text("found"), text("mend")),
        )
    })
    .collect()
}

/// How slow this machine is at the moment is nobody's fault.
fn is_bad_beside_slowness(document: &Value) -> bool {
    let findings = document["findings"].as_array().unwrap().iter();
    let mut bad =
        findings.filter(|finding| finding["level"] != "ok" && finding["check"] != "reachable");
    bad.next().is_some()
}

#[track_caller]
fn expect(document: &Value, check: &str, level: &str, part: &str) {
    let found = bad(document, check);
    let is_it = |(its, text): &(String, String)| its == level && text.contains(part);
    assert!(found.iter().any(is_it), "{check}: {part}: {document:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_is_well_and_then_somebody_has_to_look() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let ours = environment(&stack);
    let well = eventually("workers have told of themselves", async || {
        let (ended, document) = doctor(&ours, &[]).await;
        let is_slow = document["worst"] == "warning";
        (!is_bad_beside_slowness(&document)).then(|| {
            let code = if is_slow { WARNINGS } else { FINE };
            assert_eq!(ended.code, Some(code), "{document:#}");
            document
        })
    })
    .await;
    let findings = well["findings"].as_array().unwrap();
    for check in [
        "settings",
        "reachable",
        "clock",
        "ready",
        "version",
        "key",
        "broker",
        "workers",
        "lanes",
        "books",
        "dead letters",
        "push-api",
        "push-worker",
    ] {
        assert!(
            findings.iter().any(|finding| finding["check"] == check),
            "{check}: {well:#}"
        );
    }

    // A lane that is paused, and a dead letter: nothing is broken, and somebody has to look.
    stack.expect_errors("an operator must act");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let refuse = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), refuse).await;
    let id = stack.send(1).accepted().await;
    stack.settled(&id).await;
    told(&stack, &["providers", "pause", "expo"]).await;
    let odd = eventually("the letter is recorded", async || {
        let (ended, document) = doctor(&ours, &[]).await;
        (!bad(&document, "dead letters").is_empty()).then(|| {
            assert_eq!(ended.code, Some(WARNINGS), "{document:#}");
            document
        })
    })
    .await;
    expect(&odd, "lanes", "warning", "pushctl providers resume expo");
    expect(
        &odd,
        "dead letters",
        "warning",
        "1 of them for something that an operator can mend",
    );
    let text = run_to_end("pushctl", &["doctor"], &ours).await;
    assert!(
        text.stdout.contains("→ pushctl providers resume expo"),
        "{}",
        text.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_worker_a_wrong_key_and_nobody_there_are_problems() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    let ours = environment(&stack);
    let with_key = |key: &str| {
        let mut settings = ours.clone();
        settings.retain(|(name, _)| name != "PUSH_API_KEY");
        settings.push(("PUSH_API_KEY".to_owned(), key.to_owned()));
        settings
    };
    let (ended, document) = doctor(&with_key("nobodys-key-at-all"), &[]).await;
    assert_eq!(ended.code, Some(PROBLEMS));
    expect(&document, "key", "problem", "API_KEYS");
    let (ended, document) = doctor(&with_key(Key::Read.secret()), &[]).await;
    assert_eq!(ended.code, Some(WARNINGS), "{document:#}");
    expect(&document, "key", "warning", "scope admin");

    let mut nowhere = ours.clone();
    nowhere[0].1 = "http://127.0.0.1:1".to_owned();
    let (ended, document) = doctor(&nowhere, &[]).await;
    assert_eq!(ended.code, Some(PROBLEMS));
    expect(&document, "reachable", "problem", "refused");

    assert_eq!(stack.terminate_worker().await, Some(0));
    let stopped = eventually("nobody consumes any more", async || {
        let (ended, document) = doctor(&ours, &[]).await;
        (!bad(&document, "workers").is_empty()).then(|| {
            assert_eq!(ended.code, Some(PROBLEMS), "{document:#}");
            document
        })
    })
    .await;
    expect(&stopped, "workers", "problem", "start push-worker");
}

/// Answers as push-api does to whoever asks whether it is alive, from another time.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_clock_that_is_wrong_is_told() {
    let alive = || async {
        (
            [(DATE, "Sat, 03 Jan 2026 10:20:30 GMT")],
            r#"{"success":true,"message":"Alive"}"#,
        )
    };
    let ready = || async { r#"{"success":true,"message":"Ready","status":"ready","checks":{}}"# };
    let document = || async { r#"{"openapi":"3.1.0","info":{"title":"x","version":"99.0.0"}}"# };
    let router = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(document));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = vec![
        ("PUSH_URL".to_owned(), url),
        ("PUSH_API_KEY".to_owned(), "any-key-will-do".to_owned()),
    ];
    let (ended, document) = doctor(&settings, &[]).await;
    assert_eq!(ended.code, Some(PROBLEMS));
    expect(&document, "clock", "problem", "NTP");
    expect(&document, "version", "warning", "99.0.0");
    serving.abort();
}

/// The settings of both programs at once, as in a shell that has sourced them.
fn with_settings(stack: &Stack) -> Environment {
    let settings = [
        stack.api_settings(),
        stack.worker_settings(),
        environment(stack),
    ]
    .concat();
    // The same variable twice is no environment: the later one counts.
    let mut once = Environment::new();
    for (name, value) in settings {
        once.retain(|(other, _)| *other != name);
        once.push((name, value));
    }
    once
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn credentials_are_tried_and_what_the_provider_says_is_told() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let mut settings = with_settings(&stack);
    let (_, well) = doctor(&settings, &["--check-programs"]).await;
    assert_eq!(bad(&well, "push-worker"), [], "{well:#}");
    assert_eq!(bad(&well, "push-api"), [], "{well:#}");
    let all = well.to_string();
    assert!(
        all.contains("validate_only") && all.contains("fcm access token"),
        "{well:#}"
    );
    let counts = stack.sim.counts().await;
    assert_eq!(counts["fcm"]["accepted"], 0, "nothing was sent: {counts}");

    // The access token is given, and FCM refuses what is sent with it.
    let refuse = json!({"case": "iam_permission_denied"});
    stack.sim.always_all(Provider::Fcm, refuse).await;
    let (ended, refused) = doctor(&settings, &["--check-programs"]).await;
    assert_eq!(ended.code, Some(PROBLEMS));
    expect(&refused, "push-worker", "problem", "fcm send: refused");
    expect(&refused, "push-worker", "problem", "may not send");
    stack.sim.script_all(Provider::Fcm, json!([])).await;

    // Not even an access token is given.
    let refuse = json!({"case": "invalid_grant"});
    stack.sim.always_all(Provider::Oauth, refuse).await;
    let (_, refused) = doctor(&settings, &["--check-programs"]).await;
    expect(&refused, "push-worker", "problem", "fcm access token");
    stack.sim.script_all(Provider::Oauth, json!([])).await;

    stack.sim.expo_takes_only("the-real-access-token").await;
    settings.push((
        "EXPO_ACCESS_TOKEN".to_owned(),
        "another-access-token".to_owned(),
    ));
    let (_, refused) = doctor(&settings, &["--check-programs"]).await;
    expect(
        &refused,
        "push-worker",
        "problem",
        "expo access token: refused",
    );

    // Settings that are wrong are told as the program tells them.
    settings.retain(|(name, _)| name != "AMQP_URL");
    let (_, wrong) = doctor(&settings, &[]).await;
    for check in ["push-api", "push-worker"] {
        expect(&wrong, check, "problem", "AMQP_URL");
    }
}
