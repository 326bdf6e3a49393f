//! The machine itself: what others took of it while something was measured.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::process::{self, Process};

/// Beyond this part of the machine, what others take is in the figures.
const SHARE_MAX: f64 = 0.1;
/// So many of them are named.
const NAMED: usize = 3;
/// Below this part of the machine nobody is worth naming.
const NAMED_MIN: f64 = 0.01;

/// How often others are looked at: who has ended since is named for what it took until then.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at the others while something is measured.
#[derive(Debug)]
pub(super) struct Watch {
    owner: PathBuf,
    before: Reading,
    /// All that were seen since.
    seen: Arc<Mutex<HashMap<u32, (String, u64)>>>,
    looking: JoinHandle<()>,
}

/// How the machine's time was spent up to a moment, in microseconds over all its cores.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// Passed.
    all: u64,
    /// Of that, spent on anything.
    busy: u64,
    /// Of that, by what belongs to the bench, and by its children that have ended.
    ours: u64,
    /// What each of the others had spent.
    others: HashMap<u32, (String, u64)>,
}

/// What others took of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Others {
    /// Of all its cores, 0 to 1.
    pub(super) share: f64,
    /// Who took the most, by name, with its share.
    pub(super) who: Vec<(String, f64)>,
}

impl Watch {
    /// From now on. `owner`: whose mark the bench's own processes carry.
    pub(super) fn start(owner: &Path) -> Self {
        let seen = Arc::default();
        Self {
            owner: owner.to_owned(),
            before: Reading::take(owner),
            looking: tokio::spawn(look(owner.to_owned(), Arc::clone(&seen))),
            seen,
        }
    }

    /// Until now.
    pub(super) fn stop(self) -> Others {
        self.looking.abort();
        let mut after = Reading::take(&self.owner);
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        for (pid, process) in seen {
            after.others.entry(pid).or_insert(process);
        }
        after.others_since(&self.before)
    }
}

async fn look(owner: PathBuf, seen: Arc<Mutex<HashMap<u32, (String, u64)>>>) {
    loop {
        sleep(LOOK).await;
        let others = Reading::take(&owner).others;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(others);
    }
}

impl Reading {
    /// Now. `owner`: whose mark the bench's own processes carry.
    fn take(owner: &Path) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (all, busy) = spent(&stat).unwrap_or_default();
        let ours = process::of_owner(owner);
        let mut reading = Self {
            all,
            busy,
            ..Self::default()
        };
        for pid in process::all() {
            let Some(process) = Process::read(pid) else {
                continue;
            };
            if ours.contains(&pid) {
                reading.ours += process.own + process.children;
            } else {
                reading.others.insert(pid, (process.name, process.own));
            }
        }
        reading
    }

    /// What others took from `before` to this.
    fn others_since(&self, before: &Self) -> Others {
        let all = self.all.saturating_sub(before.all).max(1) as f64;
        let busy = self.busy.saturating_sub(before.busy);
        let ours = self.ours.saturating_sub(before.ours);
        let mut by_name: HashMap<&str, f64> = HashMap::new();
        for (pid, (name, spent)) in &self.others {
            let earlier = before.others.get(pid).map_or(0, |(_, spent)| *spent);
            *by_name.entry(name).or_default() += spent.saturating_sub(earlier) as f64 / all;
        }
        let mut who: Vec<_> = by_name
            .into_iter()
            .map(|(name, share)| (name.to_owned(), share))
            .collect();
        who.retain(|(_, share)| *share >= NAMED_MIN);
        who.sort_by(|one, other| other.1.total_cmp(&one.1));
        who.truncate(NAMED);
        Others {
            // The kernel rounds both to its ticks.
            share: busy.saturating_sub(ours) as f64 / all,
            who,
        }
    }
}

impl Others {
    /// Too much for a comparison.
    pub(super) fn are_in_the_way(&self) -> bool {
        self.share > SHARE_MAX
    }

    /// `others took 37 % of the machine: rustc 25 %, cargo 4 %, and who came and went 8 %`
    pub(super) fn told(&self) -> String {
        let named = self.who.iter();
        let named: Vec<_> = named.map(|(name, share)| told(name, *share)).collect();
        let gone = self.share - self.who.iter().map(|(_, share)| share).sum::<f64>();
        let gone = told("who came and went, or the host", gone);
        let named = named.join(", ");
        let names = if named.is_empty() {
            gone
        } else {
            format!("{named}; {gone}")
        };
        format!(
            "others took {:.0} % of the machine: {names}",
            self.share * 100.0
        )
    }
}

fn told(name: &str, share: f64) -> String {
    format!("{name} {:.0} %", (share * 100.0).max(0.0))
}

/// What of the machine's time has passed, and was spent, in microseconds: the first line of `/proc/stat`.
fn spent(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; what guests take is in `user`.
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all * 10_000, (all - idle) * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(all: u64, busy: u64, ours: u64, others: &[(u32, &str, u64)]) -> Reading {
        let others = others
            .iter()
            .map(|(pid, name, spent)| (*pid, ((*name).to_owned(), *spent)))
            .collect();
        Reading {
            all,
            busy,
            ours,
            others,
        }
    }

    #[test]
    fn what_is_not_ours_is_others() {
        let before = reading(1_000, 500, 300, &[(1, "init", 100), (2, "rustc", 50)]);
        let quiet = reading(3_000, 2_400, 2_100, &[(1, "init", 110), (2, "rustc", 50)]);
        let others = quiet.others_since(&before);
        assert!((others.share - 0.05).abs() < 1e-9 && !others.are_in_the_way());
        assert_eq!(others.who, []);
        let busy = [
            (1, "init", 110),
            (2, "rustc", 150),
            (3, "ld", 100),
            (4, "rustc", 100),
        ];
        let others = reading(3_000, 2_400, 1_600, &busy).others_since(&before);
        assert!((others.share - 0.3).abs() < 1e-9 && others.are_in_the_way());
        let named = [("rustc".to_owned(), 0.1), ("ld".to_owned(), 0.05)];
        assert_eq!(others.who, named);
        assert_eq!(
            others.told(),
            "others took 30 % of the machine: rustc 10 %, ld 5 %; who came and went, or the host 15 %"
        );
        // Rounded up for us.
        let nobody = reading(3_000, 2_400, 2_300, &[]).others_since(&before);
        assert_eq!(nobody, Others::default());
    }

    #[test]
    fn waiting_is_not_spending() {
        let stat = "cpu  10 2 3 70 5 1 1 8 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(spent(stat), Some((1_000_000, 250_000)));
        assert_eq!(spent("intr 1"), None);
    }
}
