//! Measures what the promises say about time. Started by `cargo xtask bench`, which provides servers and programs.

#![expect(clippy::print_stdout, reason = "its table is what it is run for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use push_tests::Stack;
use push_tests::bench::history;
use push_tests::bench::p6::{self, Options, Trouble};
use push_tests::bench::speed::{self, Part};
use serde_json::Value;

const USAGE: &str = "usage: push-bench speed quick|full ROUNDS CUSTOMERS ROWS NOTIFICATIONS BACKLOG WORKERS,…|- JSON_FILE\n       \
                     push-bench p6 SECONDS_PER_PHASE PER_SECOND ROUNDS hang|down|503|throttle JSON_FILE\n       \
                     push-bench history ROWS ROUNDS JSON_FILE";

/// What is measured.
enum Bench {
    Speed(speed::Options),
    P6(Options),
    History(history::Options),
}

fn arguments() -> Option<(Bench, PathBuf)> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next()?;
    if what == "speed" {
        let options = speed_options(&mut arguments)?;
        return Some((Bench::Speed(options), arguments.next()?.into()));
    }
    let mut number = || arguments.next()?.parse::<u32>().ok().filter(|it| *it > 0);
    let bench = match what.as_str() {
        "p6" => Bench::P6(Options {
            phase: Duration::from_secs(number()?.into()),
            per_second: number()?,
            rounds: number()?,
            trouble: Trouble::parse(&arguments.next()?)?,
        }),
        "history" => Bench::History(history::Options {
            rows: number()?,
            rounds: number()?,
        }),
        _ => return None,
    };
    Some((bench, arguments.next()?.into()))
}

fn speed_options(arguments: &mut impl Iterator<Item = String>) -> Option<speed::Options> {
    let quick = match arguments.next()?.as_str() {
        "quick" => true,
        "full" => false,
        _ => return None,
    };
    let mut number = || arguments.next()?.parse::<u32>().ok();
    Some(speed::Options {
        quick,
        rounds: number()?,
        customers: number()?,
        rows: number()?,
        notifications: number()?,
        backlog: number()?,
        burst: number()?,
        workers: workers(&arguments.next()?)?,
    })
}

fn workers(text: &str) -> Option<Vec<u32>> {
    if text == "-" {
        return Some(Vec::new());
    }
    text.split(',').map(|count| count.parse().ok()).collect()
}

/// Whether its figures could be written.
fn tell(table: &str, json: &Value, file: &Path) -> bool {
    println!("\n{table}");
    if let Err(error) = fs::write(file, format!("{json:#}\n")) {
        println!("{}: {error}", file.display());
        return false;
    }
    println!("As JSON: {}", file.display());
    true
}

/// A part of the bench that is a process of its own, if this is one.
fn part() -> Option<Part> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().filter(|what| what == "part");
    part.and_then(|_| Part::parse(&arguments.next()?))
}

fn main() -> ExitCode {
    if let Some(part) = part() {
        part.be();
        return ExitCode::SUCCESS;
    }
    let Some((bench, file)) = arguments() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(measure(bench, &file)),
        Err(error) => {
            println!("cannot begin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(bench: Bench, file: &Path) -> ExitCode {
    let say = |what: &str| println!("    {what}");
    let good = match bench {
        Bench::Speed(options) => {
            let (report, stack) = speed::run(&options, say).await;
            let told = tell(&report.table, &report.json, file);
            look_around(stack, &report.problems) && told
        }
        Bench::P6(options) => {
            let (report, stack) = p6::run(options, say).await;
            let told = tell(&report.table, &report.json, file);
            look_around(stack, &report.problems) && told
        }
        Bench::History(options) => {
            let report = history::run(options, say).await;
            tell(&report.table, &report.json, file)
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether it proves anything.
fn look_around(stack: Stack, problems: &[String]) -> bool {
    for problem in problems {
        println!("THIS PROVES NOTHING: {problem}");
    }
    // As after each test: books, queues, logs, exit codes.
    drop(stack);
    problems.is_empty()
}
