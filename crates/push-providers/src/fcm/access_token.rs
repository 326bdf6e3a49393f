//! Access tokens: one for all, fetched ahead of need.
//!
//! One fetch for all who wait, with a time limit; the old token while the new one is on its way; none
//! that FCM refuses.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use push_core::outcome::Outcome;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::error::{CheckError, SetupError};
use crate::fcm::FcmSettings;
use crate::fcm::classify::access_token_refused;
use crate::fcm::service_account::{Fetched, ServiceAccount};
use crate::transport::Failure;

/// How long a fetch may take, with its tries.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// A token is renewed when this is left of it, while it still serves.
const RENEW_AHEAD: TimeDelta = TimeDelta::minutes(5);
/// With this left, a token is used no more: it has to outlive the request.
const LAST_USE: TimeDelta = TimeDelta::seconds(20);
/// After a failed fetch all get that answer for so long, instead of a fetch each.
const PAUSE_WITHOUT_TOKEN: Duration = Duration::from_secs(1);
/// The same while the old token still serves: nobody is waiting.
const PAUSE_WITH_TOKEN: Duration = Duration::from_secs(10);
/// The same where Google refuses the account, or two tokens one after the other: someone must act,
/// and until then each fetch is a request for nothing.
const PAUSE_REFUSED: Duration = Duration::from_secs(30);

/// Why there is no access token. Nothing was sent in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No answer, or none that makes sense: may pass by itself.
    Unreachable(Failure),
    /// The account is refused: an operator must act.
    Refused(push_core::outcome::Cause),
}

impl Trouble {
    pub(crate) fn unreachable(code: &str, text: &str) -> Self {
        Self::Unreachable(Failure::not_sent(code, text))
    }
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(failure) => failure.into(),
            Trouble::Refused(cause) => Self::operator_must_act(cause),
        }
    }
}

impl From<Trouble> for CheckError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(Failure { cause, .. }) => Self::Unreachable {
                code: cause.code,
                text: cause.text,
            },
            Trouble::Refused(cause) => Self::Refused {
                code: cause.code,
                text: cause.text,
            },
        }
    }
}

/// An access token in use.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    token: SecretString,
    expires_at: DateTime<Utc>,
    fetched_at: DateTime<Utc>,
    generation: u64,
}

impl AccessToken {
    pub(crate) fn reveal(&self) -> &str {
        self.token.expose_secret()
    }

    /// Whether more than `margin` is left at `now`; of a short-lived token, more than a fifth.
    fn lasts(&self, margin: TimeDelta, now: DateTime<Utc>) -> bool {
        self.expires_at - now > margin.min((self.expires_at - self.fetched_at) / 5)
    }
}

/// How access to a provider stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Until when the access token in use serves; `None` while there is none.
    pub expires_at: Option<DateTime<Utc>>,
    /// How often a new one was given,
    pub granted: u64,
    /// how often nobody answered in a way that makes sense,
    pub unreachable: u64,
    /// and how often the account was refused.
    pub refused: u64,
}

type Fetch = Shared<BoxFuture<'static, Result<AccessToken, Trouble>>>;

#[derive(Debug, Default)]
struct State {
    held: Option<AccessToken>,
    fetch: Option<Fetch>,
    failed: Option<(Instant, Trouble)>,
    generation: u64,
    /// Tokens that FCM refused, one after the other.
    refused: u32,
    /// What came of the fetches.
    fetches: Credential,
}

/// The access tokens of one service account.
#[derive(Debug)]
pub(crate) struct AccessTokens {
    account: Arc<ServiceAccount>,
    state: Arc<Mutex<State>>,
}

impl AccessTokens {
    pub(crate) fn new(settings: &FcmSettings) -> Result<Self, SetupError> {
        Ok(Self {
            account: Arc::new(ServiceAccount::new(settings)?),
            state: Arc::default(),
        })
    }

    /// A token that serves now; waits for one only when there is none.
    pub(crate) async fn get(&self) -> Result<AccessToken, Trouble> {
        let fetch = {
            let mut state = lock(&self.state);
            let now = Utc::now();
            let serving = state.held.clone().filter(|held| held.lasts(LAST_USE, now));
            if let Some(serving) = serving.as_ref().filter(|held| held.lasts(RENEW_AHEAD, now)) {
                return Ok(serving.clone());
            }
            if let Some(trouble) = state.trouble(serving.is_some()) {
                return serving.ok_or(trouble);
            }
            let fetch = state
                .fetch
                .get_or_insert_with(|| self.start_fetch())
                .clone();
            if let Some(serving) = serving {
                return Ok(serving);
            }
            fetch
        };
        fetch.await
    }

    /// FCM refused this token: nobody gets it any more. Told by many about one token, acts once. If
    /// the one before was refused as well, no other is fetched for a while.
    pub(crate) fn refused(&self, token: &AccessToken) {
        let mut state = lock(&self.state);
        if state
            .held
            .as_ref()
            .is_some_and(|held| held.generation == token.generation)
        {
            state.held = None;
            state.refused = state.refused.saturating_add(1);
            state.failed = (state.refused > 1)
                .then(|| (Instant::now(), Trouble::Refused(access_token_refused())));
        }
    }

