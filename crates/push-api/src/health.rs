//! Whether the API can do its work, and what is missing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use push_queue::{Broker, BrokerState};
use push_runtime::probes::{Check, Readiness};
use push_runtime::telemetry::Metrics;
use push_store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::schema::Schema;
use crate::state::AppState;

/// How long an answer of the database serves everybody who asks. Shorter than any prober's interval.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What readiness looks at. Cheap to clone; clones share what they found out.
#[derive(Clone)]
pub struct Health {
    schema: Schema,
    database: Store,
    broker: Broker,
    answered: Shared,
}

/// What the probes tell of. Holds nothing that keeps a stopping process busy.
#[derive(Clone)]
pub struct Probes {
    /// What readiness looks at.
    pub(crate) health: Health,
    /// What `/metrics` tells, where it is served.
    pub(crate) metrics: Option<Metrics>,
}

impl FromRef<AppState> for Probes {
    fn from_ref(state: &AppState) -> Self {
        Self {
            health: state.health.clone(),
            metrics: state.metrics.clone(),
        }
    }
}

impl Health {
    /// Looks at these.
    #[must_use]
    pub fn new(schema: Schema, database: Store, broker: Broker) -> Self {
        Self {
            schema,
            database,
            broker,
            answered: Shared::default(),
        }
    }

    /// Whether we can do our work: the database decides; a broker that is away only delays.
    pub async fn readiness(&self) -> Readiness {
        let database = match self.schema.missing() {
            Some(why) => Check::Down(why),
            None => self.answered.or_ask(|| self.ask_database()).await,
        };
        let broker = match self.broker.state() {
            BrokerState::Connected => Check::Ok,
            BrokerState::Blocked { reason } => {
                Check::Degraded(format!("takes no messages: {reason}"))
            }
            BrokerState::Disconnected { reason } => Check::Degraded(reason),
        };
        Readiness {
            checks: vec![("database", database), ("broker", broker)],
        }
    }

    async fn ask_database(&self) -> Check {
        match self.database.ping().await {
            Ok(()) => Check::Ok,
            Err(error) => Check::Down(error.to_string()),
        }
    }
}

/// One question at a time, whose answer serves everybody who asks meanwhile or soon after: anybody may
/// ask for readiness, and each question to the database is a connection of its own.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<(Instant, Check)>>>);

impl Shared {
    async fn or_ask<F>(&self, ask: impl FnOnce() -> F) -> Check
    where
        F: Future<Output = Check>,
    {
        // Whoever hangs up while asking lets the next one ask.
        let mut last = self.0.lock().await;
        match &*last {
            Some((at, check)) if at.elapsed() < FRESH_FOR => check.clone(),
            Some(_) | None => {
                let check = ask().await;
                *last = Some((Instant::now(), check.clone()));
                check
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_number_of_askers_is_one_question_a_second() {
        let (shared, asked) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
        for questions in 1..=2 {
            let mut askers = JoinSet::new();
            for _ in 0..600 {
                let (shared, asked) = (shared.clone(), Arc::clone(&asked));
                askers.spawn(async move {
                    let question = async || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(2)).await;
                        Check::Ok
                    };
                    shared.or_ask(question).await
                });
            }
            assert_eq!(askers.join_all().await, vec![Check::Ok; 600]);
            assert_eq!(asked.load(Ordering::Relaxed), questions);
            tokio::time::sleep(FRESH_FOR).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_while_asking_keeps_nobody_waiting() {
        let shared = Shared::default();
        let never = shared.or_ask(std::future::pending);
        let given_up = tokio::time::timeout(Duration::from_secs(1), never).await;
        assert!(given_up.is_err());
        let answer = shared.or_ask(async || Check::Down("away".to_owned())).await;
        assert_eq!(answer, Check::Down("away".to_owned()));
    }
}
