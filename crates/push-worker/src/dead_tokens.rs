//! Tokens that a provider has just reported as dead: from this moment on nothing is sent to them (P5).
//!
//! The record of a round switches its dead tokens off, but a round ends only with its slowest target. So they
//! are switched off in the database at once as well, and all workers are told. This worker remembers them by itself
//! for as long as it has rounds in hand whose devices were read before that was committed: it knows which token it is,
//! so that the customer's others need no second look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use push_core::token::Token;
use push_store::DeadToken;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::changes;
use crate::database::{NoResult, until_available};
use crate::run::Worker;

/// How long to wait after the database refused to switch tokens off.
const PAUSE: Duration = Duration::from_secs(10);

/// Dead tokens that some round in hand may still take for alive. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct DeadTokens(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    dead: Mutex<HashMap<Token, Death>>,
    more: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    /// When the provider said so.
    at: DateTime<Utc>,
    /// From then on whoever reads the devices knows.
    switched_off: Option<Instant>,
}

impl DeadTokens {
    /// A provider says so.
    pub fn report(&self, token: &Token, at: DateTime<Utc>) {
        let death = Death {
            at,
            switched_off: None,
        };
        self.dead().insert(token.clone(), death);
        self.0.more.notify_one();
    }

    /// Whether nothing is to be sent there by whoever read the devices at `read`.
    pub fn contains(&self, token: &Token, read: Instant) -> bool {
        let dead = self.dead();
        let Some(death) = dead.get(token) else {
            return false;
        };
        death.switched_off.is_none_or(|off| read < off)
    }

    /// Switches off what is reported, until `stop`.
    pub async fn switch_off(&self, worker: &Worker, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.more.notified() => {}
            }
            let reported = self.reported();
            let dead = reported.as_slice();
            match until_available(stop, move || worker.store.switch_off(dead)).await {
                Ok(owners) => {
                    self.switched_off(dead, Instant::now());
                    changes::switched_off(worker, &owners);
                }
                Err(NoResult::Stopped) => return,
                Err(NoResult::Failed(error)) => {
                    tracing::error!(%error, tokens = dead.len(), "dead tokens could not be switched off; again soon, and nothing is sent to them from here");
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    self.0.more.notify_one();
                }
            }
        }
    }

    /// No round in hand has read its devices before `oldest`: what was switched off until then is known to all.
    pub fn forget_before(&self, oldest: Instant) {
        self.dead()
            .retain(|_, death| death.switched_off.is_none_or(|off| off > oldest));
    }

    /// Those that are not switched off yet.
    pub(crate) fn reported(&self) -> Vec<DeadToken> {
        let dead = self.dead();
        let reported = dead
            .iter()
            .filter(|(_, death)| death.switched_off.is_none());
        let reported = reported.map(|(token, death)| DeadToken {
            token: token.clone(),
            at: death.at,
        });
        reported.collect()
    }

    /// What was reported again meanwhile waits for the next time.
    pub(crate) fn switched_off(&self, tokens: &[DeadToken], now: Instant) {
        let mut dead = self.dead();
        for token in tokens {
            if let Some(death) = dead.get_mut(&token.token)
                && death.at == token.at
            {
                death.switched_off = Some(now);
            }
        }
    }

    fn dead(&self) -> MutexGuard<'_, HashMap<Token, Death>> {
        self.0.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
