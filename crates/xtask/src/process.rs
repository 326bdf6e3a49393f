//! Starting programs in the background, finding them again, and stopping them.
//!
//! Everything started here carries an environment variable that names its owner. Whoever comes later, even after a
//! `kill -9` of the first starter, finds exactly the processes of that owner in `/proc`: there are no PID files that
//! go stale and hit a stranger.

use crate::interrupt;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The mark in the environment of what we start.
pub const OWNER: &str = "PUSH_XTASK_OWNER";

/// How often a wait looks again.
pub const TICK: Duration = Duration::from_millis(50);

/// One running process of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Process id
    pub pid: i32,
    /// Short name, as the kernel keeps it: at most 15 characters
    pub name: String,
}

/// Starts `command` in the background: own process group (a Ctrl-C in the terminal is ours to handle), no input, both
/// outputs into `log`, marked with `owner`.
pub fn spawn(command: &mut Command, owner: &Path, log: &Path) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone().context("cannot share a log file")?;
    command
        .env(OWNER, owner)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

/// All live processes that carry the mark of `owner`, or of anything below it, except ourselves.
pub fn of_owner(owner: &Path) -> Vec<Found> {
    let me = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != me && carries_mark(*pid, owner))
        .filter_map(|pid| {
            let name = live_name(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
            Some(Found { pid, name })
        })
        .collect()
}

fn carries_mark(pid: i32, owner: &Path) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| owned_by(&environ, owner))
}

fn owned_by(environ: &[u8], owner: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(OWNER.as_bytes())?.strip_prefix(b"="))
        .any(|value| Path::new(OsStr::from_bytes(value)).starts_with(owner))
}

/// The name in a line of `/proc/<pid>/stat`, unless the process is only a zombie.
fn live_name(stat: &str) -> Option<String> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let state = after.trim_start().chars().next()?;
    (!matches!(state, 'Z' | 'X')).then(|| name.to_owned())
}

/// Asks `names` (or everything, if empty) of `owner` to end, waits up to `grace`, then ends what is left by force.
/// Whatever else carries the mark is left alone. Returns how many had to be forced.
pub fn stop(owner: &Path, names: &[&str], grace: Duration) -> usize {
    let matching = || -> Vec<Found> {
        let mut found = of_owner(owner);
        found.retain(|process| names.is_empty() || names.contains(&process.name.as_str()));
        found
    };
    for process in matching() {
        signal(process.pid, Signal::TERM);
    }
    let deadline = Instant::now() + grace;
    while !matching().is_empty() && Instant::now() < deadline {
        sleep(TICK);
    }
    let stubborn = matching();
    for process in &stubborn {
        signal(process.pid, Signal::KILL);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while !matching().is_empty() && Instant::now() < deadline {
        sleep(TICK);
    }
    stubborn.len()
}

/// Sends a signal; a process that is gone already is what we wanted anyway.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Runs `command` in the foreground, with its output in ours, until it ends or someone asks us to stop.
pub fn foreground(command: &mut Command) -> Result<ExitStatus> {
    interrupt::check()?;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    loop {
        // Asked first: a child that Ctrl-C has ended as well has not failed.
        if interrupt::requested() {
            // After Ctrl-C the terminal has told the child too; after a `kill` of ours alone it has not.
            signal(child.id().cast_signed(), Signal::TERM);
            child.wait().context("cannot wait for a child")?;
            bail!("interrupted");
        }
        if let Some(status) = child.try_wait().context("cannot wait for a child")? {
            return Ok(status);
        }
        sleep(TICK);
    }
}

/// Runs `command` quietly; its output is shown only in the error.
pub fn quiet(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of a log, indented, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.iter()
        .skip(all.len().saturating_sub(lines))
        .map(|line| format!("    {line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_for_its_owner_and_what_contains_it() {
        let environ = b"PATH=/bin\0PUSH_XTASK_OWNER=/a/.services/test/maria\0X=1\0";
        assert!(owned_by(environ, Path::new("/a/.services/test/maria")));
        assert!(owned_by(environ, Path::new("/a/.services/test")));
        assert!(!owned_by(environ, Path::new("/a/.services/test/rabbit")));
        assert!(!owned_by(environ, Path::new("/a/.services/te")));
        assert!(!owned_by(b"PATH=/bin\0", Path::new("/")));
    }

    #[test]
    fn a_name_may_contain_brackets_and_a_zombie_has_none() {
        assert_eq!(live_name("7 (a) b) S 1 7"), Some("a) b".to_owned()));
        assert_eq!(live_name("7 (push-api) Z 1 7"), None);
        assert_eq!(live_name("garbage"), None);
    }

    #[test]
    fn what_we_start_is_found_by_its_mark_and_stopped() {
        let dir = std::env::temp_dir().join(format!("push-xtask-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let owner = dir.join("owner");
        let mut child = spawn(
            Command::new("sleep").arg("600"),
            &owner,
            &dir.join("sleep.log"),
        )
        .unwrap();
        // The kernel shows a new program's environment a moment after it has let its starter go on.
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut found = of_owner(&owner);
        while found.is_empty() && Instant::now() < deadline {
            sleep(TICK);
            found = of_owner(&owner);
        }
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, child.id().cast_signed());

        assert_eq!(stop(&owner, &["another"], Duration::ZERO), 0);
        assert_eq!(of_owner(&owner).len(), 1);
        assert_eq!(stop(&owner, &["sleep"], Duration::from_secs(5)), 0);
        assert!(of_owner(&owner).is_empty());
        child.wait().unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
