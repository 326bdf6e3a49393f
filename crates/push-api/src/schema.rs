//! Bringing the schema up to date at start (`MIGRATE_ON_START`), however late the database comes.
//!
//! The API listens meanwhile: it is alive, says in `/readyz` what is missing, and lets early requests
//! wait a little. It never ends because the database is late.

use std::time::Duration;

use push_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;

/// How long a request waits for the schema before it is told to come again.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pauses between attempts: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Whether the schema is known to be up to date; if not, why.
#[derive(Clone, Debug)]
pub struct Schema(watch::Receiver<Progress>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Ready,
    Missing(String),
}

impl Schema {
    /// Somebody else takes care of the schema.
    #[must_use]
    pub fn trusted() -> Self {
        Self(watch::channel(Progress::Ready).1)
    }

    /// Migrates in the background, until it has worked.
    #[must_use]
    pub fn migrate(store: Store, stop: CancellationToken, tasks: &TaskTracker) -> Self {
        let missing = Progress::Missing("the schema is being brought up to date".to_owned());
        let (progress, watched) = watch::channel(missing);
        tasks.spawn(async move {
            let _ended = stop.run_until_cancelled(migrate(store, progress)).await;
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

async fn migrate(store: Store, progress: watch::Sender<Progress>) {
    let (mut pause, pause_max) = PAUSES;
    loop {
        match store.migrate().await {
            Ok(migrated) => {
                tracing::info!(applied = migrated.applied, "the schema is up to date");
                progress.send_replace(Progress::Ready);
                return;
            }
            Err(error) => {
                // Told at each change, not at each attempt: the database may be away for long.
                let missing = Progress::Missing(format!("not migrated: {error}"));
                if progress.send_replace(missing.clone()) != missing {
                    tracing::warn!(%error, "the schema cannot be brought up to date; trying again until it can");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_schema_for_a_while() {
        let (progress, watched) = watch::channel(Progress::Missing("away".to_owned()));
        let schema = Schema(watched);
        let early = schema.ready().await;
        assert_eq!(early, Err(ApiError::DatabaseUnavailable("away".to_owned())));
        assert_eq!(schema.missing(), Some("away".to_owned()));
        let waiting = schema.clone();
        let waiting = tokio::spawn(async move { waiting.ready().await });
        tokio::time::sleep(REQUEST_WAIT_MAX / 2).await;
        progress.send_replace(Progress::Ready);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(
            (schema.missing(), Schema::trusted().missing()),
            (None, None)
        );
    }
}
