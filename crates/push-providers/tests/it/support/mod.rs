//! What the tests share: pushes, settings that point at a server of the test's, and outcomes in words.

pub mod outcomes;
pub mod server;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::{Body, Content, Notification, NotificationType, Priority, Title};
use push_core::outcome::{Outcome, Pause, Retry, Sent, Withheld};
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken, Token};
use push_providers::{ExpoSettings, FcmSettings, Look, Push, StillWanted};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use server::{Reply, Server};

/// Long enough for the busiest machine.
pub const PATIENT: Duration = Duration::from_secs(30);
/// For those who are to give up.
pub const IMPATIENT: Duration = Duration::from_secs(1);

pub const TITLE: &str = "a title that nobody may see in a log";

/// reqwest asks for it when it builds a client.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn fcm_token(name: &str) -> Token {
    Token::Fcm(FcmToken::parse(&format!("{name}:APA91b-not-a-real-token")).unwrap())
}

pub fn expo_token(name: &str) -> Token {
    Token::Expo(ExpoToken::parse(&format!("ExponentPushToken[{name}]")).unwrap())
}

pub fn push(token: Token) -> Push {
    let notification = Notification {
        id: NotificationId::generate(),
        customer: CustomerId::try_from(123).unwrap(),
        kind: NotificationType::parse("test").unwrap(),
        content: Content {
            title: Title::parse(TITLE).unwrap(),
            body: Body::parse("body").unwrap(),
            data: [("bookingId".to_owned(), "456".to_owned())]
                .into_iter()
                .collect(),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at: Utc::now(),
        send_at: None,
        expires_at: Utc::now() + TimeDelta::hours(1),
    };
    Push {
        notification: Arc::new(notification),
        token,
        platform: Platform::Android,
        still_wanted: Arc::new(()),
    }
}

/// Its sender has learnt that it is no longer to be sent.
#[derive(Debug)]
pub struct Unwanted;

impl StillWanted for Unwanted {
    fn withheld(&self) -> Option<Withheld> {
        Some(Withheld::ClaimOver)
    }
}

/// A push that expires in a moment; wait for [`expiry`].
pub fn push_for_a_moment(token: Token) -> Push {
    let mut push = push(token);
    Arc::make_mut(&mut push.notification).expires_at = Utc::now() + TimeDelta::milliseconds(300);
    push
}

/// Waits until a push has expired.
pub async fn expiry(push: &Push) {
    clock_reads(push.notification.expires_at).await;
}

/// Waits until the clock reads so late.
pub async fn clock_reads(time: DateTime<Utc>) {
    while Utc::now() < time {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A token endpoint that numbers its tokens: `access-1`, `access-2`, …
pub async fn token_endpoint() -> Server {
    gated_token_endpoint(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))).await
}

/// The same, a token for each permit of the gate.
pub async fn gated_token_endpoint(gate: Arc<Semaphore>) -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |_| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let token = json!({"access_token": format!("access-{number}"), "expires_in": 3599, "token_type": "Bearer"});
        Reply::When(Arc::clone(&gate), Box::new(Reply::json(200, &token)))
    })
    .await
}

pub fn fcm_settings(base_url: &str, token_uri: &str) -> FcmSettings {
    FcmSettings {
        project_id: "your-project-id".to_owned(),
        client_email: "firebase-adminsdk@your-project-id.iam.gserviceaccount.com".to_owned(),
        private_key: SecretString::from(
            include_str!("../data/throwaway_key.pem").replace('\n', "\\n"),
        ),
        token_uri: token_uri.to_owned(),
        base_url: base_url.to_owned(),
        max_in_flight: 100,
        request_timeout: PATIENT,
        look: Look::default(),
    }
}

pub fn expo_settings(base_url: &str) -> ExpoSettings {
    ExpoSettings {
        base_url: base_url.to_owned(),
        access_token: None,
        rate: NonZeroU32::new(1_000_000).unwrap(),
        request_timeout: PATIENT,
        look: Look::default(),
    }
}

/// What became of a push, as a test's table has it.
pub fn words(sent: &Result<Outcome, Withheld>) -> String {
    match sent {
        Ok(outcome) => outcome_words(outcome),
        Err(withheld) => format!("withheld: {withheld:?}"),
    }
}

pub fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(id) => format!("accepted {}", id.as_str()),
        Outcome::TokenDead(cause) => format!("dead: {}", cause.code),
        Outcome::Retry(retry) => retry_words(retry),
        Outcome::OperatorMustAct {
            cause,
            sent: Sent::Maybe,
        } => format!("operator: {}, maybe sent", cause.code),
        Outcome::OperatorMustAct { cause, .. } => format!("operator: {}", cause.code),
        Outcome::Refused(cause) => format!("refused: {}", cause.code),
    }
}

pub fn retry_words(retry: &Retry) -> String {
    let pause = match retry.pause {
        Pause::Asked(pause) => format!("asked {}", pause.as_secs()),
        Pause::AtLeast(pause) => format!("at least {}", pause.as_secs()),
    };
    let sent = match retry.sent {
        Sent::SurelyNot => "surely not sent",
        Sent::Maybe => "maybe sent",
    };
    format!("retry: {}, {pause} s, {sent}", retry.cause.code)
}

/// The recorded cases of a provider, by id, below `key`.
pub fn fixture_cases(file: &str, key: &str) -> Vec<(String, Value)> {
    let file: Value = serde_json::from_str(file).unwrap();
    let cases = file[key].as_array().unwrap().iter();
    cases
        .map(|case| (case["id"].as_str().unwrap().to_owned(), case.clone()))
        .collect()
}

/// A recorded answer, as our server gives it.
pub fn recorded(case: &Value) -> Reply {
    let response = &case["response"];
    match response["transport"].as_str() {
        Some("connection_reset") => return Reply::Reset,
        Some("no_answer") => return Reply::Silence,
        Some(other) => panic!("unknown transport {other}"),
        None => {}
    }
    let headers = response["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let body = match &response["body"] {
        Value::String(text) => text.clone().into_bytes(),
        body => body.to_string().into_bytes(),
    };
    let status = u16::try_from(response["status"].as_u64().unwrap()).unwrap();
    Reply::Http {
        status,
        headers: headers.collect(),
        body,
    }
}
