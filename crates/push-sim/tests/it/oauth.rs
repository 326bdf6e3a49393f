//! Google's token endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};

use crate::harness::{Sim, fcm_message, fixture, read};

const KEY: &str = include_str!("../keys/throwaway.pem");
const PUBLIC_KEY: &str = include_str!("../keys/throwaway.pub.pem");
const STRANGER: &str = include_str!("../keys/stranger.pem");
const ISSUER: &str = "push@app.iam.gserviceaccount.com";

fn claims(sim: &Sim) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({
        "iss": ISSUER,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": sim.url("/token"),
        "iat": now,
        "exp": now + 3600,
    })
}

fn assertion(claims: &Value, pem: &str, padded: bool) -> String {
    let encode = |bytes: &[u8]| match padded {
        true => URL_SAFE.encode(bytes),
        false => URL_SAFE_NO_PAD.encode(bytes),
    };
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
    let header = encode(br#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", encode(&signature))
}

async fn ask(sim: &Sim, client: &reqwest::Client, assertion: &str) -> (u16, Value) {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
        .append_pair("assertion", assertion)
        .finish();
    let request = client
        .post(sim.url("/token"))
        .header("content-type", "application/x-www-form-urlencoded");
    read(request.body(form).send().await.unwrap()).await
}

fn recorded(id: &str) -> (u16, Value) {
    let file = fixture("fcm/errors.json");
    let cases = file["oauth_token_endpoint"].as_array().unwrap();
    let response = &cases.iter().find(|case| case["id"] == id).unwrap()["response"];
    let status = response["status"].as_u64().unwrap();
    (u16::try_from(status).unwrap(), response["body"].clone())
}

#[tokio::test]
async fn tokens_are_handed_out_counted_and_open_fcm() {
    let mut sim = Sim::start().await;
    sim.set("/sim/oauth/lifetime", json!({"seconds": 60})).await;
    for (number, (client, padded)) in [(&sim.h1, true), (&sim.h2, false)].into_iter().enumerate() {
        let (status, body) = ask(&sim, client, &assertion(&claims(&sim), KEY, padded)).await;
        let token = format!("sim-token-{}", number + 2);
        let expected = json!({"access_token": token, "expires_in": 60, "token_type": "Bearer"});
        assert_eq!((status, body), (200, expected));
    }
    assert_eq!(sim.get("/sim/counts").await["oauth"]["tokensIssued"], 3);
    sim.access_token = "sim-token-3".to_owned();
    assert_eq!(sim.fcm(&fcm_message()).await.0, 200);
}

#[tokio::test]
async fn with_a_registered_key_only_its_signature_counts() {
    let sim = Sim::start().await;
    let stranger = assertion(&claims(&sim), STRANGER, false);
    assert_eq!(ask(&sim, &sim.h1, &stranger).await.0, 200);
    let register = sim.h1.post(sim.url("/sim/oauth/key")).body(PUBLIC_KEY);
    assert_eq!(register.send().await.unwrap().status(), 200);
    assert_eq!(
        ask(&sim, &sim.h1, &stranger).await,
        recorded("invalid_grant")
    );
    for padded in [true, false] {
        let own = assertion(&claims(&sim), KEY, padded);
        assert_eq!(ask(&sim, &sim.h1, &own).await.0, 200);
    }
    let garbage = sim.h1.post(sim.url("/sim/oauth/key")).body("garbage");
    assert_eq!(garbage.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn wrong_claims_and_grants_are_refused() {
    let sim = Sim::start().await;
    let mut long = claims(&sim);
    long["exp"] = (long["exp"].as_u64().unwrap() + 1).into();
    let answer = ask(&sim, &sim.h1, &assertion(&long, KEY, false)).await;
    assert_eq!(answer, recorded("clock_skew"));

    let mut elsewhere = claims(&sim);
    elsewhere["aud"] = "https://oauth2.googleapis.com/token".into();
    for client in [&sim.h1, &sim.h2] {
        let (status, body) = ask(&sim, client, &assertion(&elsewhere, KEY, false)).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
    }

    let other_grant = sim
        .h1
        .post(sim.url("/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials");
    let (status, body) = read(other_grant.send().await.unwrap()).await;
    assert_eq!(
        (status, &body["error"]),
        (400, &json!("unsupported_grant_type"))
    );
    assert_eq!(sim.get("/sim/counts").await["oauth"]["accepted"], 0);
}

#[tokio::test]
async fn failures_are_scripted_by_id_and_outages_set() {
    let sim = Sim::start().await;
    let good = assertion(&claims(&sim), KEY, false);
    let ids = [
        "invalid_grant",
        "account_not_found",
        "clock_skew",
        "server_error",
    ];
    let answers = ids.map(|id| json!({"case": id}));
    let script = json!({"provider": "oauth", "token": ISSUER, "answers": answers});
    sim.set("/sim/script", script).await;
    for id in ids {
        assert_eq!(ask(&sim, &sim.h1, &good).await, recorded(id));
    }
    sim.set("/sim/outage", json!({"provider": "oauth", "mode": "503"}))
        .await;
    assert_eq!(ask(&sim, &sim.h1, &good).await, recorded("server_error"));
    sim.set("/sim/outage", json!({"provider": "oauth", "mode": "ok"}))
        .await;
    assert_eq!(ask(&sim, &sim.h1, &good).await.0, 200);
}
