//! Carries out one fault, and takes back what does not end by itself.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::journal::now_ms;
use super::plan::{Break, End, Fault, Lane, Outage, Target, Wire};
use super::surgery;
use super::world::World;
use crate::sim::Provider;

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Done,
    /// There was nothing to break, or nobody to ask.
    Nothing(String),
}

/// Waits for its turn, strikes, and leaves the target whole.
pub(crate) async fn strike(world: &World, fault: Fault) -> Effect {
    let _turn = world.turn(&place(fault)).await;
    world.journal.note(&format!("fault: {fault}"));
    let since = now_ms();
    let effect = carry_out(world, fault).await;
    if holds_up_requests(fault) {
        let mut slow = world.slow.lock().expect("nobody panics with it");
        slow.push((since, now_ms()));
    }
    if let Effect::Nothing(why) = &effect {
        world
            .journal
            .note(&format!("without effect ({why}): {fault}"));
    }
    effect
}

/// Whether a request that left a worker in time may reach its provider late.
fn holds_up_requests(fault: Fault) -> bool {
    match fault {
        Fault::Wire(wire, Break::Stall(_) | Break::Delay(..)) => {
            matches!(wire.to, End::Fcm | End::Expo)
        }
        Fault::Freeze(target, _) => matches!(target, Target::Worker(_)),
        Fault::Wire(..)
        | Fault::Kill(..)
        | Fault::Restart(_)
        | Fault::Wipe(_)
        | Fault::Purge(_)
        | Fault::Delete(_)
        | Fault::Duplicate(_)
        | Fault::Provider(..) => false,
    }
}

/// What can be broken once at a time.
fn place(fault: Fault) -> String {
    match fault {
        Fault::Wire(wire, _) => wire.to_string(),
        Fault::Kill(target, _) | Fault::Restart(target) | Fault::Freeze(target, _) => {
            target.to_string()
        }
        Fault::Wipe(_) | Fault::Purge(_) | Fault::Delete(_) | Fault::Duplicate(_) => {
            Target::Broker.to_string()
        }
        Fault::Provider(provider, ..) => provider.as_str().to_owned(),
    }
}

async fn carry_out(world: &World, fault: Fault) -> Effect {
    match fault {
        Fault::Wire(wire, what) => break_wire(world, wire, what).await,
        Fault::Kill(target, down) => kill(world, target, down).await,
        Fault::Restart(target) => restart(world, target).await,
        Fault::Freeze(target, lasting) => freeze(world, target, lasting).await,
        Fault::Wipe(down) => wipe(world, down).await,
        Fault::Purge(lane) => return effect(surgery::purge(world, lane).await),
        Fault::Delete(lane) => return effect(surgery::delete(world, lane).await),
        Fault::Duplicate(copies) => return duplicate(world, copies).await,
        Fault::Provider(provider, outage, lasting) => {
            fail(world, provider, outage, lasting).await;
        }
    }
    Effect::Done
}

fn effect(done: Result<u32, String>) -> Effect {
    done.map_or_else(Effect::Nothing, |_| Effect::Done)
}

async fn duplicate(world: &World, copies: usize) -> Effect {
    match surgery::duplicate(world, copies).await {
        Ok(0) => Effect::Nothing("no job was published lately".to_owned()),
        other => effect(other),
    }
}

async fn break_wire(world: &World, wire: Wire, what: Break) {
    let link = world.wire(wire);
    match what {
        Break::Cut(lasting) => {
            link.cut();
            sleep(lasting).await;
        }
        Break::Reset => link.cut(),
        Break::Stall(lasting) => {
            link.stall();
            sleep(lasting).await;
        }
        Break::HalfClose => link.half_close(),
        Break::Vanish => link.vanish(),
        Break::Delay(lasting, slow) => {
            link.delay(slow);
            sleep(lasting).await;
        }
    }
    link.restore();
}

async fn kill(world: &World, target: Target, down: Duration) {
    match target {
        Target::Broker => {
            let mut rabbit = world.rabbit.lock().await;
            rabbit.kill().await;
            sleep(down).await;
            rabbit.up().await;
        }
        Target::Database => {
            let mut maria = world.maria.lock().await;
            maria.kill().await;
            sleep(down).await;
            maria.up().await;
        }
        Target::Api(_) | Target::Worker(_) => {
            if let Some(node) = world.node(target) {
                let mut node = node.lock().await;
                node.kill().await;
                sleep(down).await;
                node.start();
            }
        }
    }
}

