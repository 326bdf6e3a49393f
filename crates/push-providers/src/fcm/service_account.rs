//! The service account: fetching an access token (Google, "Using OAuth 2.0 for server to server
//! applications").
//!
//! `gcp_auth` reads the key and signs with it. The exchange is ours, because its own reads an answer of
//! any size, believes any lifetime, and tells a refusal from an outage to nobody.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use chrono::{DateTime, TimeDelta, Utc};
use gcp_auth::CustomServiceAccount;
use push_core::outcome::Cause;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::SetupError;
use crate::fcm::FcmSettings;
use crate::fcm::access_token::Trouble;
use crate::http::Answer;
use crate::{at_once, http};

/// All that `messages:send` asks for (v1 discovery document).
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// An answer of Google's has less than 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Google's tokens live an hour. Who promises more is not believed: a token is looked after by its age, too.
const LIFETIME_MAX: TimeDelta = TimeDelta::hours(24);

#[derive(Debug)]
pub(crate) struct ServiceAccount {
    client_email: String,
    token_uri: Url,
    key: CustomServiceAccount,
    client: Client,
}

/// An access token as the endpoint gave it.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) token: SecretString,
    pub(crate) expires_at: DateTime<Utc>,
}

impl ServiceAccount {
    pub(crate) fn new(settings: &FcmSettings) -> Result<Self, SetupError> {
        let token_uri = http::address(&settings.token_uri, "token_uri")?;
        let json = json!({
            "project_id": settings.project_id,
            "client_email": settings.client_email,
            "private_key": settings.private_key.expose_secret().replace("\\n", "\n"),
            "token_uri": token_uri.as_str(),
        });
        Ok(Self {
            client_email: settings.client_email.clone(),
            token_uri,
            // The error's text has the key in it: it ends here.
            key: CustomServiceAccount::from_json(&json.to_string())
                .map_err(|_| SetupError::PrivateKey)?,
            client: http::client(REQUEST_TIMEOUT)?,
        })
    }

    /// Fetches a token. A question does no harm when it is asked twice, so whatever may pass by itself
    /// is tried again at once, a few times; up to the caller to limit the time of all that.
    pub(crate) async fn fetch(&self) -> Result<Fetched, Trouble> {
        let mut pauses = at_once::pauses();
        loop {
            match (self.ask().await, pauses.next()) {
                (Err(Trouble::Unreachable(_)), Some(pause)) => tokio::time::sleep(pause).await,
                (answer, _) => return answer,
            }
        }
    }

    async fn ask(&self) -> Result<Fetched, Trouble> {
        let Some(assertion) = self.assertion() else {
            return Err(Trouble::Refused(Cause::new(
                "signing_failed",
                "The private key signs nothing; it may be too short.",
            )));
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let request = self
            .client
            .post(self.token_uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answer = http::exchange(request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|failure| {
            let text = format!(
                "The token endpoint cannot be reached. {}",
                failure.cause.text
            );
            Trouble::unreachable("token_endpoint_unreachable", &text)
        })?;
        read(&answer, Utc::now())
    }

    /// RFC 7523, with the claims that Google wants.
    fn assertion(&self) -> Option<String> {
        let issued_at = Utc::now().timestamp();
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri.as_str(),
            "iat": issued_at, "exp": issued_at + 3_595,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE.encode(r#"{"alg":"RS256","typ":"JWT"}"#),
            URL_SAFE.encode(claims.to_string())
        );
        let signature = self.key.signer().sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE.encode(signature)))
    }
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    expires_in: u64,
}

/// What an answer of the token endpoint means.
pub(crate) fn read(answer: &Answer, now: DateTime<Utc>) -> Result<Fetched, Trouble> {
    if !(200..=299).contains(&answer.status) {
        return Err(judge(answer.status, &answer.body));
    }
    let unreadable = || {
        Trouble::unreachable(
            "token_answer_unreadable",
            "The token endpoint's answer holds no token.",
        )
    };
    let grant = serde_json::from_slice::<Grant>(&answer.body).map_err(|_| unreadable())?;
    let token = grant.access_token.expose_secret();
    // It is to stand in a header.
    if token.is_empty() || HeaderValue::try_from(token).is_err() {
        return Err(unreadable());
    }
    let lifetime = i64::try_from(grant.expires_in)
        .ok()
        .and_then(TimeDelta::try_seconds)
        .map_or(LIFETIME_MAX, |promised| promised.min(LIFETIME_MAX));
    Ok(Fetched {
        token: grant.access_token,
        expires_at: now + lifetime,
    })
}

/// RFC 6749, section 5.2: a refusal is a 400 (or 401) with an `error`. What is no refusal may pass.
fn judge(status: u16, body: &[u8]) -> Trouble {
    let refusal = matches!(status, 400..=499) && !matches!(status, 408 | 429);
    if !refusal {
        return Trouble::unreachable(
            &format!("token_http_{status}"),
            "The token endpoint does not work at the moment.",
        );
    }
    let error = serde_json::from_slice::<Value>(body).ok();
    let error = error
        .as_ref()
        .and_then(|body| body["error"].as_str())
        .filter(|code| is_code(code));
    let code = error.map_or_else(|| format!("token_http_{status}"), str::to_owned);
    Trouble::Refused(Cause::new(
        &code,
        "Google refuses the service account: check FIREBASE_CLIENT_EMAIL, FIREBASE_PRIVATE_KEY, FIREBASE_TOKEN_URI and the machine's clock.",
    ))
}

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
