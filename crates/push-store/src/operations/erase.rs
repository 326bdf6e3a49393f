//! A step of erasing a customer: some notifications, and the operation's own row, in one transaction.

use chrono::{DateTime, TimeDelta, Utc};
use push_seal::Keyring;
use sqlx::MySqlConnection;

use super::step::{Moved, Running, Step, Taken};
use crate::erasure::{ERASED_AT_ONCE, Place, Scope, erase_some, remaining};
use crate::error::StoreError;

/// Between two steps.
const PAUSE: TimeDelta = TimeDelta::milliseconds(100);
/// When to look again at notifications that a worker has in hand.
const IN_HAND_PAUSE: TimeDelta = TimeDelta::milliseconds(500);

/// Goes through the customer's notifications, and again through what a worker had in hand meanwhile, until nothing is left.
pub(super) async fn erase_step(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    running: &Running,
    scope: Scope,
    step: Step,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    let after = running.last.map(|last| Place {
        at: last.at,
        id: last.id.0,
    });
    let limit = match step {
        Step::Full => ERASED_AT_ONCE,
        // None is left out for good.
        Step::One | Step::SkipOne => 1,
    };
    let handled = erase_some(connection, keys, scope, after, limit, now).await?;
    let finished = handled.at_the_end && remaining(connection, scope).await? == 0;
    let (last, pause) = if handled.at_the_end {
        (None, IN_HAND_PAUSE)
    } else {
        (handled.last, PAUSE)
    };
    let done = running.done + handled.done;
    let moved = Moved {
        last: last.map(|place| (place.at, place.id)),
        next_at: now + pause,
        // What came out of a queue meanwhile was ended and emptied by whoever had it in hand.
        done: if finished {
            done.max(running.total)
        } else {
            done
        },
        failed: 0,
        failures: running.failures.clone(),
        finished,
    };
    moved.write(connection, running, now).await?;
    Ok(Taken {
        done: handled.done,
        ended: handled.ended,
        finished,
        ..Taken::default()
    })
}