async fn restart(world: &World, target: Target) {
    if let Some(node) = world.node(target) {
        let mut node = node.lock().await;
        node.terminate().await;
        node.start();
    }
}

async fn freeze(world: &World, target: Target, lasting: Duration) {
    match target {
        Target::Broker => {
            let rabbit = world.rabbit.lock().await;
            rabbit.freeze();
            sleep(lasting).await;
            rabbit.thaw();
        }
        Target::Database => {
            let maria = world.maria.lock().await;
            maria.freeze();
            sleep(lasting).await;
            maria.thaw();
        }
        Target::Api(_) | Target::Worker(_) => {
            if let Some(node) = world.node(target) {
                let node = node.lock().await;
                node.freeze();
                sleep(lasting).await;
                node.thaw();
            }
        }
    }
}

async fn wipe(world: &World, down: Duration) {
    let mut rabbit = world.rabbit.lock().await;
    rabbit.kill().await;
    rabbit.wipe();
    sleep(down).await;
    rabbit.up().await;
}

async fn fail(world: &World, provider: Provider, outage: Outage, lasting: Duration) {
    let sim = &world.sim;
    match outage {
        Outage::Down => sim.outage(provider, "down").await,
        Outage::Hang => sim.outage(provider, "hang").await,
        Outage::Unavailable => sim.outage(provider, "503").await,
        Outage::Slow(slow) => {
            let milliseconds = u32::try_from(slow.as_millis()).unwrap_or(u32::MAX);
            sim.latency(provider, milliseconds).await;
        }
    }
    sleep(lasting).await;
    sim.outage(provider, "ok").await;
    sim.latency(provider, 0).await;
}

/// What providers say now and then, on the best of days: to whoever asks next.
pub(crate) async fn moody_provider(world: &World, mood: usize) {
    let later = json!({"retry-after": "1"});
    let moods = [
        (Provider::Fcm, json!([{"case": "internal"}])),
        (
            Provider::Fcm,
            json!([{"case": "unavailable"}, {"case": "unavailable"}]),
        ),
        (
            Provider::Fcm,
            json!([{"case": "unavailable_retry_after_1"}]),
        ),
        (
            Provider::Fcm,
            json!([{"case": "quota_exceeded", "headers": later}]),
        ),
        (Provider::Fcm, json!([{"transport": "accept_then_drop"}])),
        (Provider::Fcm, json!([{"transport": "connection_reset"}])),
        (Provider::Fcm, json!([{"transport": "no_answer"}])),
        (Provider::Fcm, json!([{"transport": "accept_then_hang"}])),
        (Provider::Fcm, json!([{"transport": "refused_stream"}])),
        (Provider::Fcm, json!([{"delayMs": 1_500}, {"delayMs": 700}])),
        (Provider::Expo, json!([{"case": "internal"}])),
        (
            Provider::Expo,
            json!([{"case": "rate_limited", "headers": later}]),
        ),
        (
            Provider::Expo,
            json!([{"case": "ticket_message_rate_exceeded"}]),
        ),
        (
            Provider::Expo,
            json!([{"case": "gateway_timeout", "accepted": true}]),
        ),
        (Provider::Expo, json!([{"case": "unavailable_text"}])),
        (Provider::Expo, json!([{"transport": "accept_then_drop"}])),
        (Provider::Expo, json!([{"transport": "connection_reset"}])),
        (Provider::Expo, json!([{"transport": "no_answer"}])),
        (Provider::Expo, json!([{"delayMs": 1_500}])),
    ];
    let (provider, answers) = &moods[mood % moods.len()];
    world.sim.script_all(*provider, answers.clone()).await;
}

/// How a queue of the plan is called.
pub(crate) fn queue(lane: Lane) -> String {
    match lane {
        Lane::Jobs => crate::broker::Broker::JOBS.to_owned(),
        Lane::Rung(number) => format!(
            "push.retry.{}",
            super::world::RUNGS[number % super::world::RUNGS.len()]
        ),
        Lane::Dead => crate::broker::Broker::DEAD.to_owned(),
    }
}
