//! `cargo xtask tidy`: what the compiler does not check about this house.

mod house;
mod listing;
mod marks;
mod monitoring;
mod settings;
mod shown;

use crate::process;
use crate::say::say;
use crate::services::checkout;
use anyhow::{Context, Result};
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask tidy`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the settings tables of the README from what the programs say
    #[arg(long)]
    fix: bool,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who or where
    offender: String,
    /// What is wrong
    wrong: String,
    /// What to do about it
    mend: String,
}

impl Finding {
    fn new(offender: impl Into<String>, wrong: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            offender: offender.into(),
            wrong: wrong.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {}\n    → {}",
            self.offender, self.wrong, self.mend
        )
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = checkout()?;
    if args.fix {
        settings::fix(&root)?;
    }
    let files = files(&root)?;
    let rules = [
        ("who may import whom", house::check(&root)?),
        ("the top folder", listing::check(&files)),
        ("unfinished marks", marks::check(&root, &files)),
        ("the settings tables of the README", settings::check(&root)?),
        ("the tests that documents name", shown::check(&root)),
        ("alerts and dashboards", monitoring::check(&root, &files)),
    ];
    let mut total = 0;
    for (rule, findings) in &rules {
        say!(
            "{} {rule}",
            if findings.is_empty() { "ok  " } else { "FAIL" }
        );
        for finding in findings {
            say!("  {finding}");
        }
        total += findings.len();
    }
    if total == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say!("\n{total} to mend");
    Ok(ExitCode::FAILURE)
}

/// What belongs to the project, relative to its root: tracked, or new and not ignored.
fn files(root: &Path) -> Result<Vec<String>> {
    // Reading is safe whoever owns the checkout: in a container it is often another than the one who looks.
    let safe = format!("safe.directory={}", root.display());
    let git = ["-c", &safe, "-C"];
    let listing = process::quiet(Command::new("git").args(git).arg(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .context("tidy looks at what git knows")?;
    Ok(listing
        .split('\0')
        .filter(|file| !file.is_empty() && root.join(file).is_file())
        .map(str::to_owned)
        .collect())
}
