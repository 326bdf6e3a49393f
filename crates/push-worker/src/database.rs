//! Waiting for the database: within a limit for each try, and for as long as it takes for a job.
//!
//! A job that is in the worker when the database goes away stays there, unacknowledged, for a while; if the database
//! stays away, it is given back (see [`crate::subscription`] and [`crate::settle`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use push_store::{Store, StoreError, Unavailable};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why an operation on the database has no result.
#[derive(Debug)]
pub enum NoResult {
    /// The process is stopping.
    Stopped,
    /// The database is there and refuses what it was given: trying again would not help.
    Failed(StoreError),
}

/// How long the database may take to answer: a host that is gone without a farewell never does. Longer
/// than the store waits for a lock (5 s).
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long to stay away from a database that is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How long an answer that is under way is waited for when the process stops: what the database does
/// all the same, such as a claim, is better known than guessed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is looked whether an outage lasts long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Causes of one outage that are told, each once: it may change between two for hours.
const CAUSES_MAX: usize = 16;

/// What waits for the database now. One for the process, as the database and the metrics are.
static OUTAGE: Outage = Outage::new();

/// What the database answers, if it does in time.
///
/// # Errors
/// What the store says, or that it did not answer.
pub fn in_time<T>(
    asking: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    // Asking may include connecting and takes 20 KB, which everything that waits for it would take as well, twice.
    let asking = Box::pin(asking);
    async {
        let answered = tokio::time::timeout(ANSWER_MAX, asking).await;
        answered.unwrap_or(Err(StoreError::Unavailable(Unavailable::TimedOut)))
    }
}

/// Repeats `operation` for as long as the database is away, or until `stop`. Logs the beginning and
/// the end of an outage, and each cause once; not each try.
pub async fn until_available<T, F>(
    stop: &CancellationToken,
    operation: impl Fn() -> F,
) -> Result<T, NoResult>
where
    F: Future<Output = Result<T, StoreError>>,
{
    wait_for(&OUTAGE, stop, operation).await
}

/// Why work waits for the database, if any does: for readiness.
pub fn trouble() -> Option<StoreError> {
    OUTAGE.cause()
}

/// Returns a moment after work has waited for the database for `patience` without a break.
pub async fn away_for(patience: Duration) {
    OUTAGE.lasts(patience).await;
}

/// Waits for as long as this program lacks a key that others seal with, as for a database that is away. False: `stop` came
/// first. Asked before a message that does not open is given up.
pub async fn has_all_keys(store: &Store, stop: &CancellationToken) -> bool {
    let looked = until_available(stop, || store.keys_in_use()).await;
    !matches!(looked, Err(NoResult::Stopped))
}

/// Waits until the database answers, all that it holds can be opened, and nobody waits for it any more; or for `stop`.
pub async fn back(store: &Store, stop: &CancellationToken) {
    // What else it says is for those who ask it for something.
    drop(until_available(stop, || store.ping()).await);
    has_all_keys(store, stop).await;
    stop.run_until_cancelled(OUTAGE.is_over()).await;
}

