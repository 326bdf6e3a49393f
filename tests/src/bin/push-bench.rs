//! Measures what the promises say about time. Started by `cargo xtask bench`, which provides servers and programs.

#![expect(clippy::print_stdout, reason = "its table is what it is run for")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use push_tests::bench::p6::{self, Options, Trouble};

const USAGE: &str =
    "usage: push-bench p6 SECONDS_PER_PHASE PER_SECOND ROUNDS hang|down|503|throttle JSON_FILE";

fn arguments() -> Option<(Options, PathBuf)> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != "p6" {
        return None;
    }
    let mut number = || arguments.next()?.parse::<u32>().ok().filter(|it| *it > 0);
    let options = Options {
        phase: Duration::from_secs(number()?.into()),
        per_second: number()?,
        rounds: number()?,
        trouble: Trouble::parse(&arguments.next()?)?,
    };
    Some((options, arguments.next()?.into()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some((options, file)) = arguments() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let (report, stack) = p6::run(options, |what| println!("    {what}")).await;
    println!("\n{}", report.table);
    if let Err(error) = fs::write(&file, format!("{:#}\n", report.json)) {
        println!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    println!("As JSON: {}", file.display());
    for problem in &report.problems {
        println!("THIS PROVES NOTHING: {problem}");
    }
    // It looks around as after each test: books, queues, logs, exit codes.
    drop(stack);
    if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
