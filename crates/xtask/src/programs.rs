//! The programs of this repository as processes: started, waited for, watched, stopped.

use crate::interrupt;
use crate::process::{self, TICK};
use crate::services::Set;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Migrations of a database that exists may take their time.
const START_MAX: Duration = Duration::from_secs(90);

/// Longer than the programs' own `SHUTDOWN_GRACE` of 25 s.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Who depends on whom: the first is stopped first.
const STOP_ORDER: [&str; 3] = ["push-worker", "push-api", "push-sim"];

/// A program that was started.
pub struct Program {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

/// The mark of all programs of a set.
fn owner(set: &Set) -> PathBuf {
    set.dir().join("programs")
}

/// Builds all programs; cargo shows its own progress.
pub fn build(arguments: &[&str]) -> Result<()> {
    let status = process::foreground(
        Command::new(cargo())
            .args(["build", "--workspace", "--bins"])
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

    /// Waits until it says where it listens.
    pub fn address(&mut self) -> Result<String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(address) = log.lines().find_map(listening) {
                return Ok(address);
            }
            interrupt::check()?;
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} did not say where it listens within {} s (RUST_LOG has to let its INFO lines pass). The end of {}:\n{}",
                    self.name,
                    START_MAX.as_secs(),
                    self.log.display(),
                    process::tail(&self.log, 20)
                );
            }
            sleep(TICK);
        }
    }

    /// An error, with the end of its log, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot watch a program")? {
            bail!(
                "{} ended by itself ({status}). The end of {}:\n{}",
                self.name,
                self.log.display(),
                process::tail(&self.log, 20)
            );
        }
        Ok(())
    }
}

/// The address in the log line that a program writes when it listens, with its fields below `fields` or beside them.
fn listening(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| {
        line.get("fields")
            .and_then(|fields| fields.get(name))
            .or_else(|| line.get(name))
            .and_then(Value::as_str)
    };
    (field("message")? == "listening").then(|| field("address").map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_log_line_tell_the_address() {
        let below = r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:1"}}"#;
        let beside = r#"{"level":"INFO","message":"listening","address":"127.0.0.1:2"}"#;
        assert_eq!(listening(below).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(listening(beside).as_deref(), Some("127.0.0.1:2"));
    }

    #[test]
    fn other_lines_do_not() {
        assert_eq!(listening("Listening on 127.0.0.1:1"), None);
        assert_eq!(listening(r#"{"message":"started","address":"a:1"}"#), None);
        assert_eq!(listening(r#"{"message":"listening"}"#), None);
        assert_eq!(listening("7"), None);
    }
}
