//! The programs of this repository as processes: started, waited for, watched, stopped.

use crate::http::Client;
use crate::install::Package;
use crate::interrupt;
use crate::process::{self, TICK};
use crate::say::Step;
use crate::services::Set;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Migrations of a database that exists may take their time.
const START_MAX: Duration = Duration::from_secs(90);

/// They are on this machine: what is not there by then does not come.
const READY_MAX: Duration = Duration::from_secs(60);

/// Longer than the programs' own `SHUTDOWN_GRACE` of 25 s.
const STOP_MAX: Duration = Duration::from_secs(40);

/// Who depends on whom: the first is stopped first.
const STOP_ORDER: [&str; 3] = ["push-worker", "push-api", "push-sim"];

/// A program that was started.
pub struct Program {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

/// The mark of all programs of a set.
pub fn owner(set: &Set) -> PathBuf {
    set.dir().join("programs")
}

/// Builds all programs but the one that only Valgrind runs, for a set if one is held, after installing what that takes;
/// cargo shows its own progress.
pub fn build(held: Option<(&Set, &mut Step)>, arguments: &[&str]) -> Result<()> {
    let mut set = None;
    if let Some((held, step)) = held {
        held.install(&[Package::Make], step)?;
        step.lines();
        set = Some(held);
    }
    let status = process::foreground(
        cargo_of(set)
            .args([
                "build",
                "--workspace",
                "--exclude=push-instructions",
                "--bins",
            ])
            .args(arguments),
    )?;
    if !status.success() {
        bail!("the build failed: see above");
    }
    Ok(())
}

/// The cargo that runs us.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The same as a command, and as one of the programs of `set`: what it starts is stopped with them.
pub fn cargo_of(set: Option<&Set>) -> Command {
    let mut command = Command::new(cargo());
    // `cargo xtask` tells us which package we are. A build script that looks at that, as ring's does, would run again
    // after each plain `cargo build`, and most of the workspace be built anew.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    if let Some(set) = set {
        command.env(process::OWNER, owner(set));
    }
    command
}

/// The folder of the built programs: beside ourselves, or beside that for another profile.
pub fn folder(release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    let me = std::env::current_exe().context("cannot find the folder of the programs")?;
    me.ancestors()
        .nth(2)
        .map(|target| target.join(profile))
        .context("cannot find the folder of the programs")
}

/// Stops what runs of this set, in order. Returns how many there were.
pub fn stop(set: &Set) -> usize {
    let owner = owner(set);
    let before = process::of_owner(&owner).len();
    for name in STOP_ORDER {
        process::stop(&owner, &[name], STOP_MAX);
    }
    process::stop(&owner, &[], STOP_MAX);
    before
}

impl Program {
    /// Starts the program `name` from `folder`.
    pub fn start(
        set: &Set,
        folder: &Path,
        name: &'static str,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        let log = set.log(name);
        let child = process::spawn(
            Command::new(folder.join(name))
                .env("LOG_FORMAT", "json")
                .envs(settings.iter().map(|(name, value)| (name, value))),
            &owner(set),
            &log,
        )?;
        Ok(Self { name, log, child })
    }

    /// Waits until it answers at `path`. Its log is not asked: `RUST_LOG` decides what stands there.
    pub fn answers(&mut self, url: &str, path: &str) -> Result<()> {
        let client = Client::new(url, "");
        let deadline = Instant::now() + START_MAX;
        while !client.exists(path) {
            interrupt::check()?;
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} does not answer at {url}{path} within {} s. {}",
                    self.name,
                    START_MAX.as_secs(),
                    self.end_of_log()
                );
            }
            sleep(TICK);
        }
        self.check()
    }

    /// Waits until it has all that it needs.
    pub fn ready(&mut self, url: &str) -> Result<()> {
        let client = Client::new(url, "");
        let deadline = Instant::now() + READY_MAX;
        loop {
            let Err(cause) = client.ready() else {
                return Ok(());
            };
            interrupt::check()?;
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready within {} s: {cause:#}\n{}",
                    self.name,
                    READY_MAX.as_secs(),
                    self.end_of_log()
                );
            }
            sleep(TICK);
        }
    }

    /// An error, with the end of its log, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot watch a program")? {
            bail!(
                "{} ended by itself ({status}). {}",
                self.name,
                self.end_of_log()
            );
        }
        Ok(())
    }

    fn end_of_log(&self) -> String {
        format!(
            "The end of {}:\n{}",
            self.log.display(),
            process::tail(&self.log, 20)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_ours_is_the_same_as_a_plain_one() {
        // Set for this test by cargo, as for xtask itself.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let command = cargo_of(None);
        let removed = |wanted: &str| command.get_envs().any(|env| env == (wanted.as_ref(), None));
        assert!(removed("CARGO_PKG_NAME") && removed("CARGO_MANIFEST_DIR"));
    }
}
