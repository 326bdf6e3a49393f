//! `cargo xtask upgrade`: from the programs of another revision to these and back again, under load, one after the
//! other, without one failed request.
//!
//! The upgrade itself is a test, `tests/it/rolling.rs`. Here it gets the programs to upgrade from, built in a work tree
//! of that revision.

use crate::guard;
use crate::install::Package;
use crate::process;
use crate::programs;
use crate::say::Steps;
use crate::services::{Purpose, Set, checkout};
use crate::test;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is upgraded.
const PROGRAMS: [&str; 2] = ["push-api", "push-worker"];
/// The test that does it.
const UPGRADE: &str = "rolling::an_upgrade_and_the_way_back_fail_no_request";

/// Arguments of `cargo xtask upgrade`.
#[derive(clap::Args)]
pub struct Args {
    /// The git revision to upgrade from [default: the newest tag before HEAD, or else HEAD~1]
    revision: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let before = Before::of(args.revision.as_deref())?;
    let mut steps = Steps::new(5);
    guard::alone(Purpose::Test, "cargo xtask upgrade", |set| {
        under_guard(set, &mut steps, &before)
    })
}

fn under_guard(set: &Set, steps: &mut Steps, before: &Before) -> Result<ExitCode> {
    let mut step = steps.next("RabbitMQ and MariaDB: installed");
    set.install(&Package::SERVERS, &mut step)?;
    step.done("yes");
    let environment = test::empty_servers(set, steps)?;

    let mut step = steps.next("Building these programs");
    programs::build(Some((set, &mut step)), &["--tests"])?;
    step.done("built");

    let what = format!("Building those of {}", before.name);
    let mut step = steps.next(&what);
    step.lines();
    let folder = before.build(set)?;
    step.done("built");

    let mut step = steps.next("Up, and back again");
    step.lines();
    let status = process::foreground(
        programs::cargo_of(Some(set))
            .args(["test", "--test", "it", "--", "--exact"])
            .args(["--nocapture", UPGRADE])
            .current_dir(checkout()?)
            .env("PUSH_TEST_BIN_DIR", programs::folder(false)?)
            .env("PUSH_TEST_BIN_DIR_BEFORE", folder)
            .envs(environment.iter().map(|(name, value)| (name, value))),
    )?;
    if status.success() {
        step.done("no request failed");
        return Ok(ExitCode::SUCCESS);
    }
    step.done("NOT WITHOUT LOSS: see above");
    Ok(ExitCode::FAILURE)
}

/// The version before.
struct Before {
    /// As git describes it.
    name: String,
    commit: String,
    /// Holds its sources and what is built of them.
    dir: PathBuf,
}

impl Before {
    fn of(revision: Option<&str>) -> Result<Self> {
        let root = checkout()?;
        let revision = match revision {
            Some(revision) => revision.to_owned(),
            None => git(&root, &["describe", "--tags", "--abbrev=0", "HEAD~1"])
                .unwrap_or_else(|_| "HEAD~1".to_owned()),
        };
        let wanted = format!("{revision}^{{commit}}");
        let commit = git(
            &root,
            &["rev-parse", "--verify", "--end-of-options", &wanted],
        )
        .with_context(|| format!("there is no revision {revision} here"))?;
        let target = programs::folder(false)?;
        let target = target.parent().context("the programs have no folder")?;
        Ok(Self {
            name: git(&root, &["log", "-1", "--format=%h (%cs)", &commit])?,
            commit,
            dir: target.join("upgrade"),
        })
    }

    /// Builds its programs; their folder.
    fn build(&self, set: &Set) -> Result<PathBuf> {
        let (source, target) = (self.dir.join("source"), self.dir.join("build"));
        self.check_out(&source)?;
        let status = process::foreground(
            programs::cargo_of(Some(set))
                .args(["build", "--locked", "--bins"])
                .args(PROGRAMS.map(|program| format!("--package={program}")))
                .current_dir(&source)
                .env("CARGO_TARGET_DIR", &target),
        )?;
        if !status.success() {
            bail!("{} could not be built: see above", self.name);
        }
        Ok(target.join("debug"))
    }

    /// A work tree that is there already is moved, so that only what differs is built again.
    fn check_out(&self, source: &Path) -> Result<()> {
        if source.join(".git").exists() {
            git(
                source,
                &["checkout", "--quiet", "--force", "--detach", &self.commit],
            )?;
        } else {
            let source = source.to_string_lossy();
            let add = ["worktree", "add", "--quiet", "--force", "--detach"];
            git(
                &checkout()?,
                &[&add[..], &[&*source, &*self.commit]].concat(),
            )?;
        }
        Ok(())
    }
}

fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let said = process::quiet(Command::new("git").current_dir(dir).args(arguments))?;
    Ok(said.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_not_there_is_told_by_its_name() {
        let error = Before::of(Some("no-such-revision")).err().unwrap();
        assert_eq!(
            error.to_string(),
            "there is no revision no-such-revision here"
        );
    }

    #[test]
    fn a_revision_is_never_an_option_of_git() {
        assert!(Before::of(Some("--help")).is_err());
    }
}
