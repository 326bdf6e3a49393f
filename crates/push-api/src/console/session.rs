//! Who has signed in to the console. The browser keeps a random secret in a cookie that no script can read; the database
//! keeps its hash, so that every replica knows it, and a restart ends nothing.
//!
//! A browser sends a cookie along whoever asks it to. So it comes from our own pages only (`SameSite=Strict`), and counts
//! only together with a header that another site's page cannot add without asking us first (a CORS preflight, which we
//! answer to nobody).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use chrono::{DateTime, TimeDelta, Utc};
use push_store::{Session, SessionHash, Store};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::cookie;
use crate::caller::Keyed;
use crate::error::ApiError;
use crate::keys::ApiKey;
use crate::state::{AppState, now};

/// How long somebody stays signed in: a working day.
const LASTING: TimeDelta = TimeDelta::hours(12);

/// What our pages add to each request.
const FROM_OUR_PAGE: HeaderName = HeaderName::from_static("x-push-console");
/// Says how a proxy was asked.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A session that has just begun.
#[derive(Debug)]
pub struct Begun {
    /// For the browser.
    pub cookie: HeaderValue,
    /// The end.
    pub expires_at: DateTime<Utc>,
}

/// Signs a key in. What the browser was signed in with before is over.
///
/// # Errors
/// What the database says.
pub async fn begin(state: &AppState, key: &ApiKey, headers: &HeaderMap) -> Result<Begun, ApiError> {
    end_brought(state, headers).await?;
    let mut random = [0_u8; 32];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| ApiError::Internal("the machine has no randomness".to_owned()))?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (hash, expires_at) = (hash(&secret), now() + LASTING);
    let session = Session {
        key_name: key.name().to_string(),
        key_hash: key.fingerprint().to_vec(),
        expires_at,
    };
    let begin = |store: Store| async move { store.begin_session(hash, &session).await };
    state.ask(begin).await?;
    Ok(Begun {
        cookie: cookie::given(&secret, LASTING, is_over_tls(state, headers))?,
        expires_at,
    })
}

/// Ends the session of a request, if it has one. The answer takes the cookie away.
///
/// # Errors
/// What the database says.
pub async fn end(state: &AppState, headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    end_brought(state, headers).await?;
    cookie::taken_away(is_over_tls(state, headers))
}

async fn end_brought(state: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    for secret in cookie::secrets(headers, is_over_tls(state, headers)) {
        let hash = hash(secret);
        state
            .ask(|store: Store| async move { store.end_session(hash).await })
            .await?;
    }
    Ok(())
}

/// Whether a request brings a session, be it any good or not.
#[must_use]
pub fn is_brought(state: &AppState, headers: &HeaderMap) -> bool {
    brought(state, headers).next().is_some()
}

/// Who has signed in, with what the key may do now. Nobody, where the key is gone or has another secret.
///
/// # Errors
/// What the database says: that is not to look like being signed out.
pub async fn keyed(state: &AppState, headers: &HeaderMap) -> Result<Option<Keyed>, ApiError> {
    for secret in brought(state, headers) {
        let hash = hash(secret);
        let session = state
            .ask(|store: Store| async move { store.session(hash, now()).await })
            .await?;
        let keyed = session.and_then(|session| state.access.signed_in(&session));
        if keyed.is_some() {
            return Ok(keyed);
        }
    }
    Ok(None)
}

/// What is in our cookies, where one of our pages asks, and does so with nothing else: wrong credentials are not made good
/// by a cookie beside them.
fn brought<'a>(state: &AppState, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    let from_our_page = headers.contains_key(FROM_OUR_PAGE);
    let brings_more = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")]
        .iter()
        .any(|name| headers.contains_key(name));
    (from_our_page && !brings_more)
        .then(|| cookie::secrets(headers, is_over_tls(state, headers)))
        .into_iter()
        .flatten()
}

fn hash(secret: &str) -> SessionHash {
    SessionHash(Sha256::digest(secret).into())
}

/// Whoever says so falsely gets a cookie that is kept to itself more than it need be.
fn is_over_tls(state: &AppState, headers: &HeaderMap) -> bool {
    let proxy_says = headers
        .get(FORWARDED_PROTO)
        .and_then(|proto| proto.to_str().ok()?.split(',').next())
        .is_some_and(|first| first.trim().eq_ignore_ascii_case("https"));
    state.speaks_tls || proxy_says
}
