//! What the kernel says of processes: `/proc`.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `/proc` counts time in hundredths of a second, whatever the kernel's own clock ticks (`USER_HZ`).
const MICROS_A_TICK: u64 = 10_000;
/// The mark of what `cargo xtask` starts, which names its owner.
const OWNER: &[u8] = b"PUSH_XTASK_OWNER=";

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// As the kernel keeps it: 15 characters at most.
    pub(super) name: String,
    /// Its time in user and system mode, in microseconds.
    pub(super) own: u64,
    /// The same of all its children that have ended.
    pub(super) children: u64,
}

impl Process {
    /// `None` when there is none any more.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A name may contain anything, also parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        // The first that follows is the third field of proc_pid_stat(5).
        let mut ticks = after.split_ascii_whitespace().skip(14 - 3);
        let mut next = || ticks.next()?.parse::<u64>().ok();
        let (user, system, ended_user, ended_system) = (next()?, next()?, next()?, next()?);
        Some(Self {
            name: name.to_owned(),
            own: (user + system) * MICROS_A_TICK,
            children: (ended_user + ended_system) * MICROS_A_TICK,
        })
    }
}

/// All that run now.
pub(super) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Those that carry the mark of `owner`, or of anything below it.
pub(super) fn of_owner(owner: &Path) -> Vec<u32> {
    let carries = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| is_owned(&environment, owner))
    };
    all().into_iter().filter(carries).collect()
}

fn is_owned(environment: &[u8], owner: &Path) -> bool {
    let mut variables = environment.split(|byte| *byte == 0);
    variables
        .find_map(|variable| variable.strip_prefix(OWNER))
        .is_some_and(|value| Path::new(std::ffi::OsStr::from_bytes(value)).starts_with(owner))
}

/// The most memory that it has had resident since [`forget_peak`], in bytes.
pub(super) fn peak(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

/// The memory that it has resident, in bytes.
pub(super) fn resident(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The peak is told from now on; best effort, because then it is only told from an earlier moment on.
pub(super) fn forget_peak(pid: u32) {
    drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
}

fn status(pid: u32, field: &str) -> Option<u64> {
    kilobytes(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        field,
    )
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_time_and_its_childrens() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 98 0 0 0 12 3 40 5 20 0 1 0 6139315";
        let read = Process {
            name: "a) b".to_owned(),
            own: 150_000,
            children: 450_000,
        };
        assert_eq!(Process::parse(line), Some(read));
        assert_eq!(Process::parse("7 (a) S 1 2"), None);
        let me = Process::read(std::process::id());
        assert!(me.is_some_and(|me| !me.name.is_empty()));
    }

    #[test]
    fn an_owner_has_what_is_marked_with_it_or_below() {
        let environment = b"PATH=/bin\0PUSH_XTASK_OWNER=/a/bench/maria\0HOME=/";
        for owner in ["/a/bench", "/a/bench/maria"] {
            assert!(is_owned(environment, Path::new(owner)), "{owner}");
        }
        for owner in ["/a/ben", "/a/bench/rabbit"] {
            assert!(!is_owned(environment, Path::new(owner)), "{owner}");
        }
        assert!(!is_owned(b"PATH=/a/bench", Path::new("/a/bench")));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }
}
