//! What FCM gets to see.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use futures::future::join_all;
use push_core::provider::Provider;
use push_providers::{Expo, Fcm, Providers, PushProvider, SetupError};
use serde_json::json;

use crate::support::server::{Reply, Server};
use crate::support::{
    TITLE, Unwanted, expo_settings, expo_token, fcm_settings, fcm_token, install_crypto, push,
    token_endpoint, words,
};

fn accepting(name: &str) -> Reply {
    Reply::json(
        200,
        &json!({"name": format!("projects/your-project-id/messages/{name}")}),
    )
}

#[tokio::test]
async fn the_request_is_the_documented_one_and_has_no_header_more() {
    install_crypto();
    let (server, tokens) = (
        Server::start(|_| accepting("1")).await,
        token_endpoint().await,
    );
    // A slash at the end of an address is no mistake.
    let fcm = Fcm::new(fcm_settings(&format!("{}/", server.url), &tokens.url)).unwrap();
    let outcome = fcm.send(push(fcm_token("device"))).await;
    assert_eq!(
        words(&outcome),
        "accepted projects/your-project-id/messages/1"
    );

    let seen = server.seen();
    assert_eq!(seen[0].path, "/v1/projects/your-project-id/messages:send");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[0].headers["authorization"], "Bearer access-1");
    let names: Vec<&str> = seen[0].headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host"
        ]
    );
    assert_eq!(
        seen[0].json()["message"]["notification"],
        json!({"title": TITLE, "body": "body"})
    );
}

#[tokio::test]
async fn no_more_are_under_way_than_may_be() {
    install_crypto();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (answered, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (closed, done, peak, arrived) = (
        Arc::clone(&gate),
        Arc::clone(&answered),
        Arc::clone(&most),
        AtomicUsize::new(0),
    );
    let server = Server::start(move |_| {
        let under_way = 1 + arrived.fetch_add(1, SeqCst) - done.load(SeqCst);
        peak.fetch_max(under_way, SeqCst);
        Reply::When(Arc::clone(&closed), Box::new(accepting("1")))
    })
    .await;
    let tokens = token_endpoint().await;
    let mut settings = fcm_settings(&server.url, &tokens.url);
    settings.max_in_flight = 3;
    let fcm = Fcm::new(settings).unwrap();
    let all = join_all((0..20).map(|_| fcm.send(push(fcm_token("device")))));
    let release = async {
        for _ in 0..20 {
            server.arrival().await;
            answered.fetch_add(1, SeqCst);
            gate.add_permits(1);
        }
    };
    let (outcomes, ()) = futures::join!(all, release);
    assert!(
        outcomes
            .iter()
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    assert!(
        most.load(SeqCst) <= 3,
        "three at most, {} seen",
        most.load(SeqCst)
    );
}

#[tokio::test]
async fn what_expired_while_waiting_is_not_sent() {
    install_crypto();
    let (server, tokens) = (
        Server::start(|_| accepting("1")).await,
        token_endpoint().await,
    );
    let fcm = Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap();
    let mut late = push(fcm_token("device"));
    Arc::make_mut(&mut late.notification).created_at -= TimeDelta::hours(2);
    Arc::make_mut(&mut late.notification).expires_at -= TimeDelta::hours(2);
    assert_eq!(words(&fcm.send(late).await), "withheld: Expired");
    let mut unwanted = push(fcm_token("device"));
    unwanted.still_wanted = Arc::new(Unwanted);
    assert_eq!(words(&fcm.send(unwanted).await), "withheld: ClaimOver");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_token_goes_to_its_own_provider() {
    install_crypto();
    let paths = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&paths);
    let server = Server::start(move |request| {
        log.lock().unwrap().push(request.path.clone());
        if request.path.ends_with("/send") {
            Reply::json(200, &json!({"data": [{"status": "ok", "id": "ticket"}]}))
        } else {
            accepting("1")
        }
    })
    .await;
    let tokens = token_endpoint().await;
    let mut providers = Providers {
        fcm: Some(Fcm::new(fcm_settings(&server.url, &tokens.url)).unwrap()),
        expo: Some(Expo::new(expo_settings(&server.url)).unwrap()),
    };
    assert_eq!(providers.configured(), [Provider::Fcm, Provider::Expo]);
    assert!(words(&providers.send(push(fcm_token("a"))).await).starts_with("accepted projects/"));
    assert_eq!(
        words(&providers.send(push(expo_token("a"))).await),
        "accepted ticket"
    );

    providers.fcm = None;
    assert_eq!(providers.configured(), [Provider::Expo]);
    assert_eq!(
        words(&providers.send(push(fcm_token("a"))).await),
        "operator: not_configured"
    );
    assert_eq!(paths.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn wrong_settings_are_named_and_no_secret_is() {
    install_crypto();
    let with = |change: fn(&mut push_providers::FcmSettings)| {
        let mut settings = fcm_settings(
            "https://fcm.googleapis.com",
            "https://oauth2.googleapis.com/token",
        );
        change(&mut settings);
        Fcm::new(settings).unwrap_err()
    };
    assert_eq!(
        with(|settings| settings.base_url = "fcm.googleapis.com".to_owned()),
        SetupError::Address {
            setting: "base_url"
        }
    );
    assert_eq!(
        with(|settings| settings.token_uri = "ftp://x".to_owned()),
        SetupError::Address {
            setting: "token_uri"
        }
    );
    assert_eq!(
        with(|settings| settings.project_id = "a/b".to_owned()),
        SetupError::ProjectId
    );
    assert_eq!(
        with(|settings| settings.max_in_flight = 0),
        SetupError::NothingInFlight
    );
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    for key in [
        key,
        "secret",
        "-----BEGIN PRIVATE KEY-----\\n!!!!\\n-----END PRIVATE KEY-----",
    ] {
        let mut settings = fcm_settings("http://x", "http://x");
        settings.private_key = key.into();
        assert!(!format!("{settings:?}").contains(key));
        assert_eq!(Fcm::new(settings).unwrap_err(), SetupError::PrivateKey);
    }
    let mut settings = expo_settings("http://x");
    settings.access_token = Some("line\nbreak".into());
    settings.rate = NonZeroU32::MIN;
    assert_eq!(Expo::new(settings).unwrap_err(), SetupError::AccessToken);
    assert_eq!(
        Expo::new(expo_settings("exp.host")).unwrap_err(),
        SetupError::Address {
            setting: "base_url"
        }
    );
}

#[test]
fn expo_needs_a_runtime_and_says_so() {
    install_crypto();
    assert_eq!(
        Expo::new(expo_settings("http://x")).unwrap_err(),
        SetupError::NoRuntime
    );
}
