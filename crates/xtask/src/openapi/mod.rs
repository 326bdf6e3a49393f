//! `cargo xtask openapi`: what changed in the API since the document that is kept, and whom it breaks.

mod change;
mod schema;

use crate::process;
use crate::say::say;
use crate::services::checkout;
use anyhow::{Context, Result};
use change::{Change, Kind};
use serde_json::Value;
use std::fs;
use std::process::{Command, ExitCode};

/// Where the kept document is.
const KEPT: &str = "crates/push-api/openapi.json";

/// Arguments of `cargo xtask openapi`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep the document as it is now
    #[arg(long)]
    keep: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = checkout()?;
    let text = process::quiet(Command::new(env!("CARGO")).current_dir(&root).args([
        "run",
        "--quiet",
        "--package=push-api",
        "--",
        "openapi",
    ]))?;
    let now: Value = serde_json::from_str(&text).context("push-api openapi printed no JSON")?;
    let path = root.join(KEPT);
    if args.keep {
        fs::write(&path, format!("{now:#}\n")).with_context(|| path.display().to_string())?;
        say!("{KEPT}: kept");
        return Ok(ExitCode::SUCCESS);
    }
    let kept = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let kept: Value = serde_json::from_str(&kept).with_context(|| path.display().to_string())?;
    if kept == now {
        say!("{KEPT}: nothing changed");
        return Ok(ExitCode::SUCCESS);
    }
    let changes = change::between(&kept, &now);
    for kind in [Kind::Breaking, Kind::Compatible, Kind::Words] {
        tell(kind, &changes);
    }
    say!(
        "\nIf this is meant: cargo xtask openapi --keep, and commit it. What is breaking needs another way, or a new major version."
    );
    Ok(ExitCode::FAILURE)
}

fn tell(kind: Kind, changes: &[Change]) {
    let mut of_kind = changes
        .iter()
        .filter(|change| change.kind == kind)
        .peekable();
    if of_kind.peek().is_some() {
        say!("\n{}:", kind.title());
    }
    for Change { place, what, .. } in of_kind {
        say!("  {place}: {what}");
    }
}
