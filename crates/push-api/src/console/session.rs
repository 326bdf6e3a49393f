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

use crate::caller::Keyed;
use crate::error::ApiError;
use crate::keys::ApiKey;
use crate::state::{AppState, now};

/// How long somebody stays signed in: a working day.
const LASTING: TimeDelta = TimeDelta::hours(12);

const COOKIE: &str = "push_console";
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

/// Signs a key in.
///
/// # Errors
/// What the database says.
pub async fn begin(state: &AppState, key: &ApiKey, headers: &HeaderMap) -> Result<Begun, ApiError> {
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
    let begin = |store: Store| async move { store.begin_session(hash, &session, now()).await };
    state.ask(begin).await?;
    Ok(Begun {
        cookie: cookie(&secret, LASTING, is_over_tls(state, headers))?,
        expires_at,
    })
}

/// Ends the session of a request, if it has one. The answer takes the cookie away.
///
/// # Errors
/// What the database says.
pub async fn end(state: &AppState, headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    if let Some(secret) = secret(headers) {
        let hash = hash(secret);
        state
            .ask(|store: Store| async move { store.end_session(hash).await })
            .await?;
    }
    cookie("", TimeDelta::zero(), is_over_tls(state, headers))
}

/// Whether a request brings a session, be it any good or not.
#[must_use]
pub fn is_brought(headers: &HeaderMap) -> bool {
    brought(headers).is_some()
}

/// Who has signed in, with what the key may do now. Nobody, where the key is gone or has another secret.
///
/// # Errors
/// What the database says: that is not to look like being signed out.
pub async fn keyed(state: &AppState, headers: &HeaderMap) -> Result<Option<Keyed>, ApiError> {
    let Some(session) = of(state, headers).await? else {
        return Ok(None);
    };
    Ok(state.access.signed_in(&session))
}

/// The session of a request.
///
/// # Errors
/// What the database says.
pub async fn of(state: &AppState, headers: &HeaderMap) -> Result<Option<Session>, ApiError> {
    let Some(secret) = brought(headers) else {
        return Ok(None);
    };
    let hash = hash(secret);
    state
        .ask(|store: Store| async move { store.session(hash, now()).await })
        .await
}

/// What is in our cookie, where one of our pages asks, and does so with nothing else: wrong credentials are not made good
/// by a cookie beside them.
fn brought(headers: &HeaderMap) -> Option<&str> {
    let from_our_page = headers.contains_key(FROM_OUR_PAGE);
    let brings_more = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")]
        .iter()
        .any(|name| headers.contains_key(name));
    (from_our_page && !brings_more)
        .then(|| secret(headers))
        .flatten()
}

/// What is in our cookie, if it looks like ours.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, secret) = pairs.find(|(name, _)| *name == COOKIE)?;
    let is_ours = secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then_some(secret)
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

fn cookie(secret: &str, lasting: TimeDelta, secure: bool) -> Result<HeaderValue, ApiError> {
    let seconds = lasting.num_seconds();
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).map_err(|error| ApiError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_cookie_is_read_and_only_if_it_can_be_ours() {
        let ours = "ab".repeat(32);
        let of = |cookies: &str| {
            let value = HeaderValue::from_str(cookies).unwrap();
            let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
            secret(&headers).map(ToOwned::to_owned)
        };
        assert_eq!(of(&format!("a=b; push_console={ours}")), Some(ours.clone()));
        for wrong in [
            "push_console=".to_owned(),
            format!("push_console={ours}0"),
            format!("push_console={}", "zz".repeat(32)),
            format!("other={ours}"),
            "push_console".to_owned(),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
        assert_eq!(secret(&HeaderMap::new()), None);
    }

    #[test]
    fn no_script_and_no_other_site_gets_at_the_cookie() {
        let text = |secure| cookie("00", LASTING, secure).unwrap();
        let (plain, tls) = (text(false), text(true));
        for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200", "Path=/"] {
            assert!(plain.to_str().unwrap().contains(part), "{plain:?}");
        }
        assert!(tls.to_str().unwrap().ends_with("; Secure"));
        assert!(!plain.to_str().unwrap().contains("Secure"));
    }
}
