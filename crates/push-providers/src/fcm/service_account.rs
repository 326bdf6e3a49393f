//! The service account: fetching an access token (Google, "Using OAuth 2.0 for server to server
//! applications").

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use chrono::Utc;
use gcp_auth::{CustomServiceAccount, TokenProvider};
use push_core::outcome::Cause;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::error::SetupError;
use crate::fcm::FcmSettings;
use crate::fcm::access_token::Trouble;
use crate::http;

/// All that `messages:send` asks for (v1 discovery document).
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct ServiceAccount {
    client_email: String,
    token_uri: String,
    /// As in the file that Google hands out, private key included.
    json: SecretString,
    /// To ask why; built once, since that reads all root certificates from the disk.
    client: Client,
}

impl ServiceAccount {
    pub(crate) fn new(settings: &FcmSettings) -> Result<Self, SetupError> {
        let token_uri = http::address(&settings.token_uri, "token_uri")?.to_string();
        let json = json!({
            "project_id": settings.project_id,
            "client_email": settings.client_email,
            "private_key": settings.private_key.expose_secret().replace("\\n", "\n"),
            "token_uri": token_uri,
        });
        let account = Self {
            client_email: settings.client_email.clone(),
            token_uri,
            json: json.to_string().into(),
            client: http::client(REQUEST_TIMEOUT)?,
        };
        account.open().map_err(|NotAKey| SetupError::PrivateKey)?;
        Ok(account)
    }

    /// A new object each time: one that has fetched a token returns it until it expires, refused or not.
    fn open(&self) -> Result<CustomServiceAccount, NotAKey> {
        // The error's text has the key in it: it ends here.
        CustomServiceAccount::from_json(self.json.expose_secret()).map_err(|_| NotAKey)
    }

    /// Fetches a token. Up to the caller to limit the time, which is all that bounds the answer:
    /// `gcp_auth` reads it whole.
    pub(crate) async fn fetch(self: Arc<Self>) -> Result<Arc<gcp_auth::Token>, Trouble> {
        let this = Arc::clone(&self);
        // Off the runtime: it reads all root certificates from the disk.
        let opened = tokio::task::spawn_blocking(move || this.open()).await;
        let Ok(Ok(account)) = opened else {
            return Err(Trouble::unreachable(
                "token_fetch_failed",
                "The service account could not be opened.",
            ));
        };
        match account.token(&[SCOPE]).await {
            Ok(token) => Ok(token),
            // The endpoint answered, but gcp_auth does not say what.
            Err(gcp_auth::Error::Str(_)) => Err(self.why(&account).await),
            Err(gcp_auth::Error::Json(..)) => Err(Trouble::unreachable(
                "token_answer_unreadable",
                "The token endpoint's answer holds no token.",
            )),
            Err(_) => Err(Trouble::unreachable(
                "token_endpoint_unreachable",
                "The token endpoint cannot be reached.",
            )),
        }
    }

    /// Asks once more by ourselves, for the sake of the answer: an account that is refused and an
    /// endpoint that is down look the same through `gcp_auth`.
    async fn why(&self, account: &CustomServiceAccount) -> Trouble {
        let Some(assertion) = self.assertion(account) else {
            return Trouble::Refused(Cause::new(
                "signing_failed",
                "The private key signs nothing; it may be too short.",
            ));
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let request = self
            .client
            .post(&self.token_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        match http::exchange(request, ANSWER_BYTES_MAX).await {
            Err(failure) => {
                Trouble::unreachable(&failure.cause.code, "The token endpoint gives no answer.")
            }
            Ok(answer) => judge(answer.status, &answer.body),
        }
    }

    /// RFC 7523, with the claims that Google wants.
    fn assertion(&self, account: &CustomServiceAccount) -> Option<String> {
        let issued_at = Utc::now().timestamp();
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri,
            "iat": issued_at, "exp": issued_at + 3_595,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE.encode(r#"{"alg":"RS256","typ":"JWT"}"#),
            URL_SAFE.encode(claims.to_string())
        );
        let signature = account.signer().sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE.encode(signature)))
    }
}

/// The key is none; which one it was is not said.
struct NotAKey;

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
