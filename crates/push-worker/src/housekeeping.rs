//! Deletes what nobody needs any more, empties content that is too old, and adds up what was counted. Any worker may do it; of the first, one at a time does.
//! In small batches, so that it is in nobody's way; and it can stop at any moment, because what is left is found again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::notification::Ttl;
use push_store::{Again, Aging, KEPT_FOR, Store, StoreError};
use tokio::time::Instant;

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
/// How long content is emptied in one go, of each table: then it is another worker's turn, if it likes.
const EMPTYING_MAX: Duration = Duration::from_secs(20);
/// Rows that are emptied in one transaction at most.
const EMPTIED_AT_ONCE: u32 = 500;
/// Bookings and erasures are known for so long at least, however short content is kept: an event may be repeated, and a job
/// that was accepted before its customer was erased may wait for its time, and be alive from then on.
const KNOWN_FOR: TimeDelta = TimeDelta::days(60);
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
        // Who keeps house now tells how far behind it is. An old figure of this one would stand for ever.
        Aging::ALL
            .iter()
            .for_each(|what| metrics::emptied_elsewhere(what.table()));
        return Ok(());
    };
    let purged = purge_all(&worker.store, worker.retention).await;
    let erased = erase_again(&worker.store).await;
    let emptied = empty_old(&worker.store, worker.retention).await;
    lease.release().await;
    purged.and(erased).and(emptied)
}

/// Content that is older than it is kept.
async fn empty_old(store: &Store, kept_for: TimeDelta) -> Result<(), StoreError> {
    let before = ago(kept_for);
    let mut emptied = Ok(());
    for what in Aging::ALL {
        emptied = emptied.and(empty_table(store, what, before).await);
    }
    emptied
}

async fn empty_table(store: &Store, what: Aging, before: DateTime<Utc>) -> Result<(), StoreError> {
    let until = Instant::now() + EMPTYING_MAX;
    loop {
        let emptied = in_time(store.empty_old(what, before, EMPTIED_AT_ONCE)).await?;
        metrics::emptied(what.table(), &emptied);
        if !emptied.more || Instant::now() > until {
            return Ok(());
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// What was being accepted when its customer was erased.
async fn erase_again(store: &Store) -> Result<(), StoreError> {
    let mut erased = Ok(());
    for mut again in in_time(store.to_look_at_again(Utc::now())).await? {
        erased = erased.and(erase_one_again(store, &mut again).await);
    }
    erased
}

async fn erase_one_again(store: &Store, again: &mut Again) -> Result<(), StoreError> {
    while let Some(ended) = in_time(store.erase_again(again, Utc::now())).await? {
        ended.into_iter().for_each(metrics::ended);
    }
    Ok(())
}

/// So long ago, as far as the database can tell.
pub fn ago(time: TimeDelta) -> DateTime<Utc> {
    let beginning = DateTime::UNIX_EPOCH + TimeDelta::seconds(1);
    (Utc::now() - time).max(beginning)
}

/// Of each table, whatever became of the others.
async fn purge_all(store: &Store, kept_for: TimeDelta) -> Result<(), StoreError> {
    let keys = Utc::now() - KEPT_FOR - MARGIN;
    // What it took the place of cannot be sent any more.
    let heads = Utc::now() - TimeDelta::seconds(Ttl::SECONDS_MAX) - MARGIN;
    let known = ago(kept_for.max(KNOWN_FOR));
    let waits = Utc::now() - TimeDelta::days(1);
    // A full budget needs no row. Those that are asked for often keep theirs.
    let full = Utc::now() - MARGIN;
    let sessions = Utc::now() - MARGIN;
    let purged = [
        purge("idempotency_keys", || {
            store.purge_idempotency_keys(keys, BATCH_MAX)
        })
        .await,
        purge("collapse_heads", || {
            store.purge_collapse_heads(heads, BATCH_MAX)
        })
        .await,
        purge("booking_status", || store.purge_bookings(known, BATCH_MAX)).await,
        purge("customer_erasures", || {
            store.purge_erasures(known, BATCH_MAX)
        })
        .await,
        purge("quiet_hours_waits", || {
            store.purge_quiet_hours_waits(waits, BATCH_MAX)
        })
        .await,
        purge("customer_rate_limits", || {
            store.purge_full_budgets(full, BATCH_MAX)
        })
        .await,
        purge("console_sessions", || {
            store.purge_sessions(sessions, BATCH_MAX)
        })
        .await,
    ];
    purged.into_iter().collect()
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
