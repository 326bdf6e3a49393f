//! Waiting for the database: a job that is in the worker when the database goes away stays there,
//! unacknowledged, until it is back.

use std::time::Duration;

use push_store::StoreError;
use tokio_util::sync::CancellationToken;

/// Why an operation on the database has no result.
#[derive(Debug)]
pub enum NoResult {
    /// The process is stopping.
    Stopped,
    /// The database is there and refused: trying again would not help.
    Failed(StoreError),
}

/// How long to stay away from a database that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Repeats `operation` for as long as the database is away, or until `stop`. Logs the beginning and
/// the end of an outage, not each try.
pub async fn until_available<T, F>(
    stop: &CancellationToken,
    operation: impl Fn() -> F,
) -> Result<T, NoResult>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut away = false;
    loop {
        match operation().await {
            Ok(result) => {
                if away {
                    tracing::info!("the database is back");
                }
                return Ok(result);
            }
            Err(error) if error.is_unavailable() => {
                if !away {
                    tracing::warn!(%error, "the database is away; work in hand waits for it");
                    away = true;
                }
                tokio::select! {
                    () = stop.cancelled() => return Err(NoResult::Stopped),
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            Err(error) => return Err(NoResult::Failed(error)),
        }
    }
}