    /// How it stands.
    pub(crate) fn credential(&self) -> Credential {
        let state = lock(&self.state);
        Credential {
            expires_at: state.held.as_ref().map(|held| held.expires_at),
            ..state.fetches
        }
    }

    /// FCM took a token.
    pub(crate) fn accepted(&self) {
        lock(&self.state).refused = 0;
    }

    /// Runs on its own: whoever gives up waiting takes it from no one else.
    fn start_fetch(&self) -> Fetch {
        let (account, state) = (Arc::clone(&self.account), Arc::clone(&self.state));
        let fetch = async move {
            let fetched = tokio::time::timeout(
                FETCH_LIMIT,
                AssertUnwindSafe(account.fetch()).catch_unwind(),
            )
            .await;
            let fetched = match fetched {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_panic)) => Err(Trouble::unreachable(
                    "token_fetch_failed",
                    "Fetching an access token failed.",
                )),
                Err(_elapsed) => Err(Trouble::unreachable(
                    "token_timeout",
                    "No access token came in time.",
                )),
            };
            lock(&state).finish(fetched)
        };
        let lost = || {
            Err(Trouble::unreachable(
                "token_fetch_stopped",
                "The runtime is stopping.",
            ))
        };
        tokio::spawn(fetch)
            .map(move |joined| joined.unwrap_or_else(|_| lost()))
            .boxed()
            .shared()
    }
}

impl State {
    /// Why nothing is fetched at the moment.
    fn trouble(&self, token_serves: bool) -> Option<Trouble> {
        let (at, trouble) = self.failed.as_ref()?;
        let pause = match trouble {
            Trouble::Refused(_) => PAUSE_REFUSED,
            Trouble::Unreachable(_) if token_serves => PAUSE_WITH_TOKEN,
            Trouble::Unreachable(_) => PAUSE_WITHOUT_TOKEN,
        };
        (at.elapsed() < pause).then(|| trouble.clone())
    }

