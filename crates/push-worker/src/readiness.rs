//! Whether the worker can do its work: it needs the database, migrated, and the broker.

use std::time::Duration;

use push_core::provider::Provider;
use push_queue::BrokerState;
use push_runtime::measures;
use push_runtime::probes::{Check, Readiness};
use push_store::Store;
use tokio_util::sync::CancellationToken;

use crate::database::trouble;
use crate::metrics;
use crate::run::Worker;

/// How often the metrics say how it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What stands between the worker and its work.
pub async fn readiness(worker: &Worker) -> Readiness {
    Readiness {
        checks: vec![
            ("broker", broker(&worker.broker.state())),
            ("database", database(&worker.store).await),
        ],
    }
}

/// Tells of it in the metrics, and of what else stands between the worker and its work, until `stop`.
pub async fn watch(worker: &Worker, stop: &CancellationToken) {
    let watch = async {
        loop {
            for (name, check) in readiness(worker).await.checks {
                measures::ready(name, check == Check::Ok);
            }
            let pool = worker.store.pool_state();
            measures::connections(pool.used, pool.idle, pool.max);
            if let Some(fcm) = &worker.providers.fcm {
                metrics::credential(Provider::Fcm, &fcm.credential());
            }
            tokio::time::sleep(TELL_EVERY).await;
        }
    };
    let _stopped = stop.run_until_cancelled(watch).await;
}

/// How the broker stands.
pub fn broker(state: &BrokerState) -> Check {
    match state {
        BrokerState::Connected => Check::Ok,
        // Consuming goes on; what comes next waits for the reconciler.
        BrokerState::Blocked { .. } => Check::Degraded(state.to_string()),
        BrokerState::Disconnected { .. } => Check::Down(state.to_string()),
    }
}

/// How the database stands. With that it is said which key this worker seals with.
pub async fn database(store: &Store) -> Check {
    match store.migration_pending().await {
        // It answers, and yet work waits for it: a right that was taken away, a table that is gone.
        Ok(false) => match (trouble(), store.use_keys().await) {
            (Some(error), _) => Check::Down(format!("work waits: {error}")),
            (None, Err(error)) => Check::Down(error.to_string()),
            (None, Ok(_)) => Check::Ok,
        },
        Ok(true) => Check::Down("the schema is not migrated yet; push-api does that at its start, or run `push-api migrate`".to_owned()),
        Err(error) => Check::Down(error.to_string()),
    }
}
