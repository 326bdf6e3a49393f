//! The life of a job, in every order in which it can happen.
//!
//! A notification passes through an API, a broker, workers, providers and a database, and each of them may be killed, lose
//! something or say something twice at any moment. Tests that start real programs see a few of these moments. This one
//! is a *model*: the same protocol, small enough that a program can go through **all** of its states (`stateright` does) and
//! look in each of them whether the promises hold. When one does not, it prints the shortest story that leads there.
//!
//! # How to read it
//!
//! - `world.rs`: the one notification that everything is about, its devices, what a provider may answer.
//! - `database.rs`: the rows, and the transactions of `push-store` that change them. A transaction happens at once.
//! - `life.rs`: the steps. [`Step`](life::Step) is the list of all that can happen: a worker takes a job, asks for leave to send,
//!   the provider answers one way or another, the round is recorded, the next job published, the job acknowledged; the
//!   reconciler, the recorder of dead letters and a replay; and the faults. A state's next states are all steps that are
//!   possible in it, so a fault strikes between any two others.
//! - `promises.rs`: what must hold in every state, and what must be possible at all, lest the model prove something about
//!   a world in which nothing happens.
//! - `flaw.rs`: mistakes that somebody could make. With each of them the check must find a story that breaks a promise:
//!   that is how we know that it would notice.
//!
//! What decides in the programs decides here: the model calls the real `admit`, `Reach::plan`, `settle`, `Ladder` and `replay`, with real jobs. Only
//! what surrounds them is copied, statement by statement, from `push-store` and `push-worker`.
//!
//! # What holds
//!
//! - **P1** Whatever has happened: unless something more goes wrong, it goes on until the notification has ended. (There are no circles,
//!   which the last test shows; so every story has an end, and no story ends while it is pending.) A worker's death alone needs no
//!   reconciler: the broker has the job, or the database its successor.
//! - **P2** A device rings a second time only where it is recorded that nobody knows about the first; and nobody turns to another provider for
//!   a device that was reached.
//! - **P8** It ends once, and once more after each replay; the row is never at odds with itself, and what a phone showed is never
//!   told as failed without a *maybe*.
//!
//! # What it leaves out
//!
//! - Time. A claim may end, and what waits on a rung may come back, at any moment: everything that a clock could do happens in some
//!   order, and more. So nothing is said about *when*; the property tests of `settle` do that. Expiry is left out as well.
//! - Queues hand out in any order, which is more than the broker does.
//! - One notification. Batches, locks and deadlocks between notifications are not seen; and a worker has one round in hand, not hundreds.
//! - A request reaches its provider and is answered in one step, but any time may pass between the leave and the request: a worker
//!   that was frozen there still sends. A request that travels on after its worker's death is the same as one that is sent just before.
//! - Two providers, two workers, one API, two devices at most, two tries; so many faults as the tests say. That devices come, go and
//!   move is left out, but for tokens that die.
//! - The database commits or does not. That the answer to a commit is lost is a fault of its own.
//! - A job that is given up as a whole (the broker delivered it too often) is a *maybe* by itself until it is replayed: nobody knows what
//!   became of it.
//! - A provider sticks to a refusal until an operator mends its cause, before a replay.
//!
//! What nobody can help: a worker whose device FCM refused goes on to Expo, and is killed before it can say so. Whoever takes over knows only
//! that something may have been sent, so it asks FCM and nobody else; should FCM take it this time, the device rings through both. It is
//! recorded as *maybe*, as every second ring is.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and tells how much it looked at"
)]

mod database;
mod flaw;
mod life;
mod promises;
mod world;

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use flaw::Flaw;
use life::{Life, State};
use promises::{BOOKS, ENDS, KNOWN, ONCE, ONE_PROVIDER, TRUE};
use world::Answer;

/// Goes through all states.
fn every_promise_holds(name: &str, life: Life) {
    let (faults, started) = (life.faults, Instant::now());
    let checker = life.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}, {faults} faults: {} states, up to {} steps, {:.1?}",
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for (promise, path) in checker.discoveries() {
        if promise.starts_with('P') {
            println!("broken: {promise}");
            for (state, step) in path.into_vec() {
                match step {
                    Some(step) => println!("  {step:?}"),
                    None => println!("and then: {state:#?}"),
                }
            }
        }
    }
    checker.assert_properties();
}

#[test]
fn one_device_that_two_providers_reach() {
    every_promise_holds("one device", Life::of_one_device());
}