    fn finish(&mut self, fetched: Result<Fetched, Trouble>) -> Result<AccessToken, Trouble> {
        self.fetch = None;
        match fetched {
            Ok(Fetched { token, expires_at }) => {
                self.generation += 1;
                self.fetches.granted += 1;
                let token = AccessToken {
                    token,
                    expires_at,
                    fetched_at: Utc::now(),
                    generation: self.generation,
                };
                self.held = Some(token.clone());
                self.failed = None;
                Ok(token)
            }
            Err(trouble) => {
                // While the old token serves, no outcome tells of it.
                let (Trouble::Unreachable(Failure { cause, .. }) | Trouble::Refused(cause)) =
                    &trouble;
                tracing::warn!(
                    provider = "fcm",
                    cause = cause.code,
                    "no new access token: {}",
                    cause.text
                );
                match trouble {
                    Trouble::Unreachable(_) => self.fetches.unreachable += 1,
                    Trouble::Refused(_) => self.fetches.refused += 1,
                }
                self.failed = Some((Instant::now(), trouble.clone()));
                Err(trouble)
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Look;
    use crate::tests::server::{Reply, Server};

    fn tokens(token_uri: &str) -> AccessTokens {
        let _ = rustls::crypto::ring::default_provider().install_default();
        AccessTokens::new(&FcmSettings {
            project_id: "p".to_owned(),
            client_email: "x@p.iam.gserviceaccount.com".to_owned(),
            private_key: include_str!("../../tests/it/data/throwaway_key.pem").into(),
            token_uri: token_uri.to_owned(),
            base_url: "http://unused".to_owned(),
            max_in_flight: 1,
            request_timeout: Duration::from_secs(30),
            look: Look::default(),
        })
        .unwrap()
    }

    fn held(seconds_left: i64) -> AccessToken {
        AccessToken {
            token: "old".into(),
            expires_at: Utc::now() + TimeDelta::seconds(seconds_left),
            fetched_at: Utc::now() - TimeDelta::hours(1),
            generation: 0,
        }
    }

    #[tokio::test]
    async fn the_old_one_serves_until_the_new_one_is_there() {
        let endpoint = Server::start(|_| {
            Reply::json(200, &json!({"access_token": "new", "expires_in": 3599}))
        })
        .await;
        let tokens = tokens(&endpoint.url);
        lock(&tokens.state).held = Some(held(200));
        assert_eq!(tokens.get().await.unwrap().reveal(), "old", "nobody waits");
        let fetch = lock(&tokens.state).fetch.clone().unwrap();
        assert_eq!(fetch.await.unwrap().reveal(), "new");
        assert_eq!(tokens.get().await.unwrap().reveal(), "new");
        assert_eq!(endpoint.seen().len(), 1);
    }

    #[tokio::test]
    async fn the_old_one_serves_through_an_outage_of_the_endpoint() {
        let endpoint = Server::start(|_| Reply::json(503, &json!({}))).await;
        let tokens = tokens(&endpoint.url);
        lock(&tokens.state).held = Some(held(200));
        assert_eq!(tokens.get().await.unwrap().reveal(), "old");
        let fetch = lock(&tokens.state).fetch.clone().unwrap();
        assert!(fetch.await.is_err());
        assert_eq!(tokens.get().await.unwrap().reveal(), "old");
        assert!(
            lock(&tokens.state).fetch.is_none(),
            "and the endpoint is left alone for a while"
        );
    }

    #[tokio::test]
    async fn one_that_is_about_to_expire_serves_no_more() {
        let endpoint = Server::start(|_| {
            Reply::json(200, &json!({"access_token": "new", "expires_in": 3599}))
        })
        .await;
        let tokens = tokens(&endpoint.url);
        lock(&tokens.state).held = Some(held(15));
        assert_eq!(tokens.get().await.unwrap().reveal(), "new");
    }

    #[tokio::test]
    async fn a_late_complaint_about_an_older_one_spares_the_new_one() {
        let endpoint = Server::start(|_| {
            Reply::json(200, &json!({"access_token": "new", "expires_in": 3599}))
        })
        .await;
        let tokens = tokens(&endpoint.url);
        let old = held(3_000);
        lock(&tokens.state).held = Some(old.clone());
        tokens.refused(&old);
        assert_eq!(tokens.get().await.unwrap().reveal(), "new");
        tokens.refused(&old);
        assert_eq!(tokens.get().await.unwrap().reveal(), "new");
        assert_eq!(endpoint.seen().len(), 1);
    }

    /// Makes so much time pass for the pauses, and none on the wire.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn when_two_in_a_row_are_refused_no_other_is_fetched_for_a_while() {
        let endpoint = Server::start(|_| {
            Reply::json(200, &json!({"access_token": "new", "expires_in": 3599}))
        })
        .await;
        let tokens = tokens(&endpoint.url);
        for fetched in [1, 2] {
            let token = tokens.get().await.unwrap();
            tokens.refused(&token);
            assert_eq!(endpoint.seen().len(), fetched);
        }
        let refused = Outcome::from(tokens.get().await.unwrap_err());
        assert_eq!(refused, Outcome::operator_must_act(access_token_refused()));
        assert_eq!(endpoint.seen().len(), 2);
        // One more each time, as long as none is taken.
        for fetched in [3, 4] {
            pass(PAUSE_REFUSED).await;
            let token = tokens.get().await.unwrap();
            tokens.refused(&token);
            assert!(tokens.get().await.is_err());
            assert_eq!(endpoint.seen().len(), fetched);
        }
        pass(PAUSE_REFUSED).await;
        let token = tokens.get().await.unwrap();
        tokens.accepted();
        tokens.refused(&token);
        assert!(tokens.get().await.is_ok(), "the next one is worth a try");
        assert_eq!(endpoint.seen().len(), 6);
    }

    #[tokio::test]
    async fn an_account_that_is_refused_is_asked_for_again_after_a_while() {
        let endpoint =
            Server::start(|_| Reply::json(400, &json!({"error": "invalid_grant"}))).await;
        let tokens = tokens(&endpoint.url);
        assert!(matches!(tokens.get().await, Err(Trouble::Refused(_))));
        let asked = endpoint.seen().len();
        pass(PAUSE_REFUSED - Duration::from_secs(1)).await;
        assert!(matches!(tokens.get().await, Err(Trouble::Refused(_))));
        assert_eq!(endpoint.seen().len(), asked);
        pass(Duration::from_secs(1)).await;
        assert!(matches!(tokens.get().await, Err(Trouble::Refused(_))));
        assert_eq!(endpoint.seen().len(), 2 * asked);
    }

    #[tokio::test]
    async fn what_came_of_the_fetches_is_told_and_a_refused_token_is_none() {
        let answers = |asked: usize| match asked {
            0 => Reply::json(200, &json!({"access_token": "new", "expires_in": 3599})),
            _ => Reply::json(400, &json!({"error": "invalid_grant"})),
        };
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let endpoint = Server::start(move |_| {
            answers(asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        })
        .await;
        let tokens = tokens(&endpoint.url);
        assert_eq!(tokens.credential(), Credential::default());
        let token = tokens.get().await.unwrap();
        let credential = tokens.credential();
        assert_eq!(credential.expires_at, Some(token.expires_at));
        assert_eq!((credential.granted, credential.refused), (1, 0));
        tokens.refused(&token);
        assert!(tokens.get().await.is_err());
        let told = tokens.credential();
        assert_eq!((told.expires_at, told.granted, told.refused), (None, 1, 1));
    }

    #[test]
    fn a_token_that_lives_for_seconds_only_is_not_renewed_all_the_time() {
        let now = Utc::now();
        let mut short = held(10);
        short.fetched_at = now;
        assert!(short.lasts(RENEW_AHEAD, now));
        assert!(!short.lasts(RENEW_AHEAD, now + TimeDelta::seconds(9)));
    }
}
