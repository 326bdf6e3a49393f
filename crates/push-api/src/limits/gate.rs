//! Requests a key and an address: counted before anything is done for them.
//!
//! A request with a valid API key counts for the key, every other one for the address it comes from: whoever tries
//! credentials, and customers' phones. Probes are not counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Once};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse as _, Response};
use push_core::rate::{Rate, Taken};

use super::address::{Peer, Proxies, counted_as};
use super::budgets::Budgets;
use super::policy::{Exhausted, Limit, Standing};
use crate::caller::Keyed;
use crate::console::session;
use crate::docs;
use crate::error::ApiError;
use crate::metrics;
use crate::state::AppState;

/// Addresses that are remembered at a time: some megabytes.
const ADDRESSES_MAX: usize = 100_000;
/// Keys that are remembered at a time: more than anybody configures.
const KEYS_MAX: usize = 10_000;
/// What a path and its query may be long: ten times the longest that we read.
const URI_BYTES_MAX: usize = 8 * 1024;
/// What is asked every few seconds by those who look after us.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// How many requests are let through. `None`: any number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRates {
    /// With one API key.
    pub key: Option<Rate>,
    /// From one address, without a key.
    pub address: Option<Rate>,
    /// Who is believed what they say of addresses.
    pub proxies: Proxies,
}

/// Counts requests.
#[derive(Debug)]
pub struct Gate {
    keys: Option<Budgets<Arc<str>>>,
    addresses: Option<Budgets<IpAddr>>,
    proxies: Proxies,
    /// Whether it was told that nobody believes a proxy.
    proxy_told: Once,
}

impl Gate {
    /// With full budgets.
    #[must_use]
    pub fn new(rates: &RequestRates) -> Self {
        Self {
            keys: rates.key.map(|rate| Budgets::new(rate, KEYS_MAX)),
            addresses: rates.address.map(|rate| Budgets::new(rate, ADDRESSES_MAX)),
            proxies: rates.proxies.clone(),
            proxy_told: Once::new(),
        }
    }

    /// How the budget stands that the request is taken from, if there is one.
    ///
    /// # Errors
    /// [`Exhausted`] when there is nothing left of it.
    fn count(
        &self,
        key: Option<Arc<str>>,
        request: &Request,
    ) -> Result<Option<Standing>, Exhausted> {
        if let Some(key) = key {
            let keys = self.keys.as_ref();
            return keys.map(|keys| take(Limit::Key, keys, key)).transpose();
        }
        let take_from = |addresses| {
            let peer = request.extensions().get::<Peer>();
            let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
            let caller = self.proxies.caller(peer, request.headers());
            if self.proxies.are_missing(peer, request.headers()) {
                self.proxy_told.call_once(|| {
                    tracing::warn!(%peer, "a proxy before us says who asks, and is not believed: all its callers share one budget; if it is ours, name it in TRUSTED_PROXIES");
                });
            }
            take(Limit::Address, addresses, counted_as(caller))
        };
        self.addresses.as_ref().map(take_from).transpose()
    }
}

fn take<K: std::hash::Hash + Eq>(
    limit: Limit,
    budgets: &Budgets<K>,
    key: K,
) -> Result<Standing, Exhausted> {
    let rate = budgets.rate();
    match budgets.take(key) {
        Taken::FullIn(full_in) => Ok(Standing {
            limit,
            rate,
            full_in,
        }),
        Taken::NotFor(after) => Err(Exhausted::new(limit, rate, after)),
    }
}

/// Counts a request and lets `answer` answer it, unless there are too many.
pub async fn pass<F>(
    state: &AppState,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let matched = request.extensions().get::<MatchedPath>();
    let is_free = |path: &str| PROBES.contains(&path) || docs::has(path);
    if matched.is_some_and(|matched| is_free(matched.as_str())) {
        return answer(request).await;
    }
    let mut keyed = state.access.keyed(request.headers());
    let key = keyed.as_ref().map(Keyed::name);
    let standing = match state.gate.count(key, &request) {
        Ok(standing) => standing,
        Err(exhausted) => {
            metrics::rate_limited(exhausted.standing.limit, 1);
            return ApiError::RateLimited(exhausted).into_response();
        }
    };
    // The database is asked for a session, so its requests count for their address: whoever tries some is bounded.
    if keyed.is_none() && session::is_brought(state, request.headers()) {
        keyed = match Box::pin(session::keyed(state, request.headers())).await {
            Ok(keyed) => keyed,
            Err(error) => return error.into_response(),
        };
    }
    if let Some(keyed) = keyed {
        request.extensions_mut().insert(keyed);
    }
    let path = request.uri().path_and_query();
    let mut response = if path.is_some_and(|path| path.as_str().len() > URI_BYTES_MAX) {
        ApiError::UriTooLong {
            bytes_max: URI_BYTES_MAX,
        }
        .into_response()
    } else {
        answer(request).await
    };
    // Where a customer's budget is used up, that is what is told.
    if let Some(standing) = standing
        && !response.headers().contains_key("ratelimit")
    {
        standing.tell(response.headers_mut());
    }
    response
}
