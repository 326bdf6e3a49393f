//! Who calls: settled before a handler runs. A handler takes a [`Caller`] for the scope that it
//! needs, and cannot be reached without.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use push_store::{Owner, Session};

use crate::error::ApiError;
use crate::jwt::{Bearer, Jwts};
use crate::keys::{ApiKey, ApiKeys, Scope, Scopes};
use crate::live::{Live, SettingFile};
use crate::observe::Seen;
use crate::state::AppState;

/// What a customer's token opens, for the customer's own data.
pub const CUSTOMERS: Scopes = Scopes::of(&[Scope::Register]);

/// What an admin's token opens. It sends nothing, and touches no devices: for that there are keys.
pub const ADMINS: Scopes = Scopes::of(&[Scope::Read, Scope::Admin]);

/// Who is let in (`API_KEYS`, `CUSTOMER_JWT_…`, `ADMIN_JWT_CLAIM`, `AUTH_DISABLED`).
#[derive(Clone, Debug)]
pub enum Access {
    /// Who has one of these.
    Known(Credentials),
    /// Everybody, with every scope: for development.
    Open,
}

/// What opens the door.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Keys of programs and operators.
    pub keys: Live<ApiKeys>,
    /// Tokens of customers and admins.
    pub jwts: Jwts,
    /// Where they are read from anew.
    pub files: Vec<SettingFile>,
}

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Who {
    /// What logs call them.
    name: Arc<str>,
    scopes: Scopes,
    owner: Owner,
}

impl Access {
    /// Lets those through who may do what `needed` stands for: who has a key, or brings a token. `seen` is told of
    /// everybody who is known.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] or [`ApiError::Forbidden`].
    fn admit(
        &self,
        keyed: Option<&Keyed>,
        headers: &HeaderMap,
        needed: Scope,
        seen: &Seen,
    ) -> Result<Who, ApiError> {
        let who = match (self, keyed) {
            (Self::Open, _) => return Ok(Who::anybody()),
            (Self::Known(_), Some(keyed)) => keyed.who.clone(),
            (Self::Known(credentials), None) => {
                let token = bearer(headers).and_then(|token| credentials.jwts.bearer(token));
                token.map(Who::from).ok_or(ApiError::Unauthorized)?
            }
        };
        seen.caller(&who.name);
        if who.scopes.contains(needed) {
            Ok(who)
        } else {
            Err(ApiError::Forbidden(needed))
        }
    }

    /// Who presents a valid API key, whatever it may do.
    #[must_use]
    pub fn keyed(&self, headers: &HeaderMap) -> Option<Keyed> {
        match self {
            Self::Open => Some(Keyed::always(Who::anybody())),
            Self::Known(_) => self.key(headers).as_ref().map(Who::of).map(Keyed::always),
        }
    }

    /// The API key that a request presents, whatever it may do.
    #[must_use]
    pub fn key(&self, headers: &HeaderMap) -> Option<ApiKey> {
        let Self::Known(credentials) = self else {
            return None;
        };
        let secret = bearer(headers).or_else(|| headers.get("x-api-key")?.to_str().ok())?;
        credentials.keys.get().find(secret).cloned()
    }

    /// Who began a session of the console, if the key is still there that it was begun with.
    #[must_use]
    pub fn signed_in(&self, session: &Session) -> Option<Keyed> {
        let Self::Known(credentials) = self else {
            return None;
        };
        let keys = credentials.keys.get();
        let key = keys.with_fingerprint(&session.key_name, &session.key_hash)?;
        Some(Keyed {
            who: Who::of(key),
            until: Some(session.expires_at),
        })
    }
}

/// Marks a request with a valid API key, or with the session of one. It is looked for once, before anything else is done.
#[derive(Clone, Debug)]
pub struct Keyed {
    who: Who,
    /// The end of the session.
    until: Option<DateTime<Utc>>,
}

impl Keyed {
    /// Who brings the key itself.
    fn always(who: Who) -> Self {
        Self { who, until: None }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.who.name)
    }
}

impl Who {
    fn of(key: &ApiKey) -> Self {
        Self {
            name: Arc::clone(key.name()),
            scopes: key.scopes(),
            owner: Owner::Anyone,
        }
    }

