//! HTTP/1.1 and HTTP/2 on one port, and the ways in which a connection breaks.

use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{FCM_TOKEN, Sim, expo_message, fcm_message};

fn shown(phones: &Value) -> usize {
    let phones = phones["phones"].as_array().unwrap();
    phones
        .iter()
        .map(|phone| phone["shown"].as_array().unwrap().len())
        .sum()
}

#[tokio::test]
async fn both_versions_are_spoken_and_counted() {
    let sim = Sim::start().await;
    for client in [&sim.h1, &sim.h2, &sim.h2] {
        assert_eq!(
            sim.fcm_with(client, &fcm_message()).await.unwrap().status(),
            200
        );
    }
    let connections = &sim.get("/sim/counts").await["connections"];
    assert_eq!(
        (&connections["http1"], &connections["http2"]),
        (&json!(1), &json!(1))
    );
    let requests = sim.get("/sim/requests?provider=fcm").await;
    let versions = requests["items"].as_array().unwrap().iter();
    let versions: Vec<_> = versions
        .map(|item| item["http"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["1.1", "2", "2"]);
}

#[tokio::test]
async fn a_reset_connection_accepts_nothing() {
    let sim = Sim::start().await;
    for client in [&sim.h1, &sim.h2] {
        sim.script("fcm", json!([{"case": "connection_reset"}]))
            .await;
        let error = sim.fcm_with(client, &fcm_message()).await.unwrap_err();
        assert!(error.is_request(), "{error:?}");
    }
    let counts = sim.get("/sim/counts").await;
    assert_eq!(
        counts["fcm"]["tokens"][FCM_TOKEN],
        json!({"sends": 2, "accepted": 0})
    );
    assert_eq!(shown(&sim.get("/sim/phones").await), 0);
    let requests = sim.get("/sim/requests").await;
    assert_eq!(requests["items"][0]["status"], 0);
    assert_eq!(requests["items"][0]["note"], "connection_reset");
}

#[tokio::test]
async fn accept_then_drop_shows_on_the_phone_and_answers_nothing() {
    let sim = Sim::start().await;
    for (client, times) in [(&sim.h1, 1), (&sim.h2, 2)] {
        sim.script("fcm", json!([{"transport": "accept_then_drop"}]))
            .await;
        sim.fcm_with(client, &fcm_message()).await.unwrap_err();
        assert_eq!(shown(&sim.get("/sim/phones").await), times);
    }
    assert_eq!(sim.get("/sim/counts").await["displays"]["repeated"], 1);
    let expo = json!([{"transport": "accept_then_drop"}]);
    sim.script("expo", expo).await;
    let url = sim.url("/--/api/v2/push/send");
    let messages = json!([
        expo_message("ExpoPushToken[a]"),
        expo_message("ExpoPushToken[b]")
    ]);
    sim.h1.post(url).json(&messages).send().await.unwrap_err();
    assert_eq!(shown(&sim.get("/sim/phones").await), 4);
}

#[tokio::test]
async fn a_refused_stream_says_so_and_leaves_the_others_alone() {
    let sim = Sim::start().await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    let answers = json!([{"transport": "refused_stream"}]);
    let script = json!({"provider": "fcm", "answers": answers, "then": "repeat_last"});
    sim.set("/sim/script", script).await;
    let error = sim.fcm_with(&sim.h2, &fcm_message()).await.unwrap_err();
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    let reason = std::iter::from_fn(|| {
        let this = source?;
        source = this.source();
        Some(this.downcast_ref::<h2::Error>().and_then(h2::Error::reason))
    });
    assert_eq!(reason.flatten().next(), Some(h2::Reason::REFUSED_STREAM));
    sim.script("fcm", json!([])).await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    assert_eq!(sim.get("/sim/counts").await["connections"]["http2"], 1);
}

async fn hangs_then_lets_go(sim: &Sim, client: &Client) {
    let (client, url) = (client.clone(), sim.url("/v1/projects/app/messages:send"));
    let request = client.post(url).bearer_auth(&sim.access_token);
    let pending = tokio::spawn(request.json(&fcm_message()).send());
    sim.until("/sim/requests", |requests| {
        requests["items"][0]["status"] == 0
    })
    .await;
    assert!(!pending.is_finished());
    assert_eq!(sim.get("/sim/counts").await["fcm"]["inFlight"], 1);
    pending.abort();
    sim.until("/sim/counts", |counts| counts["fcm"]["inFlight"] == 0)
        .await;
    sim.set("/sim/reset", json!({})).await;
}

#[tokio::test]
async fn no_answer_holds_the_request_until_the_client_leaves() {
    let sim = Sim::start().await;
    for client in [&sim.h1, &sim.h2] {
        sim.script("fcm", json!([{"case": "no_answer"}])).await;
        hangs_then_lets_go(&sim, client).await;
        sim.set("/sim/outage", json!({"provider": "fcm", "mode": "hang"}))
            .await;
        hangs_then_lets_go(&sim, client).await;
    }
}

#[tokio::test]
async fn what_is_accepted_shows_before_a_late_answer() {
    let sim = Sim::start().await;
    sim.set("/sim/latency", json!({"provider": "fcm", "ms": 3_600_000}))
        .await;
    let request = sim.h2.post(sim.url("/v1/projects/app/messages:send"));
    let request = request.bearer_auth(&sim.access_token).json(&fcm_message());
    let pending = tokio::spawn(request.send());
    sim.until("/sim/phones", |phones| shown(phones) == 1).await;
    assert!(!pending.is_finished());
    let counts = sim.get("/sim/counts").await;
    assert_eq!(counts["fcm"]["inFlight"], 1);
    pending.abort();
}

#[tokio::test]
async fn a_slow_drip_comes_byte_by_byte_and_whole() {
    let sim = Sim::start().await;
    let drip = json!([{"transport": "slow_drip", "everyMs": 1}]);
    sim.script("fcm", drip).await;
    let mut response = sim.fcm_with(&sim.h2, &fcm_message()).await.unwrap();
    let mut body = Vec::new();
    let mut chunks = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
        chunks += 1;
    }
    assert!(chunks > 10, "{chunks}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["name"].is_string());
}

#[tokio::test]
async fn an_outage_of_one_provider_is_its_own() {
    let sim = Sim::start().await;
    sim.set("/sim/outage", json!({"provider": "fcm", "mode": "down"}))
        .await;
    sim.fcm_with(&sim.h2, &fcm_message()).await.unwrap_err();
    let expo = json!([expo_message("ExpoPushToken[a]")]);
    assert_eq!(sim.expo(&expo).await.0, 200);
    sim.set("/sim/outage", json!({"provider": "fcm", "mode": "503"}))
        .await;
    let (status, answer) = sim.fcm(&fcm_message()).await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (503, &json!("UNAVAILABLE"))
    );
    sim.set("/sim/outage", json!({"provider": "fcm", "mode": "ok"}))
        .await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
}

#[tokio::test]
async fn the_highest_concurrency_is_seen_per_provider_and_connection() {
    let sim = Sim::start().await;
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    sim.set("/sim/outage", json!({"provider": "fcm", "mode": "hang"}))
        .await;
    let pending: Vec<_> = (0..7)
        .map(|_| {
            let request = sim.h2.post(sim.url("/v1/projects/app/messages:send"));
            tokio::spawn(request.json(&fcm_message()).send())
        })
        .collect();
    sim.until("/sim/counts", |counts| counts["fcm"]["inFlight"] == 7)
        .await;
    let counts = sim.get("/sim/counts").await;
    assert_eq!(counts["fcm"]["maxConcurrent"], 7);
    assert_eq!(counts["connections"]["maxConcurrentPerConnection"], 7);
    for request in pending {
        request.abort();
    }
}

#[tokio::test]
async fn a_stopped_simulator_frees_its_port() {
    let sim = Sim::start().await;
    let addr = sim.server.addr();
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
    sim.server.stop().await;
    let config = push_sim::Config {
        addr,
        ..push_sim::Config::default()
    };
    let again = Sim::with(config).await;
    assert_eq!(again.server.addr(), addr);
    assert_eq!(again.fcm(&fcm_message()).await.0, 200);
}
