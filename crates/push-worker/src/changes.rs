//! What changed meanwhile, here or elsewhere: caches forget it, and pushes of rounds in hand that know it otherwise do
//! not go out (P4, P5).
//!
//! The broker tells within milliseconds, if the message is not lost. Whether it was is seen from the database: by each
//! claim, and for what is in hand by the keeper of the claims ([`crate::hand::Hand::keep`]).

use push_core::changed::Changed;
use push_queue::Heard;
use push_store::SwitchedOff;

use crate::metrics;
use crate::run::Worker;

/// Hears of changes until everything in flight is finished.
pub async fn hear(worker: &Worker) {
    let mut changes = worker.broker.changes(worker.drained.clone());
    while let Some(heard) = changes.recv().await {
        match heard {
            Heard::Changed(changes) => {
                changed(worker, &changes);
                metrics::heard("change");
            }
            // Copies are compared when they are used; what is in hand is compared now.
            Heard::Gap => {
                worker.hand.compare(&worker.store, worker.claim_for).await;
                metrics::heard("gap");
            }
        }
    }
}

fn changed(worker: &Worker, changes: &[Changed]) {
    changes
        .iter()
        .for_each(|changed| worker.cache.forget(changed));
    worker.hand.changed(changes);
}

/// Tokens that this worker reported as dead are switched off: tells all others.
pub fn switched_off(worker: &Worker, owners: &[SwitchedOff]) {
    let ours = owners.iter().filter(|owner| owner.just_now);
    // What is in hand here was told already, token by token: a device that is left must not wait for another look.
    ours.for_each(|owner| worker.hand.knows(&owner.changed));
    let changes: Vec<_> = owners.iter().map(|owner| owner.changed).collect();
    let broker = worker.broker.clone();
    tokio::spawn(async move { broker.tell(&changes).await });
}
