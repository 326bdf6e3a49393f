//! The booking backend: a steady flow of notifications, whatever becomes of those before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::chaos::now_ms;
use crate::device::Device;
use crate::stack::Stack;

/// Who takes turns in a flow: enough for a provider to fail for many.
const CUSTOMERS: i64 = 100;
/// Apps that register at one time.
const REGISTER_AT_ONCE: usize = 16;
/// Requests that may wait for their answer at one time. Beyond that the next ones are late, which counts as waiting.
const CALLERS_MAX: usize = 1_000;

/// To whom a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Customers {
    /// With one device each, at FCM.
    Fcm,
    /// With one device each, at Expo.
    Expo,
    /// With a device at each.
    Both,
}

impl Customers {
    pub(super) const ALL: [Self; 3] = [Self::Fcm, Self::Expo, Self::Both];

    const fn first(self) -> i64 {
        match self {
            Self::Fcm => 1_000,
            Self::Expo => 2_000,
            Self::Both => 3_000,
        }
    }

    fn devices(self, customer: i64) -> Vec<Device> {
        let fcm = || Device::android_fcm(&format!("android of {customer}"));
        let expo = || Device::ios_expo(&format!("iphone of {customer}"));
        match self {
            Self::Fcm => vec![fcm()],
            Self::Expo => vec![expo()],
            Self::Both => vec![fcm(), expo()],
        }
    }
}

/// All their apps register.
pub(super) async fn register_all(stack: &Stack) {
    use futures::StreamExt as _;
    let devices = Customers::ALL.into_iter().flat_map(|customers| {
        let ids = (0..CUSTOMERS).map(move |number| customers.first() + number);
        ids.flat_map(move |id| customers.devices(id).into_iter().map(move |it| (id, it)))
    });
    futures::stream::iter(devices)
        .for_each_concurrent(REGISTER_AT_ONCE, async |(customer, device)| {
            stack.register(customer, device).await;
        })
        .await;
}

/// A notification that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) notification: u128,
    pub(super) customers: Customers,
    /// When it was to be sent, in milliseconds since 1970. Whatever holds it up from then on counts: a sender that waits for
    /// a slow service sends less, and would hide what those wait that it did not send.
    pub(super) due_ms: u64,
}

/// What came of a flow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) sent: Vec<Sent>,
    /// Requests that were not answered with a 2xx.
    pub(super) refused: usize,
}

/// Sends so many a second to the customers, in turn, for so long.
pub(super) async fn flow(
    stack: &Stack,
    customers: Customers,
    per_second: u32,
    lasting: Duration,
) -> Flow {
    let (since, since_ms) = (Instant::now(), now_ms());
    let callers = Arc::new(Semaphore::new(CALLERS_MAX));
    let mut calls = JoinSet::new();
    let pace = Duration::from_secs(1) / per_second;
    // Not all at the same moment.
    let mut at = pace.mul_f64(customers.first() as f64 / 4_000.0);
    let mut turns = (0..CUSTOMERS).cycle();
    while at < lasting {
        sleep_until(since + at).await;
        let customer = customers.first() + turns.next().unwrap_or_default();
        // The same text each time: what must not be found in a log is looked for in each line of it.
        let send = stack
            .send(customer)
            .with("title", "Technician is on the way!")
            .with("body", "He has started the journey to your location.");
        let due_ms = since_ms + u64::try_from(at.as_millis()).unwrap_or_default();
        let Ok(caller) = Arc::clone(&callers).acquire_owned().await else {
            break;
        };
        calls.spawn(async move {
            let _caller = caller;
            let answer = send.try_answer().await.ok()?;
            let id = answer.json["notificationId"].as_str()?;
            let notification = Uuid::parse_str(id).ok()?.as_u128();
            Some(Sent {
                notification,
                customers,
                due_ms,
            })
        });
        at += pace;
    }
    let mut flow = Flow::default();
    for sent in calls.join_all().await {
        match sent {
            Some(sent) => flow.sent.push(sent),
            None => flow.refused += 1,
        }
    }
    flow
}
