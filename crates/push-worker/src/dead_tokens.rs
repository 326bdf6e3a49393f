//! Tokens that a provider has just reported as dead: from this moment on nothing is sent to them (P5).
//!
//! The record of a round switches its dead tokens off, but a round ends only with its slowest target. So they
//! are switched off in the database at once as well, for all workers; until that is committed, this worker
//! remembers them by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use push_core::token::Token;
use push_store::{DeadToken, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::database::{NoResult, until_available};

/// Tokens whose death is not committed yet, and when it was reported. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct DeadTokens(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    dead: Mutex<HashMap<Token, DateTime<Utc>>>,
    more: Notify,
}

impl DeadTokens {
    /// A provider says so.
    pub fn report(&self, token: &Token, at: DateTime<Utc>) {
        self.dead().insert(token.clone(), at);
        self.0.more.notify_one();
    }

    /// Whether nothing is to be sent there.
    pub fn contains(&self, token: &Token) -> bool {
        self.dead().contains_key(token)
    }

    /// Switches off what is reported, until `stop`.
    pub async fn switch_off(&self, store: &Store, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.more.notified() => {}
            }
            let reported = self.reported();
            let dead = reported.as_slice();
            let switched_off = until_available(stop, move || store.switch_off(dead)).await;
            if let Err(NoResult::Failed(error)) = &switched_off {
                tracing::error!(%error, tokens = dead.len(), "dead tokens could not be switched off; the records of their rounds will try again");
            }
            self.forget(dead);
        }
    }

    /// What was reported again meanwhile stays.
    fn forget(&self, switched_off: &[DeadToken]) {
        let mut dead = self.dead();
        for token in switched_off {
            if dead.get(&token.token) == Some(&token.at) {
                dead.remove(&token.token);
            }
        }
    }

    fn reported(&self) -> Vec<DeadToken> {
        let dead = self.dead();
        let all = dead.iter().map(|(token, at)| DeadToken {
            token: token.clone(),
            at: *at,
        });
        all.collect()
    }

    fn dead(&self) -> MutexGuard<'_, HashMap<Token, DateTime<Utc>>> {
        self.0.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
