//! A burst while both providers are away, and what comes down on them when they are back.

use std::time::Duration;

use tokio::time::Instant;

use super::Taken;
use super::load;
use super::rig::Rig;
use super::step::BATCH;
use crate::sim::Provider;

/// How often the simulator's record is read: it keeps the last 10,000 requests.
const LOOK: Duration = Duration::from_millis(400);
/// Entries of one page of it.
const PAGE: usize = 10_000;
/// So long nothing may arrive before that is given up: longer than any wait for a broken lane.
const STUCK: Duration = Duration::from_secs(150);
const BOTH: [Provider; 2] = [Provider::Fcm, Provider::Expo];

/// What came of it.
#[derive(Debug)]
pub(super) struct Burst {
    /// While nobody could be asked.
    pub(super) accepted: Taken,
    /// From the return of both until all were recorded.
    pub(super) seconds: f64,
    /// Pushes that came in each second after the return: to FCM and to Expo.
    pub(super) came: [Vec<u64>; 2],
}

/// `notifications` are accepted for customers with a device at either provider while both are away; then both return.
pub(super) async fn measure(rig: &mut Rig, notifications: usize) -> Burst {
    rig.have_workers(1).await;
    let before = rig.settled().await;
    for provider in BOTH {
        rig.stack.sim.outage(provider, "down").await;
    }
    let orders = rig.batches_to_two(notifications.div_ceil(BATCH));
    let accepted = rig.only_accepted(&orders).await;
    // What the workers were sure to try is in the record; it came to nobody.
    rig.arrivals().await;
    for provider in BOTH {
        rig.stack.sim.outage(provider, "ok").await;
    }
    let since = Instant::now();
    let returned_ms = load::since_epoch() / 1_000;
    let came = until_settled(rig, before + accepted.items as f64, returned_ms).await;
    let burst = Burst {
        accepted,
        seconds: since.elapsed().as_secs_f64(),
        came,
    };
    let seen = burst.pushes(0).min(burst.pushes(1));
    if seen < burst.accepted.items as u64 {
        rig.problems
            .push("not every push of the burst was seen".to_owned());
    }
    burst
}

async fn until_settled(rig: &mut Rig, wanted: f64, returned_ms: u64) -> [Vec<u64>; 2] {
    let mut came = [Vec::new(), Vec::new()];
    let mut last = (Instant::now(), 0.0);
    loop {
        let settled = rig.settled().await;
        read(rig, returned_ms, &mut came).await;
        if settled >= wanted {
            return came;
        }
        if settled > last.1 {
            last = (Instant::now(), settled);
        } else if last.0.elapsed() > STUCK {
            let missing = wanted - settled;
            rig.problems.push(format!(
                "{missing} notifications of the burst are not recorded"
            ));
            return came;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads what came since the record was read last.
async fn read(rig: &mut Rig, returned_ms: u64, came: &mut [Vec<u64>; 2]) {
    loop {
        let page = rig.stack.sim.record_after(rig.read, PAGE).await;
        let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        for item in items {
            let provider = BOTH.map(Provider::as_str);
            let provider = provider.iter().position(|name| item["provider"] == *name);
            let at = item["atMs"].as_u64().unwrap_or_default();
            if let Some(provider) = provider
                && !item["token"].is_null()
            {
                count(&mut came[provider], at.saturating_sub(returned_ms) / 1_000);
            }
        }
        rig.read = page["next"].as_u64().unwrap_or(rig.read);
        if items.len() < PAGE {
            return;
        }
    }
}

fn count(seconds: &mut Vec<u64>, second: u64) {
    let second = usize::try_from(second).unwrap_or(usize::MAX);
    if seconds.len() <= second {
        seconds.resize(second + 1, 0);
    }
    seconds[second] += 1;
}

impl Burst {
    /// Pushes that came to one of the two.
    pub(super) fn pushes(&self, provider: usize) -> u64 {
        self.came[provider].iter().sum()
    }

    /// The most of one second.
    pub(super) fn most(&self, provider: usize) -> u64 {
        self.came[provider]
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// A second of FCM's, on the average of each ten seconds after the return, up to a minute and a half.
    pub(super) fn way_up(&self) -> Vec<u64> {
        let tens = self.came[0].chunks(10).take(9);
        tens.map(|ten| ten.iter().sum::<u64>() / ten.len() as u64)
            .collect()
    }

    /// Requests for a push that was to be sent, on the average of the provider that was asked more: 1 is none in vain.
    pub(super) fn asked(&self) -> f64 {
        let most = self.pushes(0).max(self.pushes(1));
        most as f64 / self.accepted.items.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_told_by_the_second() {
        let mut fcm = Vec::new();
        for second in [0, 0, 3, 12] {
            count(&mut fcm, second);
        }
        assert_eq!(fcm[..4], [2, 0, 0, 1]);
        let burst = Burst {
            accepted: Taken {
                items: 4,
                ..Taken::default()
            },
            seconds: 13.0,
            came: [fcm, vec![2, 3]],
        };
        assert_eq!((burst.most(0), burst.pushes(0)), (2, 4));
        assert_eq!((burst.most(1), burst.pushes(1)), (3, 5));
        assert_eq!(burst.way_up(), [0, 0]);
        assert!((burst.asked() - 1.25).abs() < 1e-9);
    }
}
