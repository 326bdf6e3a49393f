//! Notifications that come right after an older one of their collapse key, which is on its way to a device just now: shown
//! first, the older one would be shown last (P3).
//!
//! Mostly the other one is recorded a few milliseconds later, so these wait here for a moment; what takes longer waits on the ladder.

use std::sync::Arc;
use std::time::Duration;

use push_queue::Delivery;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admit::{Batch, admit_batch, postpone};
use crate::consume::work_on;
use crate::metrics;
use crate::run::Worker;
use crate::settle::Worked;

/// How long each look comes after the one before: about a second together, a bit more than a provider takes to answer.
const PAUSES_MS: [u64; 6] = [15, 30, 60, 120, 250, 500];

/// Admits them as soon as their turn has come.
pub async fn wait(
    worker: Arc<Worker>,
    mut behind: Vec<Delivery>,
    worked: mpsc::Sender<Worked>,
    in_flight: TaskTracker,
    pause: CancellationToken,
) {
    for millis in PAUSES_MS {
        metrics::job("behind");
        let moment = tokio::time::sleep(Duration::from_millis(millis));
        // Once stopping, the next look gives them back.
        let _stopped = pause.run_until_cancelled(moment).await;
        let batch = admit_batch(&worker, behind, &pause).await;
        let Batch {
            admitted,
            behind: still,
        } = batch;
        work_on(&worker, admitted, &worked, &in_flight);
        if still.is_empty() {
            return;
        }
        behind = still;
    }
    postpone(&worker, behind, Duration::ZERO).await;
}
