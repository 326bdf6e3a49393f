//! What must hold in every state.

use push_core::outcome::Sent;
use push_core::status::{ProviderResult, Reason, Status};
use stateright::Property;

use crate::database::{PROVIDERS, Row};
use crate::life::{Life, State};

pub const ENDS: &str = "P1: what is accepted ends";
pub const KNOWN: &str = "P1: a worker that is killed loses no job";
pub const ONCE: &str = "P2: a device rings once, unless it is recorded as maybe";
pub const ONE_PROVIDER: &str = "P2: no other provider is asked for a device that was reached";
pub const TRUE: &str = "P8: what a phone showed is recorded as accepted or as maybe";
pub const BOOKS: &str = "P8: the books balance";

/// What must hold, and what must be possible: a model in which nothing happens keeps every promise.
pub fn all() -> Vec<Property<Life>> {
    vec![
        Property::always(ENDS, |life: &Life, state: &State| {
            state.status() != Some(Status::Pending) || life.goes_on(state)
        }),
        Property::always(KNOWN, |_: &Life, state: &State| is_known(state)),
        Property::always(ONCE, |life: &Life, state: &State| {
            devices(life).all(|device| rings(state, device) <= 1 || is_maybe(state, device))
        }),
        Property::always(ONE_PROVIDER, |_: &Life, state: &State| !state.strayed),
        Property::always(TRUE, |life: &Life, state: &State| {
            let ended = state
                .status()
                .is_some_and(|status| status != Status::Pending);
            !ended || devices(life).all(|device| is_told(state, device))
        }),
        Property::always(BOOKS, |_: &Life, state: &State| books_balance(state)),
        Property::sometimes("it is sent", |_: &Life, state: &State| {
            state.status() == Some(Status::Sent)
        }),
        Property::sometimes("it is dead-lettered", |_: &Life, state: &State| {
            reason(state) == Some(Reason::DeadLettered)
        }),
        Property::sometimes("it is sent after a replay", |_: &Life, state: &State| {
            let replayed = state.database.letters.iter().any(|letter| letter.replayed);
            replayed && state.status() == Some(Status::Sent)
        }),
        Property::sometimes("a phone rings twice", |life: &Life, state: &State| {
            devices(life).any(|device| rings(state, device) > 1)
        }),
        Property::sometimes(
            "a device is not tried any more, and recorded as maybe",
            |_: &Life, state: &State| {
                let mut deliveries = state.database.deliveries.values();
                let ended = state.status() == Some(Status::Failed);
                ended && deliveries.any(|row| row.maybe && !row.accepted)
            },
        ),
    ]
}

fn devices(life: &Life) -> impl Iterator<Item = u64> {
    life.devices.iter().map(|device| device.registration.0)
}

fn rings(state: &State, device: u64) -> u8 {
    let through = |provider| state.rings.get(&(device, provider)).copied();
    PROVIDERS.into_iter().filter_map(through).sum()
}

fn reason(state: &State) -> Option<Reason> {
    state.database.row.as_ref().and_then(|row| row.reason)
}

/// Whether the database says that nobody knows: of the device, in its deliveries or in the job that comes next; or of
/// the round, because somebody was interrupted, or because it was given up as a whole
/// and not replayed.
fn is_maybe(state: &State, device: u64) -> bool {
    let in_deliveries = PROVIDERS.into_iter().any(|provider| {
        let row = state.database.deliveries.get(&(device, provider));
        row.is_some_and(|row| row.maybe)
    });
    let of_the_round = state.database.row.as_ref().is_some_and(|row| {
        row.status == Status::Pending && (row.interruptions > 0 || next_says_maybe(row, device))
    });
    let given_up = state
        .database
        .letters
        .iter()
        .any(|letter| letter.target.is_none() && !letter.replayed);
    in_deliveries || of_the_round || given_up
}

fn next_says_maybe(row: &Row, device: u64) -> bool {
    let targets = row
        .next
        .iter()
        .flat_map(|next| next.job().targets.iter().flatten());
    targets
        .into_iter()
        .any(|target| target.registration.0 == device && target.sent == Sent::Maybe)
}

fn is_told(state: &State, device: u64) -> bool {
    let accepted = PROVIDERS.into_iter().any(|provider| {
        let row = state.database.deliveries.get(&(device, provider));
        row.is_some_and(|row| row.accepted)
    });
    rings(state, device) == 0 || accepted || is_maybe(state, device)
}

/// While the broker loses nothing, a job that has no successor in the database is in a queue or in a program.
fn is_known(state: &State) -> bool {
    let waits_for_its_job = state
        .database
        .row
        .as_ref()
        .is_some_and(|row| row.status == Status::Pending && row.next.is_none());
    !waits_for_its_job || state.left_to_the_reconciler || state.is_known()
}

/// It has ended once more than it was replayed, or it has not; and the row is in itself as it should be.
fn books_balance(state: &State) -> bool {
    let Some(row) = &state.database.row else {
        return state.endings == 0;
    };
    let results = [row.fcm, row.expo];
    let success = results.contains(&ProviderResult::Success);
    let complete = row.next.is_none() && !results.contains(&ProviderResult::Queued);
    let was_tried = results
        .iter()
        .any(|result| *result != ProviderResult::NotSent);
    let odd = match row.status {
        Status::Pending => state.endings != 0 || row.reason.is_some(),
        Status::Sent => {
            let accepted = state.database.deliveries.values().any(|row| row.accepted);
            state.endings != 1 || !complete || !success || !accepted
        }
        Status::Failed => {
            let dead_lettered = row.reason == Some(Reason::DeadLettered);
            let kept = !state.database.letters.is_empty();
            state.endings != 1 || !complete || success || dead_lettered && !kept
        }
        Status::Suppressed => state.endings != 1 || !complete || was_tried,
    };
    !odd
}