#[test]
fn two_devices_of_which_one_is_settled_first() {
    every_promise_holds("two devices", Life::of_two_devices());
}

#[test]
fn what_an_operator_must_mend_and_what_is_refused_for_good() {
    let life = Life {
        answers: vec![
            Answer::Accepted,
            Answer::SilentShown,
            Answer::Operator,
            Answer::Refused,
        ],
        ..Life::of_one_device()
    };
    every_promise_holds("one device, strict providers", life);
}

/// The check finds a story in which `flaw` breaks `promise`.
fn is_found(flaw: Flaw, promise: &'static str, life: Life) {
    let only_this = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = life
        .with(flaw)
        .checker()
        .threads(2)
        .finish_when(only_this)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let story = checker.assert_any_discovery(promise);
    println!("{flaw:?} breaks \"{promise}\", found after {states} states:");
    for step in story.into_actions() {
        println!("  {step:?}");
    }
}

#[test]
fn acknowledging_before_the_record_is_found() {
    is_found(Flaw::AcknowledgesBeforeRecord, KNOWN, Life::of_one_device());
}

#[test]
fn publishing_before_the_record_is_found() {
    is_found(Flaw::PublishesBeforeRecord, TRUE, Life::of_two_devices());
}

#[test]
fn retrying_all_targets_is_found() {
    is_found(Flaw::RetriesAllTargets, ONCE, Life::of_two_devices());
}

#[test]
fn reconciling_without_a_look_at_the_record_is_found() {
    is_found(Flaw::ReconcilesFromScratch, ONCE, Life::of_two_devices());
}

#[test]
fn a_reconciler_that_does_not_run_is_found() {
    is_found(Flaw::NeverReconciles, ENDS, Life::of_one_device());
}

#[test]
fn recording_without_a_fence_is_found() {
    is_found(Flaw::RecordsWithoutFence, ONCE, Life::of_one_device());
}

#[test]
fn recording_twice_is_found() {
    is_found(Flaw::RecordsTwice, BOOKS, Life::of_one_device());
}

#[test]
fn sending_what_another_has_in_hand_is_found() {
    is_found(Flaw::IgnoresClaims, ONCE, Life::of_one_device());
}

#[test]
fn sending_a_stale_copy_is_found() {
    is_found(Flaw::SendsStaleCopies, ONCE, Life::of_two_devices());
}

#[test]
fn forgetting_that_somebody_was_interrupted_is_found() {
    is_found(Flaw::ForgetsInterruptions, ONCE, Life::of_one_device());
}

#[test]
fn asking_another_provider_after_a_maybe_is_found() {
    is_found(
        Flaw::AsksAnotherAfterMaybe,
        ONE_PROVIDER,
        Life::of_one_device(),
    );
}

#[test]
fn replaying_to_all_targets_is_found() {
    is_found(Flaw::ReplaysAllTargets, ONCE, Life::of_two_devices());
}

#[test]
fn a_replay_that_forgets_a_maybe_is_found() {
    is_found(
        Flaw::ReplayForgetsMaybe,
        ONE_PROVIDER,
        Life::of_one_device(),
    );
}

#[test]
fn ending_by_a_stale_letter_is_found() {
    is_found(Flaw::EndsWithStaleLetters, TRUE, Life::of_two_devices());
}

/// Looks for a story that comes back to where it was, and so might never end.
fn circle(life: &Life) -> (usize, bool) {
    let key = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    // `true`: on the way to where we are.
    let mut seen: HashMap<u64, bool> = HashMap::new();
    let start = life.init_states().remove(0);
    seen.insert(key(&start), true);
    let mut way = vec![(key(&start), life.next_steps(&start))];
    while let Some((here, next)) = way.last_mut() {
        let Some((_, state)) = next.pop() else {
            seen.insert(*here, false);
            way.pop();
            continue;
        };
        match seen.get(&key(&state)) {
            Some(true) => return (seen.len(), true),
            Some(false) => {}
            None => {
                seen.insert(key(&state), true);
                way.push((key(&state), life.next_steps(&state)));
            }
        }
    }
    (seen.len(), false)
}

#[test]
fn no_story_goes_in_circles() {
    for life in [Life::of_one_device(), Life::of_two_devices()] {
        let (states, found) = circle(&Life { faults: 1, ..life });
        println!("{states} states");
        assert!(!found, "it comes back to where it was");
    }
}
