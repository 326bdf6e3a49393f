//! Google's token endpoint: `POST /token` (RFC 7523 JWT bearer grant).

mod jwt;
mod keys;

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::request::Parts;
use http::uri::Authority;
use http::{Response, StatusCode, header};
use serde_json::json;

pub(crate) use self::keys::KeyError;

use self::keys::Keys;
use crate::lane::Provider;
use crate::record::Entry;
use crate::reply;
use crate::sim::{Sim, Verdict};
use crate::sync::{read, write};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// What Google answers for service accounts.
const LIFETIME_SECONDS: u64 = 3599;
/// Tokens remembered; beyond, the expired ones are forgotten, then all.
const TOKENS_MAX: usize = 10_000;

/// Access tokens that were handed out, and who may ask for them.
#[derive(Debug)]
pub(crate) struct OAuth {
    /// Token to the time it expires, in milliseconds.
    tokens: RwLock<HashMap<String, u64>>,
    issued: AtomicU64,
    lifetime_seconds: AtomicU64,
    keys: Keys,
}

impl Default for OAuth {
    fn default() -> Self {
        OAuth {
            tokens: RwLock::default(),
            issued: AtomicU64::new(0),
            lifetime_seconds: AtomicU64::new(LIFETIME_SECONDS),
            keys: Keys::default(),
        }
    }
}

impl OAuth {
    /// Hands out the next token, `sim-token-<n>`, and says how many seconds it lives.
    pub(crate) fn issue(&self, now_ms: u64) -> (String, u64) {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let token = format!("sim-token-{number}");
        let seconds = self.lifetime_seconds.load(Ordering::Relaxed);
        let mut tokens = write(&self.tokens);
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, expires_ms| *expires_ms > now_ms);
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(token.clone(), now_ms.saturating_add(seconds * 1000));
        (token, seconds)
    }

    pub(crate) fn is_valid(&self, token: &str, now_ms: u64) -> bool {
        read(&self.tokens)
            .get(token)
            .is_some_and(|expires_ms| now_ms < *expires_ms)
    }

    /// Lets one token expire, or all; says how many.
    pub(crate) fn expire(&self, token: Option<&str>) -> usize {
        let mut tokens = write(&self.tokens);
        match token {
            Some(token) => usize::from(tokens.remove(token).is_some()),
            None => tokens.drain().count(),
        }
    }

    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lifetime(&self, seconds: u64) {
        self.lifetime_seconds.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn add_key(&self, pem: &str) -> Result<usize, KeyError> {
        self.keys.add(pem)
    }

    /// Forgets keys and lifetime. Tokens stay valid and numbers go on, so that a client that
    /// outlives the reset keeps working.
    pub(crate) fn reset(&self) {
        self.set_lifetime(LIFETIME_SECONDS);
        self.keys.clear();
    }
}

/// An error answer of the token endpoint (RFC 6749, 5.2).
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    error: &'static str,
    description: String,
}

impl Refused {
    fn new(error: &'static str, description: impl Into<String>) -> Refused {
        Refused {
            error,
            description: description.into(),
        }
    }

    fn grant(description: impl Into<String>) -> Refused {
        Refused::new("invalid_grant", description)
    }
}

/// Answers one token request.
pub(crate) fn token(sim: &Sim, head: &Parts, body: &[u8]) -> Verdict {
    let now_ms = sim.clock.now_ms();
    let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let asked = granted(&sim.oauth, &form, head, now_ms);
    let issuer = asked.as_deref().unwrap_or_default();
    let verdict = sim
        .outage(Provider::Oauth)
        .or_else(|| asked.as_ref().err().map(refusal))
        .unwrap_or_else(|| answer(sim, issuer, now_ms));
    sim.record.push(&Entry {
        request: sim.record.next_request(),
        at_ms: now_ms,
        provider: Provider::Oauth,
        token: issuer,
        http: head.version,
        status: verdict.status(),
        accepted: verdict.accepted,
        note: verdict.note,
        headers: &head.headers,
        body: &[],
    });
    if verdict.accepted {
        sim.lane(Provider::Oauth).count_accepted(1);
    }
    verdict
}

fn answer(sim: &Sim, issuer: &str, now_ms: u64) -> Verdict {
    let ordinary = || issued(&sim.oauth, now_ms);
    match sim.scripts.take(Provider::Oauth, issuer) {
        Some(scripted) => Verdict::scripted(&scripted, ordinary),
        None => Verdict::accepted(ordinary()),
    }
}

/// The answer that hands out a new token.
pub(crate) fn issued(oauth: &OAuth, now_ms: u64) -> Response<Body> {
    let (token, seconds) = oauth.issue(now_ms);
    let body = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"});
    reply::json(StatusCode::OK, body.to_string())
}

fn refusal(refused: &Refused) -> Verdict {
    let body = json!({"error": refused.error, "error_description": refused.description});
    Verdict::refused(
        reply::json(StatusCode::BAD_REQUEST, body.to_string()),
        refused.error,
    )
}

/// The issuer, if the request deserves a token.
fn granted(
    oauth: &OAuth,
    form: &HashMap<String, String>,
    head: &Parts,
    now_ms: u64,
) -> Result<String, Refused> {
    let form_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if !form_type {
        return Err(Refused::new(
            "invalid_request",
            "The body must be application/x-www-form-urlencoded.",
        ));
    }
    let grant_type = form.get("grant_type").map_or("", String::as_str);
    if grant_type != GRANT_TYPE {
        return Err(Refused::new(
            "unsupported_grant_type",
            format!("Invalid grant_type: {grant_type}"),
        ));
    }
    let Some(assertion) = form.get("assertion") else {
        return Err(Refused::new(
            "invalid_request",
            "Missing required parameter: assertion",
        ));
    };
    let jwt = jwt::parse(assertion)?;
    oauth.keys.verify(&jwt)?;
    jwt.check_claims(host(head), now_ms / 1000)?;
    Ok(jwt.claims.iss)
}

/// By which name we were called: `:authority` of HTTP/2, `Host` of HTTP/1.1.
fn host(head: &Parts) -> Option<&str> {
    let header = || head.headers.get(header::HOST)?.to_str().ok();
    head.uri.authority().map(Authority::as_str).or_else(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_and_expire() {
        let oauth = OAuth::default();
        assert_eq!(oauth.issue(1_000), ("sim-token-1".to_owned(), 3599));
        oauth.set_lifetime(10);
        let (second, _) = oauth.issue(1_000);
        assert!(oauth.is_valid(&second, 10_999));
        assert!(!oauth.is_valid(&second, 11_000));
        assert!(oauth.is_valid("sim-token-1", 11_000));
        assert_eq!(oauth.expire(Some("sim-token-1")), 1);
        assert!(!oauth.is_valid("sim-token-1", 1_000));
        assert!(!oauth.is_valid("guessed", 1_000));
        assert_eq!(oauth.issued(), 2);
    }

    #[test]
    fn the_tokens_remembered_are_bounded() {
        let oauth = OAuth::default();
        for _ in 0..TOKENS_MAX + 10 {
            oauth.issue(0);
        }
        assert!(read(&oauth.tokens).len() <= TOKENS_MAX);
    }
}
