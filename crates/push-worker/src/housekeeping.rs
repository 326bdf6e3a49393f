//! Deletes what nobody needs any more, and adds up what was counted. Any worker may do it; of the first, one at a time does.
//! In small batches, so that it is in nobody's way; and it can stop at any moment, because what is left is found again.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use push_core::notification::Ttl;
use push_store::{KEPT_FOR, Store, StoreError};

use crate::database::in_time;
use crate::metrics;
use crate::run::Worker;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Rows of one transaction.
const BATCH_MAX: u32 = 1_000;
/// Between two transactions: others want to write, too.
const BREATH: Duration = Duration::from_millis(100);
/// Clocks differ: a key that still counts by another's clock must be there.
const MARGIN: TimeDelta = TimeDelta::hours(1);
/// How often what was counted is added up: each reader of the figures reads what is not.
const ADD_UP_EVERY: Duration = Duration::from_secs(5);
/// Changes of so many transactions in one.
const ADD_UP_MAX: u32 = 500;
/// The lock that makes it one at a time.
const LEASE: &str = "push.housekeeping";

/// Keeps house until the worker is asked to stop.
pub async fn run(worker: &Worker) {
    let keeping = async {
        let mut complained = false;
        loop {
            match keep_house(worker).await {
                Ok(()) => complained = false,
                Err(error) => {
                    if error.needs_someone() && !complained {
                        tracing::error!(%error, "what is over cannot be deleted");
                    }
                    complained = true;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let both = async { tokio::join!(keeping, add_up(worker)) };
    let _stopped = worker.shutdown.soft.run_until_cancelled(both).await;
}

async fn add_up(worker: &Worker) {
    let mut complained = false;
    loop {
        match in_time(worker.store.fold_counters(ADD_UP_MAX)).await {
            Ok(folded) => {
                complained = false;
                if folded == u64::from(ADD_UP_MAX) {
                    continue;
                }
            }
            Err(error) => {
                if error.needs_someone() && !complained {
                    tracing::error!(%error, "what was counted cannot be added up");
                }
                complained = true;
            }
        }
        tokio::time::sleep(ADD_UP_EVERY).await;
    }
}

async fn keep_house(worker: &Worker) -> Result<(), StoreError> {
    let Some(lease) = worker.store.try_lease(LEASE).await? else {
        return Ok(());
    };
    let purged = purge_all(&worker.store).await;
    lease.release().await;
    purged
}

async fn purge_all(store: &Store) -> Result<(), StoreError> {
    let keys = Utc::now() - KEPT_FOR - MARGIN;
    purge("idempotency_keys", || {
        store.purge_idempotency_keys(keys, BATCH_MAX)
    })
    .await?;
    // What it took the place of cannot be sent any more.
    let heads = Utc::now() - TimeDelta::seconds(Ttl::SECONDS_MAX) - MARGIN;
    purge("collapse_heads", || {
        store.purge_collapse_heads(heads, BATCH_MAX)
    })
    .await?;
    metrics::ended(&in_time(store.erase_again(Utc::now())).await?);
    let waits = Utc::now() - TimeDelta::days(1);
    purge("quiet_hours_waits", || {
        store.purge_quiet_hours_waits(waits, BATCH_MAX)
    })
    .await?;
    // A full budget needs no row. Those that are asked for often keep theirs.
    let full = Utc::now() - MARGIN;
    purge("customer_rate_limits", || {
        store.purge_full_budgets(full, BATCH_MAX)
    })
    .await
}

/// Purges until nothing is over any more.
async fn purge<F>(table: &'static str, some: impl Fn() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    loop {
        let purged = in_time(some()).await?;
        metrics::purged(table, purged);
        if purged < u64::from(BATCH_MAX) {
            return Ok(());
        }
        tokio::time::sleep(BREATH).await;
    }
}
