//! A step of erasing a customer: some notifications, and the operation's own row, in one transaction.

use chrono::{DateTime, TimeDelta, Utc};
use push_seal::Keyring;
use sqlx::MySqlConnection;

use super::step::{Moved, Running, Step, Taken};
use crate::erasure::{ERASED_AT_ONCE, Place, Scope, erase_some, pass_over, remaining};
use crate::error::StoreError;

/// Between two steps.
const PAUSE: TimeDelta = TimeDelta::milliseconds(100);
/// After one that nothing can be done with: somebody must act.
const PASSED_PAUSE: TimeDelta = TimeDelta::seconds(5);
/// When to look again at notifications that a worker has in hand.
const IN_HAND_PAUSE: TimeDelta = TimeDelta::milliseconds(500);

/// Goes through the customer's notifications, and again through what a worker had in hand meanwhile, until nothing is left.
/// One that nothing can be done with is passed over, and none is left out for good: the operation does not end before.
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
    let handled = match step {
        Step::Full => erase_some(connection, keys, scope, after, ERASED_AT_ONCE, now).await?,
        Step::One => erase_some(connection, keys, scope, after, 1, now).await?,
        Step::SkipOne => pass_over(connection, scope, after).await?,
    };
    let finished = handled.at_the_end && remaining(connection, scope).await? == 0;
    let last = handled.last.filter(|_| !handled.at_the_end);
    let pause = match step {
        Step::SkipOne => PASSED_PAUSE,
        Step::Full | Step::One if handled.at_the_end => IN_HAND_PAUSE,
        Step::Full | Step::One => PAUSE,
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
