//! Tokens that customers and admins bring: JWTs of whoever signs them in.
//!
//! The algorithm is fixed by the configured key. Nothing of what a token says is looked at before its signature was found
//! good, except the algorithm that it claims.

mod admin;
mod keys;
mod signatures;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use admin::AdminClaim;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
pub use keys::JwtKeys;
use push_core::id::CustomerId;
use serde_json::{Map, Value};

use crate::live::Live;

/// An honest one is some hundred bytes; the limit is for what it costs to look at it.
const TOKEN_BYTES_MAX: usize = 4_096;
/// How far the clock of whoever signs may be from ours.
const SKEW_SECONDS: u64 = 60;

/// Who brings a token that is good.
#[derive(Debug, PartialEq, Eq)]
pub enum Bearer {
    /// A customer.
    Customer(CustomerId),
    /// An admin, by the name that logs and the audit trail call them.
    Admin(Arc<str>),
}

/// What tokens have to say beside who they are for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// One of their audiences. `None`: they must name none, because it would be somebody else.
    pub audience: Option<String>,
    /// Who issued them.
    pub issuer: Option<String>,
    /// What makes their bearer an admin. `None`: nothing does.
    pub admin: Option<AdminClaim>,
}

/// Looks at tokens.
#[derive(Clone, Debug)]
pub struct Jwts {
    secrets: Live<JwtKeys>,
    public: Live<JwtKeys>,
    /// For each algorithm what has to be right beside the signature.
    rules: Arc<[(Algorithm, Validation)]>,
    admin: Option<AdminClaim>,
}

impl Jwts {
    /// By these keys; without a key no token is good.
    #[must_use]
    pub fn new(secrets: Live<JwtKeys>, public: Live<JwtKeys>, wanted: &Wanted) -> Self {
        let algorithms = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256];
        let rules = algorithms.map(|algorithm| (algorithm, rules(algorithm, wanted)));
        Self {
            secrets,
            public,
            rules: rules.into(),
            admin: wanted.admin.clone(),
        }
    }

    /// Who brings this token, if it is good in every respect.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Option<Bearer> {
        let claims = self.claims(token)?;
        let sub = claims.get("sub")?;
        if self
            .admin
            .as_ref()
            .is_some_and(|admin| admin.is_in(&claims))
        {
            admin::name(sub).map(Bearer::Admin)
        } else {
            customer(sub).map(Bearer::Customer)
        }
    }

    fn claims(&self, token: &str) -> Option<Map<String, Value>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        // What must be understood for the token to be taken as it is meant: nothing of the kind is known here.
        if header.crit.is_some() {
            return None;
        }
        let mut rules = self.rules.iter();
        let (algorithm, rules) = rules.find(|(algorithm, _)| *algorithm == header.alg)?;
        let (secrets, public) = (self.secrets.get(), self.public.get());
        let mut keys = secrets.with(*algorithm).chain(public.with(*algorithm));
        let read = keys.find_map(|key| decode(token, &key.key, rules).ok())?;
        Some(read.claims)
    }
}

fn rules(algorithm: Algorithm, wanted: &Wanted) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.leeway = SKEW_SECONDS;
    rules.validate_nbf = true;
    let mut required = vec!["exp"];
    if let Some(audience) = &wanted.audience {
        rules.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &wanted.issuer {
        rules.set_issuer(&[issuer]);
        required.push("iss");
    }
    rules.set_required_spec_claims(&required);
    rules
}

/// The customer whose id is this `sub`: an integer, also as a string.
fn customer(sub: &Value) -> Option<CustomerId> {
    let id = match sub {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    CustomerId::try_from(id?).ok()
}
