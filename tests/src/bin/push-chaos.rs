//! The long run of faults on real processes. Started by `cargo xtask chaos`, which provides servers and programs.

#![expect(clippy::print_stdout, reason = "its table is what it is run for")]

use std::process::ExitCode;
use std::time::Duration;

use push_tests::chaos::{self, Options};

const USAGE: &str = "usage: push-chaos SEED FAULTS NOTIFICATIONS MILLISECONDS_PER_FAULT";

fn options() -> Option<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next()?.parse::<u32>().ok();
    Some(Options {
        seed: number()?.into(),
        faults: number()? as usize,
        notifications: number()? as usize,
        pace: Duration::from_millis(number()?.into()),
        talkative: true,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    // Dropped on Ctrl-C, everything that it started ends with it.
    let verdict = tokio::select! {
        verdict = chaos::run(options) => verdict,
        () = interrupted() => {
            println!("interrupted");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", verdict.table);
    if verdict.reasons.is_empty() {
        println!("GOOD: nothing was lost, nothing was stale, nobody saw what was not theirs.");
        return ExitCode::SUCCESS;
    }
    println!("BAD, seed {}:", options.seed);
    for reason in &verdict.reasons {
        println!("  - {reason}");
    }
    println!(
        "The journal and all logs are in {}",
        verdict.folder.display()
    );
    ExitCode::FAILURE
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(terminate) => drop(terminate.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
