//! `cargo xtask chaos`: faults on real processes, at random and repeatable, and the promises judged in the end.
//!
//! The run itself is a program of the tests. Here it gets what it needs: installed servers, built programs, a folder,
//! and the guard that stops whatever it started, however it ends.

use crate::guard;
use crate::install::Package;
use crate::process;
use crate::programs;
use crate::say::Steps;
use crate::services::{Purpose, Set};
use anyhow::Result;
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask chaos`.
#[derive(clap::Args)]
pub struct Args {
    /// The plan of faults and sends derives from it: the same seed, the same plan
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// How many faults
    #[arg(long, default_value_t = 1_000)]
    faults: u32,
    /// How many notifications are sent [default: 100 for each fault]
    #[arg(long)]
    notifications: Option<u32>,
    /// Milliseconds from one fault to the next; several overlap
    #[arg(long, default_value_t = 1_700, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pace: u32,
    /// Run the optimised programs
    #[arg(long)]
    release: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(3);
    guard::alone(Purpose::Chaos, "cargo xtask chaos", |set| {
        under_guard(set, &mut steps, args)
    })
}

fn under_guard(set: &Set, steps: &mut Steps, args: &Args) -> Result<ExitCode> {
    let mut step = steps.next("RabbitMQ and MariaDB: installed");
    // What a killed run left behind.
    set.down();
    set.install(&Package::SERVERS, &mut step)?;
    set.rabbit()?.prepare()?;
    step.done("yes");

    let mut step = steps.next("Building the programs (the first time takes some minutes)");
    programs::build(
        Some((set, &mut step)),
        if args.release { &["--release"] } else { &[] },
    )?;
    step.done("built");

    let mut step = steps.next("Breaking things");
    step.lines();
    let folder = programs::folder(args.release)?;
    let numbers = [
        args.seed,
        args.faults,
        args.notifications
            .unwrap_or(args.faults.saturating_mul(100)),
        args.pace,
    ];
    let status = process::foreground(
        Command::new(folder.join("push-chaos"))
            .args(numbers.map(|number| number.to_string()))
            // Whatever it starts carries the mark, and is stopped by the guard.
            .env(process::OWNER, programs::owner(set))
            .env("PUSH_TEST_BIN_DIR", &folder)
            .env("PUSH_TEST_SERVICES_DIR", set.dir()),
    )?;
    step.done(if status.success() {
        "judged good"
    } else {
        "JUDGED BAD: see above"
    });
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
