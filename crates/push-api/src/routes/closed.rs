//! Routes that need a caller. Who may come in is said once, by the type of the handler: the document says so after it.

use axum::handler::Handler;
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::caller::{ADMINS, CUSTOMERS, Caller, Needed};
use crate::keys::Scope;
use crate::router::operations;
use crate::state::AppState;

/// The arguments of a handler that nobody reaches without a caller's credentials.
pub trait Closed {
    /// What the caller must be allowed to do.
    const SCOPE: Scope;
}

/// For handlers with these arguments after the caller.
macro_rules! closed_with {
    ($($more:ident),*) => {
        impl<M, N: Needed, $($more),*> Closed for (M, Caller<N>, $($more),*) {
            const SCOPE: Scope = N::SCOPE;
        }
    };
}

closed_with!();
closed_with!(A);
closed_with!(A, B);
closed_with!(A, B, C);
closed_with!(A, B, C, D);
closed_with!(A, B, C, D, E);
closed_with!(A, B, C, D, E, F);
closed_with!(A, B, C, D, E, F, G);

/// The route of a handler whose first argument is a [`Caller`].
macro_rules! closed {
    ($($handler:tt)+) => {
        $crate::routes::closed::by_caller(utoipa_axum::routes!($($handler)+), $($handler)+)
    };
}
pub(super) use closed;

/// Has the document say who may call. The handler is there for its type.
pub(super) fn by_caller<H, T>(
    (schemas, mut paths, router): UtoipaMethodRouter<AppState>,
    _handler: H,
) -> UtoipaMethodRouter<AppState>
where
    H: Handler<T, AppState>,
    T: Closed,
{
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(who_may(T::SCOPE));
    }
    (schemas, paths, router)
}

/// An API key in either header, with the scope; and the tokens that have it.
fn who_may(scope: Scope) -> Vec<SecurityRequirement> {
    let nothing_more: [&str; 0] = [];
    let mut who = vec![
        SecurityRequirement::new("bearer", [scope.as_str()]),
        SecurityRequirement::new("apiKey", [scope.as_str()]),
    ];
    for (token, scopes) in [("customerToken", CUSTOMERS), ("adminToken", ADMINS)] {
        if scopes.contains(scope) {
            who.push(SecurityRequirement::new(token, nothing_more));
        }
    }
    who
}
