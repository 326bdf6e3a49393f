//! Whether the worker can do its work: it needs the database, migrated, and the broker.

use push_queue::BrokerState;
use push_runtime::probes::{Check, Readiness};
use push_store::Store;

use crate::database::trouble;
use crate::run::Worker;

/// What stands between the worker and its work.
pub async fn readiness(worker: &Worker) -> Readiness {
    Readiness {
        checks: vec![
            ("broker", broker(&worker.broker.state())),
            ("database", database(&worker.store).await),
        ],
    }
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
