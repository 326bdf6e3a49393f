//! Bringing the schema up to date at start (`MIGRATE_ON_START`), or waiting until somebody else has,
//! however late the database comes; and whether what is sealed in there can be opened.
//!
//! The API listens meanwhile: it is alive, says in `/readyz` what is missing, and lets early requests
//! wait a little. It never ends because the database is late.

use std::time::Duration;

use futures::future::BoxFuture;
use push_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;

/// How long a request waits for the schema before it is told to come again.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pauses between attempts: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How often it is said which key this program seals with. Less than the time after which nobody believes it any more.
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// What is missing where we must not migrate.
const NOT_MIGRATED: &str =
    "the schema is not up to date, and MIGRATE_ON_START is false; run `push-api migrate`";

/// Whether the schema is known to be up to date; if not, why.
#[derive(Clone, Debug)]
pub struct Schema(watch::Receiver<Progress>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Ready,
    Missing(String),
}

impl Schema {
    /// Migrates in the background, until it has worked.
    #[must_use]
    pub fn migrate(store: Store, stop: CancellationToken, tasks: &TaskTracker) -> Self {
        let keys = keys_of(store.clone());
        Self::until(stop, tasks, keys, move || {
            let store = store.clone();
            async move {
                let migrated = store.migrate().await;
                let migrated = migrated.map_err(|error| format!("not migrated: {error}"))?;
                tracing::info!(applied = migrated.applied, "the schema is up to date");
                say_keys(&store).await
            }
        })
    }

    /// Looks in the background until somebody else has migrated.
    #[must_use]
    pub fn watch(store: Store, stop: CancellationToken, tasks: &TaskTracker) -> Self {
        let keys = keys_of(store.clone());
        Self::until(stop, tasks, keys, move || {
            let store = store.clone();
            async move {
                match store.migration_pending().await {
                    Ok(false) => say_keys(&store).await,
                    Ok(true) => Err(NOT_MIGRATED.to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
    }

    /// Tries in the background until it is there; `attempt` says why it is not. From then on `keys` says now and then what
    /// cannot be opened.
    fn until<A, F, K, G>(stop: CancellationToken, tasks: &TaskTracker, keys: K, attempt: A) -> Self
    where
        A: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send,
        K: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = Result<(), String>> + Send,
    {
        let missing = Progress::Missing("the schema is being looked at".to_owned());
        let (progress, watched) = watch::channel(missing);
        tasks.spawn(async move {
            let looking = async {
                try_until(attempt, &progress).await;
                keep_looking(keys, &progress).await;
            };
            let _ended: Option<()> = stop.run_until_cancelled(looking).await;
        });
        Self(watched)
    }

    /// Why the database cannot be used yet, if so.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        match &*self.0.borrow() {
            Progress::Ready => None,
            Progress::Missing(why) => Some(why.clone()),
        }
    }

    /// Waits until the schema is up to date, a few seconds at most.
    ///
    /// # Errors
    /// [`ApiError::DatabaseUnavailable`] with the reason.
    pub async fn ready(&self) -> Result<(), ApiError> {
        let mut watched = self.0.clone();
        let ready = watched.wait_for(|progress| *progress == Progress::Ready);
        if let Ok(Ok(_)) = tokio::time::timeout(REQUEST_WAIT_MAX, ready).await {
            return Ok(());
        }
        self.missing()
            .map_or(Ok(()), |why| Err(ApiError::DatabaseUnavailable(why)))
    }
}

async fn try_until<A, F>(attempt: A, progress: &watch::Sender<Progress>)
where
    A: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    let (mut pause, pause_max) = PAUSES;
    while let Err(why) = attempt().await {
        // Told at each change, not at each attempt: the database may be away for long.
        let missing = Progress::Missing(why.clone());
        if progress.send_replace(missing.clone()) != missing {
            tracing::warn!("the database cannot be used yet: {why}; trying again until it can");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
    progress.send_replace(Progress::Ready);
}

/// Looks for as long as the program runs: somebody may seal with a key that it does not have.
async fn keep_looking<K, F>(keys: K, progress: &watch::Sender<Progress>)
where
    K: Fn() -> F,
    F: Future<Output = Result<(), String>>,
{
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        let found = match keys().await {
            Ok(()) => Progress::Ready,
            Err(why) => Progress::Missing(why),
        };
        if progress.send_replace(found.clone()) != found
            && let Progress::Missing(why) = found
        {
            tracing::error!("the database cannot be used any more: {why}");
        }
    }
}

/// Says which key this program seals with, and looks whether all that is sealed can be opened.
async fn say_keys(store: &Store) -> Result<(), String> {
    let said = store.use_keys().await;
    said.map(drop).map_err(|error| error.to_string())
}

/// The same, where a database that is away only for now is no news.
fn keys_of(store: Store) -> impl Fn() -> BoxFuture<'static, Result<(), String>> {
    move || {
        let store = store.clone();
        Box::pin(async move {
            match store.use_keys().await {
                Err(error) if error.is_out_of_order() => Err(error.to_string()),
                Ok(_) | Err(_) => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_schema_for_a_while() {
        let there = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&there);
        let attempt = move || {
            let there = seen.load(Ordering::Relaxed);
            async move { there.then_some(()).ok_or("away".to_owned()) }
        };
        let keys = || async { Ok(()) };
        let schema = Schema::until(CancellationToken::new(), &TaskTracker::new(), keys, attempt);
        assert!(schema.missing().is_some());
        let early = schema.ready().await;
        assert_eq!(early, Err(ApiError::DatabaseUnavailable("away".to_owned())));
        assert_eq!(schema.missing(), Some("away".to_owned()));
        let waiting = schema.clone();
        let waiting = tokio::spawn(async move { waiting.ready().await });
        there.store(true, Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(schema.missing(), None);
    }
}
