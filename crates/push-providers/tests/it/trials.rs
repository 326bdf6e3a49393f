//! Trials: whether a provider would take what we send, found out without sending anything.

use push_providers::{Expo, Fcm, TrialError};
use serde_json::json;

use crate::support::server::{self, Reply, Server};
use crate::support::{
    expo_settings, fcm_settings, fixture_cases, install_crypto, recorded, token_endpoint,
};

const FCM: &str = include_str!("../../../../tests/fixtures/providers/fcm/errors.json");
const EXPO: &str = include_str!("../../../../tests/fixtures/providers/expo/errors.json");

/// What is told, in a word and the provider's code.
fn told(result: Result<(), TrialError>) -> String {
    match result {
        Ok(()) => "taken".to_owned(),
        Err(TrialError::NoAnswer { code, .. }) => format!("no answer: {code}"),
        Err(TrialError::Refused { code, .. }) => format!("refused: {code}"),
    }
}

async fn of_fcm(reply: Reply) -> String {
    let (server, tokens) = (
        Server::start(move |_| reply.clone()).await,
        token_endpoint().await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    told(fcm.try_out().await)
}

async fn of_expo(reply: Reply) -> String {
    let server = Server::start(move |_| reply.clone()).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    told(expo.try_out().await)
}

#[tokio::test]
async fn fcm_judges_a_message_that_nobody_gets() {
    install_crypto();
    let (server, tokens) = (
        Server::start(|_| Reply::json(200, &json!({"name": "projects/p/messages/1"}))).await,
        token_endpoint().await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    assert_eq!(told(fcm.try_out().await), "taken");
    let seen = server.seen();
    let body = seen[0].json();
    assert_eq!(body["validate_only"], true);
    let message = body["message"].as_object().unwrap();
    assert!(message.contains_key("topic") && !message.contains_key("token"));
    assert_eq!(seen.len(), 1);
    assert!(seen[0].path.ends_with("/messages:send"), "{}", seen[0].path);
}

#[tokio::test]
async fn what_fcm_says_is_a_refusal_or_may_pass() {
    install_crypto();
    let expected = [
        ("bad_access_token", "refused: UNAUTHENTICATED"),
        ("iam_permission_denied", "refused: IAM_PERMISSION_DENIED"),
        ("api_disabled", "refused: SERVICE_DISABLED"),
        ("not_found_html", "refused: http_404"),
        ("unavailable", "no answer: UNAVAILABLE"),
        ("bad_gateway_html", "no answer: http_502"),
    ];
    let cases = fixture_cases(FCM, "cases");
    for (name, wanted) in expected {
        let (_, case) = cases.iter().find(|(id, _)| id == name).unwrap();
        assert_eq!(of_fcm(recorded(case)).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn what_expo_says_is_a_refusal_or_may_pass() {
    install_crypto();
    let nothing = Reply::json(200, &json!({"data": {}}));
    assert_eq!(of_expo(nothing).await, "taken");
    let expected = [
        ("invalid_bearer", "refused: "),
        ("unauthorized", "refused: UNAUTHORIZED"),
        ("rate_limited", "no answer: "),
        ("bad_gateway", "no answer: "),
        ("not_json_200", "no answer: "),
    ];
    let cases = fixture_cases(EXPO, "push_send");
    for (name, wanted) in expected {
        let (_, case) = cases.iter().find(|(id, _)| id == name).unwrap();
        let told = of_expo(recorded(case)).await;
        assert!(told.starts_with(wanted), "{name}: {told}");
    }
}

#[tokio::test]
async fn nobody_there_may_pass() {
    install_crypto();
    let nobody = format!("http://{}", server::refusing().await);
    let tokens = token_endpoint().await;
    let fcm = Fcm::new(fcm_settings(&nobody, &tokens.url)).unwrap();
    assert!(told(fcm.try_out().await).starts_with("no answer: "));
    let expo = Expo::new(expo_settings(&nobody)).unwrap();
    assert!(told(expo.try_out().await).starts_with("no answer: "));
    let no_tokens = format!("{nobody}/token");
    let fcm = Fcm::new(fcm_settings(&nobody, &no_tokens)).unwrap();
    assert!(told(fcm.try_out().await).starts_with("no answer: "));
}
