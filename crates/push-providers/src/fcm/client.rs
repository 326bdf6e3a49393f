//! One message to FCM: access token, request, answer.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use push_core::outcome::{Cause, Outcome, Withheld};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use crate::error::SetupError;
use crate::fcm::FcmSettings;
use crate::fcm::access_token::AccessTokens;
use crate::fcm::classify::{self, Verdict, access_token_refused};
use crate::fcm::connections::{Connections, Slot};
use crate::fcm::message;
use crate::push::{Look, Push};
use crate::transport::Failure;
use crate::{at_once, http};

/// FCM's answers have less than 2 KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How an address begins where HTTP/2 is spoken without TLS.
const H2C: &str = "h2c://";

#[derive(Debug)]
pub(crate) struct FcmClient {
    pub(crate) access_tokens: AccessTokens,
    pub(crate) connections: Connections,
    pub(crate) url: Url,
    look: Look,
}

impl FcmClient {
    pub(crate) fn new(settings: FcmSettings) -> Result<Self, SetupError> {
        let client = if settings.base_url.starts_with(H2C) {
            http::h2c_client
        } else {
            http::client
        };
        let timeout = settings.request_timeout;
        let connections = Connections::new(settings.max_in_flight, || client(timeout))?;
        Self::with(settings, connections)
    }

    pub(crate) fn with(
        settings: FcmSettings,
        connections: Connections,
    ) -> Result<Self, SetupError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if settings.project_id.is_empty() || !settings.project_id.bytes().all(allowed) {
            return Err(SetupError::ProjectId);
        }
        let base = settings.base_url.replacen(H2C, "http://", 1);
        let base = http::address(&base, "base_url")?;
        let base = base.as_str().trim_end_matches('/');
        let url = http::address(
            &format!("{base}/v1/projects/{}/messages:send", settings.project_id),
            "base_url",
        )?;
        Ok(Self {
            access_tokens: AccessTokens::new(&settings)?,
            connections,
            url,
            look: settings.look,
        })
    }

    /// Waits for its turn, then sends. Tries again at once only what was not processed: a few times
    /// a connection or stream that was refused, one time an access token that was.
    pub(crate) async fn send(&self, push: &Push) -> Result<Outcome, Withheld> {
        let slot = self.connections.slot().await;
        let mut pauses = at_once::pauses();
        let mut renewed = false;
        loop {
            let access_token = match self.access_tokens.get().await {
                Ok(access_token) => access_token,
                Err(trouble) => return Ok(trouble.into()),
            };
            match self.attempt(&slot, access_token.reveal(), push).await? {
                Ok(Verdict::Final(outcome)) => return Ok(outcome),
                Ok(Verdict::AccessTokenRefused) => {
                    self.access_tokens.refused(&access_token);
                    if renewed {
                        return Ok(Outcome::operator_must_act(access_token_refused()));
                    }
                    renewed = true;
                }
                Err(failure) => match pauses.next().filter(|_| failure.at_once) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Ok(failure.into()),
                },
            }
        }
    }

    /// Each attempt has a body of its own, written when it may go: what was waited for (an access
    /// token, a turn) counts against the time to live.
    async fn attempt(
        &self,
        slot: &Slot<'_>,
        access_token: &str,
        push: &Push,
    ) -> Result<Result<Verdict, Failure>, Withheld> {
        let turn = match slot.turn().await {
            Ok(turn) => turn,
            Err(failure) => return Ok(Err(failure)),
        };
        // After all waits.
        let now = Utc::now();
        if let Some(withheld) = push.withheld(now) {
            return Err(withheld);
        }
        let body = match body(push, &self.look, now) {
            Ok(body) => body,
            Err(outcome) => return Ok(Ok(Verdict::Final(outcome))),
        };
        let request = slot
            .client()
            .post(self.url.clone())
            .bearer_auth(access_token)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = http::exchange(request, ANSWER_BYTES_MAX).await;
        turn.ended(&answer);
        let verdict = answer.map(|answer| classify::classify(&answer, Utc::now()));
        if matches!(verdict, Ok(Verdict::Final(_))) {
            self.access_tokens.accepted();
        }
        Ok(verdict)
    }
}

/// The body for one push, as of `now`.
pub(crate) fn body(push: &Push, look: &Look, now: DateTime<Utc>) -> Result<Bytes, Outcome> {
    let ids = message::Ids::of(&push.notification);
    let body = serde_json::to_vec(&message::request(push, &ids, look, now));
    let unwritable = |_| {
        Outcome::Refused(Cause::new(
            "not_serialisable",
            "The message could not be written as JSON.",
        ))
    };
    body.map(Bytes::from).map_err(unwritable)
}
