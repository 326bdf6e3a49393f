//! Nothing stays behind, however a command ends.
//!
//! On every way out of the command, a panic as well, the set is stopped by [`Guard`]'s drop. Where nothing of ours runs
//! any more (`kill -9`, out of memory), a second process sees its standard input end and stops the set instead.

use crate::interrupt;
use crate::services::{Purpose, Set};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// The kernel closes a killed process's files one after the other: the pipe may be gone before the lock is.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// Stops everything of a set when it is dropped, or when this process is killed.
pub struct Guard<'a> {
    set: &'a Set,
    watcher: Child,
}

impl<'a> Guard<'a> {
    /// From here on. The caller holds the lock of `set` for longer than this.
    pub fn over(set: &'a Set) -> Result<Self> {
        let me = std::env::current_exe().context("cannot find ourselves")?;
        let watcher = Command::new(me)
            .args(["guard", set.purpose().name()])
            // A Ctrl-C in the terminal is ours to handle.
            .process_group(0)
            .env_remove(crate::process::OWNER)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the process that cleans up after a kill")?;
        Ok(Self { set, watcher })
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.set.down();
        // Not before: we may be killed while we stop.
        let _ = self.watcher.kill().and_then(|()| self.watcher.wait());
    }
}

/// Does `work` on the set of `purpose`, one run of `command` at a time, and leaves nothing running.
pub fn alone(
    purpose: Purpose,
    command: &str,
    work: impl FnOnce(&Set) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let set = Set::of(purpose)?;
    let _held = set.lock_alone(command)?;
    let guard = Guard::over(&set)?;
    let result = work(&set);
    drop(guard);
    if interrupt::requested() {
        bail!("interrupted; nothing is left running");
    }
    result
}

/// Arguments of the hidden `cargo xtask guard`.
#[derive(clap::Args)]
pub struct Args {
    purpose: Purpose,
}

/// Runs the command: whoever holds the other end of our standard input is watched.
pub fn run(args: &Args) -> Result<ExitCode> {
    let set = Set::of(args.purpose)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
        .context("cannot watch standard input")?;
    // A new run that holds the set already has seen to what was left.
    if let Some(_held) = set.lock(LET_GO_MAX, || Ok(()))? {
        set.down();
    }
    Ok(ExitCode::SUCCESS)
}
