//! Brings what is sealed with another key, or not at all, under the key that seals now. Any worker may do it, one at a time
//! does; in small steps, so that it is in nobody's way; and it can stop at any moment, because how far it is is kept.

use std::time::Duration;

use chrono::TimeDelta;
use push_store::{Resealed, StoreError};

use crate::database::{NoResult, in_time, until_available};
use crate::metrics;
use crate::run::Worker;

/// How often a worker says which key it seals with, and looks whether there is anything to do.
const EVERY: Duration = Duration::from_secs(30);
/// Whoever has not said for so long that it seals with another key does not do it any more.
const QUIET: TimeDelta = TimeDelta::minutes(2);
/// Rows that a step looks at.
const ROWS_MAX: u32 = 500;
/// Between two steps: others want to write, too.
const BREATH: Duration = Duration::from_millis(100);
/// The lock that makes it one at a time.
const LEASE: &str = "push.reseal";

/// Looks until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let looking = async {
        let mut complained = false;
        loop {
            match look(worker).await {
                Ok(()) => complained = false,
                Err(error) => {
                    if error.needs_someone() && !complained {
                        tracing::error!(%error, "what is sealed cannot be brought under the key that seals now");
                    }
                    complained = true;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let _stopped: Option<()> = worker.shutdown.soft.run_until_cancelled(looking).await;
}

async fn look(worker: &Worker) -> Result<(), StoreError> {
    // While this program lacks a key it waits, and with it whoever takes messages.
    let stop = &worker.shutdown.soft;
    let used = match until_available(stop, || worker.store.use_keys()).await {
        Ok(used) => used,
        Err(NoResult::Stopped) => return Ok(()),
        Err(NoResult::Failed(error)) => return Err(error),
    };
    let used: Vec<_> = used.iter().map(|used| used.key).collect();
    metrics::keys_in_use(worker.store.keys(), &used);
    if used.len() < 2 {
        return Ok(());
    }
    let Some(lease) = worker.store.try_lease(LEASE).await? else {
        return Ok(());
    };
    let done = bring_all(worker).await;
    lease.release().await;
    let used = in_time(worker.store.keys_in_use()).await?;
    let used: Vec<_> = used.iter().map(|used| used.key).collect();
    metrics::keys_in_use(worker.store.keys(), &used);
    done
}

async fn bring_all(worker: &Worker) -> Result<(), StoreError> {
    let mut brought = 0;
    loop {
        match in_time(worker.store.reseal(ROWS_MAX, QUIET)).await? {
            Resealed::Rows(rows) => {
                metrics::resealed(rows);
                brought += rows;
                tokio::time::sleep(BREATH).await;
            }
            Resealed::Waiting => return Ok(()),
            Resealed::Nothing => {
                tracing::info!(
                    rows = brought,
                    "all that is kept is under the key that seals now"
                );
                return Ok(());
            }
        }
    }
}