async fn wait_for<T, F>(
    outage: &Outage,
    stop: &CancellationToken,
    operation: impl Fn() -> F,
) -> Result<T, NoResult>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut waiting: Option<Waiting<'_>> = None;
    loop {
        let tried = tokio::select! {
            tried = in_time(operation()) => tried,
            () = farewell(stop) => return Err(NoResult::Stopped),
        };
        match tried {
            Ok(result) => {
                if let Some(waiting) = waiting {
                    waiting.over();
                }
                return Ok(result);
            }
            Err(error) if error.is_unavailable() => {
                waiting.get_or_insert_with(|| outage.join()).because(error);
            }
            Err(error) => return Err(NoResult::Failed(error)),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(NoResult::Stopped),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn farewell(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// An outage, as all who wait for its end see it together.
struct Outage(Mutex<Seen>);

struct Seen {
    waiting: usize,
    /// Somebody waits since then.
    since: Option<Instant>,
    /// The latest last.
    causes: Vec<StoreError>,
}

impl Outage {
    const fn new() -> Self {
        Self(Mutex::new(Seen {
            waiting: 0,
            since: None,
            causes: Vec::new(),
        }))
    }

    fn join(&self) -> Waiting<'_> {
        let mut seen = self.seen();
        seen.waiting += 1;
        seen.since.get_or_insert_with(Instant::now);
        Waiting(self)
    }

    async fn lasts(&self, patience: Duration) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let since = self.seen().since;
            if since.is_some_and(|since| since.elapsed() >= patience) {
                return;
            }
        }
    }

    async fn is_over(&self) {
        while self.seen().waiting > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn cause(&self) -> Option<StoreError> {
        self.seen().causes.last().cloned()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits.
struct Waiting<'a>(&'a Outage);

impl Waiting<'_> {
    /// Tells why, unless this outage's log has it.
    fn because(&mut self, error: StoreError) {
        let mut seen = self.0.seen();
        let known = seen.causes.iter().position(|cause| *cause == error);
        match known {
            Some(known) => drop(seen.causes.remove(known)),
            None if seen.causes.len() >= CAUSES_MAX => drop(seen.causes.remove(0)),
            None if error.is_out_of_order() => {
                tracing::error!(%error, "the database is out of order: someone must act; work in hand waits");
            }
            None => tracing::warn!(%error, "the database is away; work in hand waits for it"),
        }
        seen.causes.push(error);
    }

    fn over(self) {
        if self.0.seen().waiting == 1 {
            tracing::info!("the database is back");
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.waiting -= 1;
        if seen.waiting == 0 {
            seen.since = None;
            seen.causes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    const AWAY: StoreError = StoreError::Unavailable(Unavailable::ConnectionRefused);
    const SILENT: StoreError = StoreError::Unavailable(Unavailable::TimedOut);

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_is_tried_again_until_it_answers() {
        let (outage, stop, tries) = (Outage::new(), CancellationToken::new(), AtomicUsize::new(0));
        let result = wait_for(&outage, &stop, async || {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 => std::future::pending().await,
                1 => {
                    assert_eq!(outage.cause(), Some(SILENT), "readiness knows");
                    Err(AWAY)
                }
                _ => {
                    assert_eq!(outage.cause(), Some(AWAY));
                    Ok(7)
                }
            }
        });
        assert_eq!(result.await.unwrap(), 7);
        assert_eq!(tries.into_inner(), 3);
        assert_eq!(outage.cause(), None, "and that it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waits_for_an_answer_that_is_under_way_and_for_no_other() {
        let (outage, stop) = (Outage::new(), CancellationToken::new());
        let answer_after = async |pause: Duration| {
            wait_for(&outage, &stop, async || {
                tokio::time::sleep(pause).await;
                Ok(())
            })
            .await
        };
        let started = Instant::now();
        let (late, soon, ()) = tokio::join!(
            answer_after(Duration::from_secs(5)),
            answer_after(FAREWELL / 2),
            async { stop.cancel() }
        );
        assert!(matches!(late, Err(NoResult::Stopped)));
        assert!(soon.is_ok());
        assert_eq!(started.elapsed(), FAREWELL);
        let away = wait_for(&outage, &stop, async || Err::<(), _>(AWAY)).await;
        assert!(matches!(away, Err(NoResult::Stopped)));
        assert_eq!(outage.cause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_long_when_somebody_has_waited_for_so_long_without_a_break() {
        let (outage, patience) = (Outage::new(), Duration::from_secs(60));
        let is_long = async || {
            tokio::time::timeout(LOOK_EVERY * 2, outage.lasts(patience))
                .await
                .is_ok()
        };
        for _ in 0..2 {
            let first = outage.join();
            tokio::time::sleep(patience / 2).await;
            let second = outage.join();
            drop(first);
            assert!(!is_long().await);
            tokio::time::sleep(patience / 2).await;
            assert!(is_long().await);
            drop(second);
            assert!(!is_long().await, "it is over");
        }
    }

    #[tokio::test]
    async fn what_the_values_are_to_blame_for_is_not_tried_again() {
        let (outage, stop) = (Outage::new(), CancellationToken::new());
        let refused = wait_for(&outage, &stop, async || {
            Err::<(), _>(StoreError::Refused(1406))
        });
        assert!(matches!(
            refused.await,
            Err(NoResult::Failed(StoreError::Refused(1406)))
        ));
    }
}