    /// Whoever calls where nobody is asked.
    fn anybody() -> Self {
        Self {
            name: "auth-disabled".into(),
            scopes: Scopes::of(&Scope::ALL),
            owner: Owner::Anyone,
        }
    }
}

impl From<Bearer> for Who {
    fn from(bearer: Bearer) -> Self {
        match bearer {
            Bearer::Customer(customer) => Self {
                name: format!("customer:{}", customer.get()).into(),
                scopes: CUSTOMERS,
                owner: Owner::Only(customer),
            },
            Bearer::Admin(name) => Self {
                name,
                scopes: ADMINS,
                owner: Owner::Anyone,
            },
        }
    }
}

/// What is in `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// A scope as a type, so that a handler's signature says what it needs.
pub trait Needed {
    /// The scope.
    const SCOPE: Scope;
}

/// Declares the types of the scopes.
macro_rules! needed {
    ($($(#[$doc:meta])* $name:ident),+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Needed for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )+};
}

needed! {
    /// Needs the scope `register`.
    Register,
    /// Needs the scope `send`.
    Send,
    /// Needs the scope `read`.
    Read,
    /// Needs the scope `admin`.
    Admin
}

/// A caller who may do what `S` stands for.
#[derive(Debug)]
pub struct Caller<S: Needed> {
    who: Who,
    until: Option<DateTime<Utc>>,
    scope: PhantomData<S>,
}

impl<S: Needed> Caller<S> {
    /// The name of the API key, or who brought a token.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.who.name
    }

    /// What the caller may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.who.scopes
    }

    /// The end of the session, where it is one that lets the caller in.
    #[must_use]
    pub fn session_ends_at(&self) -> Option<DateTime<Utc>> {
        self.until
    }
}

impl Caller<Register> {
    /// Whose data the caller may touch. A scope that customers have needs to ask.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.who.owner
    }

    /// The customer that a request names, if the caller may touch what is that customer's. Nothing is looked up for
    /// that: whether there is such a customer is not told.
    ///
    /// # Errors
    /// [`ApiError::NotYours`].
    pub fn own(&self, named: CustomerId) -> Result<CustomerId, ApiError> {
        if self.owner().includes(named) {
            Ok(named)
        } else {
            Err(ApiError::NotYours)
        }
    }
}

impl<S: Needed> FromRequestParts<AppState> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let seen = Seen::of(&parts.extensions);
        let keyed = parts.extensions.get::<Keyed>();
        let who = state.access.admit(keyed, &parts.headers, S::SCOPE, &seen)?;
        Ok(Self {
            who,
            until: keyed.and_then(|keyed| keyed.until),
            scope: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::Wanted;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                name.parse().unwrap(),
                axum::http::HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn a_key_comes_in_either_header_and_every_kind_of_wrong_is_answered_alike() {
        let access = Access::Known(Credentials {
            keys: Live::new(ApiKeys::parse("backend:send:s3cret").unwrap()),
            jwts: Jwts::new(Live::default(), Live::default(), &Wanted::default()),
            files: Vec::new(),
        });
        let seen = Seen::default();
        let admit = |given: &[(&'static str, &'static str)], scope| {
            let headers = headers(given);
            access
                .admit(access.keyed(&headers).as_ref(), &headers, scope, &seen)
                .map(|who| who.name.to_string())
        };
        let backend = || Ok("backend".to_owned());
        for good in [
            [("authorization", "Bearer s3cret")],
            [("authorization", "bearer  s3cret")],
            [("x-api-key", "s3cret")],
        ] {
            assert_eq!(admit(&good, Scope::Send), backend());
            assert_eq!(
                admit(&good, Scope::Read),
                Err(ApiError::Forbidden(Scope::Read))
            );
        }
        let basic = [("authorization", "Basic czNjcmV0"), ("x-api-key", "s3cret")];
        assert_eq!(admit(&basic, Scope::Send), backend());
        for wrong in [
            &[][..],
            &[("authorization", "s3cret")],
            &[("authorization", "Basic s3cret")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer wrong")],
            &[("authorization", "Bearer wrong"), ("x-api-key", "s3cret")],
            &[("x-api-key", "")],
            &[("x-api-key", "wrong")],
        ] {
            assert_eq!(
                admit(wrong, Scope::Send),
                Err(ApiError::Unauthorized),
                "{wrong:?}"
            );
        }
    }
}
