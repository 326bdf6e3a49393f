//! Who calls: settled before a handler runs. A handler takes a [`Caller`] for the scope that it
//! needs, and cannot be reached without.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::error::ApiError;
use crate::keys::{ApiKeys, Scope};
use crate::observe::Seen;
use crate::state::AppState;

/// Who is let in (`API_KEYS`, `AUTH_DISABLED`).
#[derive(Clone, Debug)]
pub enum Access {
    /// Who has one of these keys.
    Keys(ApiKeys),
    /// Everybody, with every scope: for development.
    Open,
}

impl Access {
    /// Lets those through who may do what `needed` stands for, and names them; `seen` is told, too.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`] or [`ApiError::Forbidden`].
    fn admit(&self, headers: &HeaderMap, needed: Scope, seen: &Seen) -> Result<Arc<str>, ApiError> {
        match self {
            Self::Open => Ok(Arc::from(NOBODY)),
            Self::Keys(keys) => {
                let secret = presented(headers).ok_or(ApiError::Unauthorized)?;
                let key = keys.find(secret).ok_or(ApiError::Unauthorized)?;
                seen.caller(key.name());
                if key.may(needed) {
                    Ok(Arc::clone(key.name()))
                } else {
                    Err(ApiError::Forbidden(needed))
                }
            }
        }
    }
}

/// Whoever calls where keys are not asked for.
const NOBODY: &str = "auth-disabled";

/// The secret in `Authorization: Bearer`, else the one in `X-Api-Key`.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
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
    name: Arc<str>,
    scope: PhantomData<S>,
}

impl<S: Needed> Caller<S> {
    /// The name of the API key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S: Needed> FromRequestParts<AppState> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let seen = Seen::of(&parts.extensions);
        let name = state.access.admit(&parts.headers, S::SCOPE, &seen)?;
        Ok(Self {
            name,
            scope: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let access = Access::Keys(ApiKeys::parse("backend:send:s3cret").unwrap());
        let seen = Seen::default();
        let admit = |given: &[(&'static str, &'static str)], scope| {
            access
                .admit(&headers(given), scope, &seen)
                .map(|name| name.to_string())
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
