//! What Expo gets to see.

use futures::future::join_all;
use push_core::outcome::ProviderMessageId;
use push_core::receipt::Receipt;
use push_providers::{Expo, PushProvider};
use serde_json::{Value, json};

use crate::support::server::{Reply, Request, Server};
use crate::support::{expo_settings, expo_token, install_crypto, push, words};

fn tickets(request: &Request) -> Reply {
    let tickets: Vec<Value> = request
        .recipients()
        .iter()
        .map(|to| json!({"status": "ok", "id": format!("ticket for {to}")}))
        .collect();
    Reply::json(200, &json!({ "data": tickets }))
}

#[tokio::test]
async fn the_request_is_the_documented_one() {
    install_crypto();
    let server = Server::start(tickets).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let sent = expo.send(push(expo_token("one"))).await;
    assert!(sent.is_ok(), "{sent:?}");
    let request = &server.seen()[0];
    assert_eq!(request.path, "/--/api/v2/push/send");
    assert_eq!(request.headers["accept"], "application/json");
    assert_eq!(request.headers["accept-encoding"], "gzip,deflate");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(
        request.headers.get("authorization"),
        None,
        "only if one is configured"
    );
    assert_eq!(
        request.headers.get("content-encoding"),
        None,
        "a short body is not worth packing"
    );
    assert_eq!(
        request.recipients(),
        ["ExponentPushToken[one]"],
        "always an array, one recipient a message"
    );
}

#[tokio::test]
async fn a_configured_access_token_is_sent_and_a_long_body_is_packed() {
    install_crypto();
    let server = Server::start(tickets).await;
    let mut settings = expo_settings(&format!("{}/", server.url));
    settings.access_token = Some("expo-access-token".into());
    assert!(!format!("{settings:?}").contains("expo-access-token"));
    let expo = Expo::new(settings).unwrap();
    assert!(!format!("{expo:?}").contains("expo-access-token"));
    let outcomes = join_all((0..10).map(|n| expo.send(push(expo_token(&format!("t{n}")))))).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(
            words(outcome),
            format!("accepted ticket for ExponentPushToken[t{n}]")
        );
    }
    let request = &server.seen()[0];
    assert_eq!(request.headers["authorization"], "Bearer expo-access-token");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(request.recipients().len(), 10);
}

#[tokio::test]
async fn receipts_are_asked_for_a_thousand_at_a_time() {
    install_crypto();
    let server = Server::start(|request| {
        let ids = request.json()["ids"].as_array().unwrap().clone();
        let known = ids.iter().filter(|id| !id.as_str().unwrap().ends_with('7'));
        let data: serde_json::Map<_, _> = known
            .map(|id| (id.as_str().unwrap().to_owned(), json!({"status": "ok"})))
            .collect();
        Reply::json(200, &json!({ "data": data }))
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let asked: Vec<_> = (0..1_001)
        .map(|n| ProviderMessageId::new(&format!("ticket-{n}")))
        .collect();
    let receipts = expo.receipts(&asked).await.unwrap();
    assert_eq!(receipts.len(), 901, "those without a receipt are absent");
    assert!(
        receipts
            .iter()
            .all(|(_, receipt)| *receipt == Receipt::Delivered)
    );
    let sizes: Vec<usize> = server
        .seen()
        .iter()
        .map(|request| request.json()["ids"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [1_000, 1]);
    assert_eq!(server.seen()[0].path, "/--/api/v2/push/getReceipts");
    assert_eq!(expo.receipts(&[]).await.unwrap(), []);
}
