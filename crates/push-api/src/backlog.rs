//! What waits in the queues, measured now and then: for alerts on a backlog, and for whoever scales workers by it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::routes::admin::queues;
use crate::state::AppState;

/// How often.
const EVERY: Duration = Duration::from_secs(10);
/// How long it may take at all.
const MAX: Duration = Duration::from_secs(30);

/// Keeps the gauges up to date.
pub async fn watch(state: AppState, stop: CancellationToken) {
    let watch = async {
        loop {
            // Early is later: right after a start the schema may not be there yet.
            while state.schema.ready().await.is_err() {}
            match tokio::time::timeout(MAX, queues::measure(&state)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the queues cannot be measured now"),
                Err(_) => tracing::debug!("the queues were not measured in time"),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let _stopped = stop.run_until_cancelled(watch).await;
}
