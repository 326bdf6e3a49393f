//! Whether the API can do its work, and what is missing.

use std::time::Duration;

use axum::extract::FromRef;
use push_queue::{Broker, BrokerState};
use push_runtime::measures;
use push_runtime::probes::{Check, Readiness};
use push_runtime::shared_answer::SharedAnswer;
use push_runtime::telemetry::Metrics;
use push_store::Store;
use tokio_util::sync::CancellationToken;

use crate::schema::Schema;
use crate::state::AppState;

/// How often the metrics say how it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The process itself, which is there until it stops.
const PROCESS: &str = "process";

/// What readiness looks at. Cheap to clone; clones share what they found out.
#[derive(Clone)]
pub struct Health {
    schema: Schema,
    database: Store,
    broker: Broker,
    answered: SharedAnswer<Check>,
    stopping: CancellationToken,
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
            answered: SharedAnswer::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// From now on this process is not ready: it is about to close its doors.
    pub fn stopping(&self) {
        self.stopping.cancel();
        measures::ready(PROCESS, false);
    }

    /// Whether it is about to close its doors.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Whether we can do our work: the database decides; a broker that is away only delays.
    pub async fn readiness(&self) -> Readiness {
        let database = match self.schema.missing() {
            Some(why) => Check::Down(why),
            None => self.answered.or_ask(|| self.ask_database()).await,
        };
        let broker = self.broker.state();
        let broker = match broker {
            BrokerState::Connected => Check::Ok,
            BrokerState::Blocked { .. } | BrokerState::Disconnected { .. } => {
                Check::Degraded(broker.to_string())
            }
        };
        let mut checks = vec![("database", database), ("broker", broker)];
        if self.is_stopping() {
            let stopping = "is stopping; send requests elsewhere".to_owned();
            checks.push((PROCESS, Check::Down(stopping)));
        }
        Readiness { checks }
    }

    /// Tells of it in the metrics, until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let watch = async {
            loop {
                measures::ready(PROCESS, !self.is_stopping());
                for (name, check) in self.readiness().await.checks {
                    measures::ready(name, check == Check::Ok);
                }
                let pool = self.database.pool_state();
                measures::connections(pool.used, pool.idle, pool.max);
                tokio::time::sleep(TELL_EVERY).await;
            }
        };
        let _stopped = stop.run_until_cancelled(watch).await;
    }

    async fn ask_database(&self) -> Check {
        match self.database.ping().await {
            Ok(()) => Check::Ok,
            Err(error) => Check::Down(error.to_string()),
        }
    }
}
