//! The books (P8): read now and then, for the gauges and for whoever asks. Nobody who asks makes the database count.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_store::{Books, LetterCounts, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::state::{AppState, now};

/// How often they are read, at most.
const EVERY: Duration = Duration::from_secs(10);
/// A pending notification that has been due for so many times RECONCILE_AFTER is overdue: a worker that reconciles
/// would have published it again and set another time, were it lost.
const OVERDUE_AFTER: u32 = 5;
/// Changes of so many transactions are added up in one.
const ADD_UP_MAX: u32 = 500;
/// How long reading may take at all.
const MAX: Duration = Duration::from_secs(60);
/// Reading takes longer the more is pending: it may take this share of the time.
const SHARE: u32 = 50;

/// What stood in the books.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When.
    pub at: DateTime<Utc>,
    /// The notifications.
    pub books: Books,
    /// The dead letters.
    pub letters: LetterCounts,
}

/// The last reading.
#[derive(Debug, Default)]
pub struct LastReading(Mutex<Option<Arc<Reading>>>);

impl LastReading {
    /// The last one; `None` until there was one.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Reading>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, reading: Reading) {
        let reading = Some(Arc::new(reading));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }
}

/// Keeps gauges and the last reading up to date.
pub async fn watch(state: AppState, stop: CancellationToken) {
    let overdue_after = state.reconcile_after * OVERDUE_AFTER;
    let watch = async {
        loop {
            // Early is later: right after a start the schema may not be there yet.
            while state.schema.ready().await.is_err() {}
            let started = Instant::now();
            match tokio::time::timeout(MAX, read(&state, overdue_after)).await {
                Ok(Ok(reading)) => {
                    metrics::books(&reading.books, reading.at);
                    metrics::dead_letters(&reading.letters);
                    state.last_reading.set(reading);
                }
                Ok(Err(error)) => tracing::debug!(%error, "the books cannot be read now"),
                Err(_) => tracing::warn!("the books were not read in time"),
            }
            tokio::time::sleep(EVERY.max(started.elapsed() * SHARE)).await;
        }
    };
    let _stopped = stop.run_until_cancelled(watch).await;
}

async fn read(state: &AppState, overdue_after: Duration) -> Result<Reading, StoreError> {
    // A worker does so more often; without one the changes must not pile up either.
    while state.database.fold_counters(ADD_UP_MAX).await? == u64::from(ADD_UP_MAX) {}
    let at = now();
    Ok(Reading {
        at,
        books: state.database.books(at - overdue_after).await?,
        letters: state.database.letter_counts().await?,
    })
}
