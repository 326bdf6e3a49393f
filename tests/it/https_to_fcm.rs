//! The providers over TLS, FCM with HTTP/2, with the client that ships.

use push_tests::{Device, Endpoint, Face, Provider, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hundreds_at_once_share_as_few_connections_as_their_streams_allow() {
    const IN_FLIGHT: usize = 250;
    // A hundred streams each.
    const CONNECTIONS: usize = 3;
    let stack = Stack::with()
        .fcm_over_https()
        .env_worker("FCM_MAX_IN_FLIGHT", &IN_FLIGHT.to_string())
        // In FCM's lane half of it may be under way.
        .env_worker("PREFETCH", "600")
        .start()
        .await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;

    // All at once, while there is no connection yet.
    stack.send_many(1, IN_FLIGHT).await;
    stack.all_settled().await;
    assert_eq!(stack.https().connections(), CONNECTIONS);
    for request in stack.sim.requests(Provider::Fcm, phone.fcm()).await {
        assert_eq!(request["http"], "2");
    }

    // So slow that all of them wait for FCM together.
    stack.sim.latency(Provider::Fcm, 8_000).await;
    stack.send_many(1, IN_FLIGHT).await;
    let counts = eventually("all are with FCM", async || {
        let counts = stack.sim.counts().await;
        (counts["fcm"]["inFlight"] == IN_FLIGHT).then_some(counts)
    })
    .await;
    let streams = counts["connections"]["maxConcurrentPerConnection"].as_u64();
    assert!(streams <= Some(100), "{counts}");
    stack.all_settled().await;
    assert_eq!(stack.https().connections(), CONNECTIONS);
    assert_eq!(stack.https().refused(), 0);
    let counts = stack.sim.counts().await;
    assert_eq!(counts["fcm"]["accepted"], json!(2 * IN_FLIGHT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_tls_fcm_is_spoken_to_in_http_2_where_the_address_says_so() {
    let stack = Stack::with().fcm_over_h2c().start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.send_many(1, 50).await;
    stack.all_settled().await;
    let requests = stack.sim.requests(Provider::Fcm, phone.fcm()).await;
    assert_eq!(requests.len(), 50);
    assert!(requests.iter().all(|request| request["http"] == "2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn to_a_stranger_nothing_is_sent_and_it_arrives_once_fcm_is_back() {
    let stack = Stack::with()
        .fcm_over_https()
        .env_worker("RETRY_DELAYS", "200ms,500ms,1s,2s,4s,8s,16s")
        .start()
        .await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.register(2, Device::ios_expo("iphone")).await;
    stack.https().present(Face::Stranger);
    let waiting = stack.send(1).accepted().await;
    eventually("the worker has turned away twice", async || {
        (stack.https().refused() >= 2).then_some(())
    })
    .await;
    assert_eq!(
        stack.sim.counts().await["fcm"]["requests"],
        0,
        "what is behind the stranger has not seen a byte"
    );
    let row = stack.database.history(&waiting).await.unwrap();
    assert_eq!(row.status, "pending", "{row:?}");
    // The authority of the test is beside the point for a provider without TLS.
    let answer = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent");

    stack.https().present(Face::Trusted);
    let row = stack.settled(&waiting).await;
    assert_eq!(row.status, "sent", "{row:?}");
    assert_eq!(stack.sim.rings(&phone, &waiting).await, 1);
    let view = stack.notification(&waiting).await;
    assert_eq!(
        view["deliveries"][0]["maybeDelivered"],
        json!(false),
        "FCM was not even asked: {view}"
    );
}

/// Whatever is wrong with a certificate: nothing is said to who presents it, and what waits arrives once it is right.
async fn nothing_goes_to_a_wrong_certificate(endpoint: Endpoint, device: Device, counter: &str) {
    let stack = Stack::with()
        .over_https(endpoint)
        // Nobody is asked there.
        .env_worker("HTTP_PROXY", "http://127.0.0.1:9")
        .env_worker("HTTPS_PROXY", "http://127.0.0.1:9")
        .env_worker(
            "RETRY_DELAYS",
            "200ms,200ms,200ms,500ms,500ms,1s,1s,2s,2s,4s",
        )
        .start()
        .await;
    stack.https().present(Face::Stranger);
    let phone = stack.register(1, device).await;
    let waiting = stack.send(1).accepted().await;
    for face in [Face::Stranger, Face::OtherHost, Face::Expired] {
        stack.https().present(face);
        let before = stack.https().refused();
        // One may have been under way with the face before.
        eventually("the worker has turned away", async || {
            (stack.https().refused() >= before + 2).then_some(())
        })
        .await;
        assert_eq!(stack.https().connections(), 0, "{endpoint:?} {face:?}");
        assert_eq!(stack.sim.counts().await[counter]["requests"], 0);
        let row = stack.database.history(&waiting).await.unwrap();
        assert_eq!(row.status, "pending", "{endpoint:?} {face:?}: {row:?}");
    }
    stack.https().present(Face::Trusted);
    let row = stack.settled(&waiting).await;
    assert_eq!(row.status, "sent", "{row:?}");
    assert_eq!(stack.sim.rings(&phone, &waiting).await, 1);
    if endpoint != Endpoint::AccessTokens {
        let view = stack.notification(&waiting).await.to_string();
        assert!(view.contains("TLS certificate"), "it says why: {view}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fcm_with_a_wrong_certificate_is_told_nothing() {
    let device = Device::android_fcm("pixel");
    nothing_goes_to_a_wrong_certificate(Endpoint::Fcm, device, "fcm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn googles_token_endpoint_with_a_wrong_certificate_is_told_nothing() {
    let device = Device::android_fcm("pixel");
    nothing_goes_to_a_wrong_certificate(Endpoint::AccessTokens, device, "oauth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn expo_with_a_wrong_certificate_is_told_nothing() {
    let device = Device::ios_expo("iphone");
    nothing_goes_to_a_wrong_certificate(Endpoint::Expo, device, "expo").await;
}
