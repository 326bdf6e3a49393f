//! What takes longer, and is measured when it is asked for.

use std::time::Duration;

use super::burst::{self, Burst};
use super::meter::Costs;
use super::process;
use super::rig::Rig;
use super::{Options, Taken};

/// How often memory is looked at over many notifications.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than any such run.
const ENDLESS: Duration = Duration::from_secs(24 * 3_600);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) flat: Option<Flat>,
    pub(super) backlog: Option<Backlog>,
    pub(super) burst: Option<Burst>,
    pub(super) workers: Vec<Workers>,
}

/// So many workers.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) count: u32,
    /// As fast as the callers get answers: the same callers for each number of workers, so that each has less to do.
    pub(super) full: Taken,
    /// With enough to do for all of them: what had waited for them.
    pub(super) drained: Taken,
}

/// Batches that wait for the workers whose number is compared.
const WAITING: usize = 150;

/// Memory over many notifications, in bytes: of `push-api` and of `push-worker`.
#[derive(Debug)]
pub(super) struct Flat {
    pub(super) taken: Taken,
    /// The most in the second tenth of the time: the first is for growing.
    pub(super) early: [u64; 2],
    /// The most in the last tenth.
    pub(super) late: [u64; 2],
}

/// Many that waited for a worker.
#[derive(Debug)]
pub(super) struct Backlog {
    /// While nobody took them; the worker's is 0.
    pub(super) accepted: Taken,
    /// From the worker's start until all were recorded.
    pub(super) seconds: f64,
    pub(super) worker_peak: u64,
}

pub(super) async fn measure(rig: &mut Rig, options: &Options, say: &impl Fn(&str)) -> More {
    let mut more = More::default();
    if options.notifications > 0 {
        say(&format!(
            "{} notifications at full speed",
            options.notifications
        ));
        more.flat = Some(flat(rig, options.notifications as usize).await);
    }
    if options.backlog > 0 {
        say(&format!(
            "{} notifications wait for a worker",
            options.backlog
        ));
        more.backlog = Some(backlog(rig, options.backlog as usize).await);
    }
    if options.burst > 0 {
        say(&format!(
            "{} notifications while both providers are away",
            options.burst
        ));
        more.burst = Some(burst::measure(rig, options.burst as usize).await);
    }
    for count in &options.workers {
        say(&format!("full speed with {count} workers, and a backlog"));
        rig.have_workers(*count as usize).await;
        more.workers.push(Workers {
            count: *count,
            full: rig.programs(super::Scene::Single, 0.0).await,
            drained: rig.drained(*count as usize, WAITING).await,
        });
    }
    more
}

async fn flat(rig: &mut Rig, notifications: usize) -> Flat {
    let orders = rig.single(ENDLESS, notifications);
    let pids = [&rig.stack.apis, &rig.stack.workers].map(|programs| programs[0].pid());
    let mut seen = Vec::new();
    let watch = async {
        loop {
            let now = pids.map(|pid| pid.and_then(process::resident).unwrap_or_default());
            seen.push(now);
            tokio::time::sleep(LOOK).await;
        }
    };
    let taken = {
        let done = rig.call(&orders);
        tokio::select! {
            biased;
            done = done => done.taken,
            () = watch => Taken::default(),
        }
    };
    Flat {
        taken,
        early: most(tenth(&seen, 1)),
        late: most(tenth(&seen, 9)),
    }
}

/// One of ten parts of what was seen, none of them empty unless all is.
fn tenth<T>(all: &[T], number: usize) -> &[T] {
    let at = |number: usize| all.len() * number / 10;
    let first = at(number).min(all.len().saturating_sub(1));
    let end = at(number + 1).max(first + 1).min(all.len());
    all.get(first..end).unwrap_or_default()
}

fn most(all: &[[u64; 2]]) -> [u64; 2] {
    all.iter().fold([0; 2], |most, now| {
        [most[0].max(now[0]), most[1].max(now[1])]
    })
}

async fn backlog(rig: &mut Rig, notifications: usize) -> Backlog {
    rig.have_workers(0).await;
    let orders = rig.batches(notifications.div_ceil(super::step::BATCH));
    let accepted = rig.only_accepted(&orders).await;
    let since = tokio::time::Instant::now();
    rig.have_workers(1).await;
    rig.all_settled(accepted.items as f64).await;
    let pid = rig.stack.workers[0].pid();
    Backlog {
        seconds: since.elapsed().as_secs_f64(),
        worker_peak: pid.and_then(process::peak).unwrap_or_default(),
        accepted,
    }
}

impl Backlog {
    pub(super) fn rate(&self) -> f64 {
        self.accepted.items as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// By how much the dearest of several costs more than the cheapest: 0.1 is 10 %.
pub(super) fn spread(costs: &[Costs]) -> f64 {
    let totals = costs.iter().map(|costs| costs.own + costs.servers);
    let (least, most) = totals.fold((f64::MAX, 0.0_f64), |(least, most), total| {
        (least.min(total), most.max(total))
    });
    if least > 0.0 && most > 0.0 {
        most / least - 1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_never_empty() {
        let all: Vec<_> = (0..100).collect();
        assert_eq!(tenth(&all, 1), &all[10..20]);
        assert_eq!(tenth(&all, 9), &all[90..]);
        assert_eq!((tenth(&[1, 2], 1), tenth(&[1, 2], 9)), (&[1][..], &[2][..]));
        assert_eq!(tenth(&[0; 0], 9), &[0; 0]);
        assert_eq!(most(&[[1, 5], [3, 2]]), [3, 5]);
    }

    #[test]
    fn the_spread_is_between_the_cheapest_and_the_dearest() {
        let of = |own| Costs {
            own,
            servers: 50.0,
            rest: 900.0 * own,
        };
        assert!((spread(&[of(50.0), of(60.0), of(70.0)]) - 0.2).abs() < 1e-9);
        assert!(spread(&[]).abs() < 1e-9);
    }
}
