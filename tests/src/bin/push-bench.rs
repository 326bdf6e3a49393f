//! Measures what the promises say about time. Started by `cargo xtask bench`, which provides servers and programs.

#![expect(clippy::print_stdout, reason = "its table is what it is run for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use push_tests::bench::history;
use push_tests::bench::p6::{self, Options, Trouble};
use serde_json::Value;

const USAGE: &str = "usage: push-bench p6 SECONDS_PER_PHASE PER_SECOND ROUNDS hang|down|503|throttle JSON_FILE\n       \
                     push-bench history ROWS ROUNDS JSON_FILE";

/// What is measured.
enum Bench {
    P6(Options),
    History(history::Options),
}

fn arguments() -> Option<(Bench, PathBuf)> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next()?;
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

#[tokio::main]
async fn main() -> ExitCode {
    let Some((bench, file)) = arguments() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let say = |what: &str| println!("    {what}");
    let good = match bench {
        Bench::P6(options) => {
            let (report, stack) = p6::run(options, say).await;
            let told = tell(&report.table, &report.json, &file);
            for problem in &report.problems {
                println!("THIS PROVES NOTHING: {problem}");
            }
            // It looks around as after each test: books, queues, logs, exit codes.
            drop(stack);
            told && report.problems.is_empty()
        }
        Bench::History(options) => {
            let report = history::run(options, say).await;
            tell(&report.table, &report.json, &file)
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
