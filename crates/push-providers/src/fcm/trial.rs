//! A send of which FCM delivers nothing (`validate_only`): it shows that credentials, project and address are right all
//! the way, and not only where access tokens are given out.

use chrono::Utc;
use push_core::outcome::Outcome;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::error::TrialError;
use crate::fcm::classify::{self, Verdict, access_token_refused};
use crate::fcm::client::{ANSWER_BYTES_MAX, FcmClient};
use crate::http;

/// Nobody subscribes to it, and nothing is sent to it. A topic, because no made-up token passes for one.
const TOPIC: &str = "push-service-check";

impl FcmClient {
    /// Has FCM judge a message.
    pub(crate) async fn try_out(&self) -> Result<(), TrialError> {
        let access_token = match self.access_tokens.get().await {
            Ok(access_token) => access_token,
            Err(trouble) => return TrialError::judge(trouble.into()),
        };
        let slot = self.connections.slot().await;
        let turn = match slot.turn().await {
            Ok(turn) => turn,
            Err(failure) => return TrialError::judge(failure.into()),
        };
        let request = slot
            .client()
            .post(self.url.clone())
            .bearer_auth(access_token.reveal())
            .header(CONTENT_TYPE, "application/json")
            .body(body().to_string());
        let answer = http::exchange(request, ANSWER_BYTES_MAX).await;
        turn.ended(&answer);
        TrialError::judge(match answer {
            Ok(answer) => match classify::classify(&answer, Utc::now()) {
                Verdict::Final(outcome) => outcome,
                // It was fetched a moment ago: another one would be no better.
                Verdict::AccessTokenRefused => Outcome::operator_must_act(access_token_refused()),
            },
            Err(failure) => failure.into(),
        })
    }
}

fn body() -> Value {
    json!({
        "validate_only": true,
        "message": {"topic": TOPIC, "notification": {"title": "Check", "body": "Is never delivered"}},
    })
}
