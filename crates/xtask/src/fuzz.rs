//! `cargo xtask fuzz`: everything that meets bytes from outside, met with bytes from anywhere.
//!
//! The targets in `tests/fuzz` have cargo-fuzz's layout, so `cargo fuzz run --fuzz-dir tests/fuzz TARGET` works too. Here
//! they are built by the plain stable compiler, with the flags that cargo-fuzz would give it, so that nothing has to be
//! installed but a C++ compiler. Without a sanitizer: no code of ours is unsafe, and what is looked for is panics,
//! overflows, hangs and memory.

use crate::process;
use crate::programs;
use crate::say::{Steps, say};
use crate::services::checkout;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Where the targets are.
const PACKAGE: &str = "tests/fuzz";
/// Below the folder of builds: what is built, what was learned, what was found.
const TARGET: &str = "target/fuzz";
/// How the code is made to tell where it has been (cargo-fuzz 0.13).
const FLAGS: &[&str] = &[
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// No input may take longer, or more.
const BOUNDS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=512"];

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Which targets; all, if none is named
    targets: Vec<String>,
    /// How long each of them is tried
    #[arg(long, default_value_t = 15)]
    seconds: u32,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = checkout()?;
    let targets = chosen(&root, &args.targets)?;
    let mut steps = Steps::new(2);

    let mut step = steps.next("Building the targets (the first time takes some minutes)");
    step.lines();
    build(&root)?;
    step.done("built");

    let mut step = steps.next(&format!("Fuzzing, {} s each", args.seconds));
    step.lines();
    let failed = fuzz(&root, &targets, args.seconds)?;
    if failed.is_empty() {
        step.done("nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    step.done(&format!("FAILED: {}", failed.join(", ")));
    say!("What was found is in {TARGET}/found. Mend it, and keep the input in {PACKAGE}/seeds.");
    Ok(ExitCode::FAILURE)
}

/// Those that are there, or those of them that are wanted.
fn chosen(root: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let folder = root.join(PACKAGE).join("targets");
    let listed = fs::read_dir(&folder).with_context(|| format!("cannot read {PACKAGE}/targets"))?;
    let mut known: Vec<String> = listed
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    known.sort();
    if let Some(stranger) = wanted.iter().find(|name| !known.contains(name)) {
        bail!(
            "there is no target {stranger:?}; there are {}",
            known.join(", ")
        );
    }
    Ok(if wanted.is_empty() {
        known
    } else {
        wanted.to_vec()
    })
}

fn build(root: &Path) -> Result<()> {
    if process::quiet(Command::new("c++").arg("--version")).is_err() {
        bail!("a C++ compiler is needed for libFuzzer: apt-get install g++");
    }
    let status = process::foreground(
        programs::cargo_of(None)
            .current_dir(root)
            .env("RUSTFLAGS", FLAGS.join(" "))
            .args(["build", "--locked", "--bins", "--manifest-path"])
            .arg(root.join(PACKAGE).join("Cargo.toml"))
            // With a target named, the flags are for the targets only and not for build scripts.
            .args(["--target", &host()?, "--target-dir"])
            .arg(root.join(TARGET)),
    )?;
    if !status.success() {
        bail!("the build failed: see above");
    }
    Ok(())
}

fn host() -> Result<String> {
    let told = process::quiet(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc does not tell its host")
}

/// Tries them. Those that found something.
fn fuzz(root: &Path, targets: &[String], seconds: u32) -> Result<Vec<String>> {
    let programs = root.join(TARGET).join(host()?).join("debug");
    let mut failed = Vec::new();
    for name in targets {
        say!("   {name}");
        let status = process::foreground(&mut command(root, &programs, name, seconds)?)?;
        if !status.success() {
            failed.push(name.clone());
        }
    }
    Ok(failed)
}

fn command(root: &Path, programs: &Path, name: &str, seconds: u32) -> Result<Command> {
    let folder = |kind: &str| root.join(TARGET).join(kind).join(name);
    let (learned, found) = (folder("corpus"), folder("found"));
    for folder in [&learned, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let package = root.join(PACKAGE);
    let mut command = Command::new(programs.join(name));
    command
        .args([&learned, &package.join("seeds").join(name)])
        .arg(format!("-dict={}", package.join("json.dict").display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(BOUNDS)
        .args(["-verbosity=0", "-print_final_stats=1"]);
    Ok(command)
}
