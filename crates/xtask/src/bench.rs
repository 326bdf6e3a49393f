//! `cargo xtask bench`: throughput, and what the promises say about time, measured on optimised programs with private
//! servers.
//!
//! The measuring itself is a program of the tests. Here it gets what it needs: servers, built programs, a file for its
//! figures, and the guard that stops whatever it started, however it ends.

use crate::guard;
use crate::install::Package;
use crate::process;
use crate::programs;
use crate::say::Steps;
use crate::services::{Purpose, Set};
use anyhow::{Context, Result};
use std::fs;
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    speed: Speed,
}

/// Arguments of `cargo xtask bench` without more words.
#[derive(clap::Args)]
struct Speed {
    /// About two minutes instead of ten; its figures are rough
    #[arg(long)]
    quick: bool,
    /// How often limits and programs are measured, taking turns [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Customers with a device at FCM who take turns
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    customers: u32,
    /// Rows of the history before anything is sent
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50_000_000))]
    rows: u32,
    /// Then so many at full speed, to see whether memory stays flat
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50_000_000))]
    notifications: u32,
    /// Then so many that wait for a worker, to see what they cost it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50_000_000))]
    backlog: u32,
    /// Then so many while both providers are away, to see what comes down on them when they are back
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50_000_000))]
    burst: u32,
    /// Then full speed with so many workers each, such as 1,4
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Vec<u32>,
}

/// What else is measured.
#[derive(clap::Subcommand)]
enum What {
    /// How long notifications of one provider take while the other one is in trouble, compared to when it is well
    P6(P6),
    /// How long each question about the history takes, and the figures, with millions of rows
    History(History),
}

/// Arguments of `cargo xtask bench history`.
#[derive(clap::Args)]
struct History {
    /// Rows to make; ten million take about 10 GB while it lasts
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1_000..=50_000_000))]
    rows: u32,
    /// How often each question is asked
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// Arguments of `cargo xtask bench p6`.
#[derive(clap::Args)]
struct P6 {
    /// A minute, to see that it works; its figures mean little
    #[arg(long)]
    short: bool,
    /// How long each phase is
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=300), conflicts_with = "short")]
    seconds: u32,
    /// Notifications a second for each provider
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// How often the four phases are gone through: both well, FCM in trouble, both well, Expo in trouble
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20), conflicts_with = "short")]
    rounds: u32,
    /// What befalls a provider
    #[arg(long, value_enum, default_value_t = Trouble::Hang)]
    trouble: Trouble,
}

/// What may befall a provider.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Trouble {
    /// It reads requests and never answers
    Hang,
    /// It resets connections
    Down,
    /// It answers 503
    #[value(name = "503")]
    Unavailable,
    /// It answers 429 and asks for a pause
    Throttle,
}

/// Seconds of a phase, and rounds, of a short run.
const SHORT: (u32, u32) = (3, 1);

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Down => "down",
            Self::Unavailable => "503",
            Self::Throttle => "throttle",
        }
    }
}

impl P6 {
    /// As `push-bench` takes them.
    fn arguments(&self) -> Vec<String> {
        let (seconds, rounds) = if self.short {
            SHORT
        } else {
            (self.seconds, self.rounds)
        };
        let numbers = [seconds, self.rate, rounds].map(|number| number.to_string());
        let [seconds, rate, rounds] = numbers;
        let trouble = self.trouble.name().to_owned();
        vec!["p6".to_owned(), seconds, rate, rounds, trouble]
    }
}

impl Speed {
    /// Of a run, and of a quick one.
    const ROUNDS: (u32, u32) = (3, 1);

    /// As `push-bench` takes them.
    fn arguments(&self) -> Vec<String> {
        let (length, rounds) = if self.quick {
            ("quick", Self::ROUNDS.1)
        } else {
            ("full", Self::ROUNDS.0)
        };
        let rounds = self.rounds.unwrap_or(rounds);
        let numbers = [
            rounds,
            self.customers,
            self.rows,
            self.notifications,
            self.backlog,
            self.burst,
        ];
        let mut arguments = vec!["speed".to_owned(), length.to_owned()];
        arguments.extend(numbers.map(|number| number.to_string()));
        let workers: Vec<_> = self.workers.iter().map(u32::to_string).collect();
        arguments.push(if workers.is_empty() {
            "-".to_owned()
        } else {
            workers.join(",")
        });
        arguments
    }
}

impl Args {
    fn name(&self) -> &'static str {
        match &self.what {
            None => "speed",
            Some(What::P6(_)) => "p6",
            Some(What::History(_)) => "history",
        }
    }

    /// As `push-bench` takes them.
    fn arguments(&self) -> Vec<String> {
        match &self.what {
            None => self.speed.arguments(),
            Some(What::P6(p6)) => p6.arguments(),
            Some(What::History(history)) => vec![
                "history".to_owned(),
                history.rows.to_string(),
                history.rounds.to_string(),
            ],
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    guard::alone(Purpose::Bench, "cargo xtask bench", |set| {
        under_guard(set, &mut steps, args)
    })
}

fn under_guard(set: &Set, steps: &mut Steps, args: &Args) -> Result<ExitCode> {
    let mut step = steps.next("Building the programs (the first time takes some minutes)");
    programs::build(Some((set, &mut step)), &["--release"])?;
    step.done("built");

    let mut step = steps.next("RabbitMQ and MariaDB: installed");
    set.install(&Package::SERVERS, &mut step)?;
    step.done("yes");
    let mut step = steps.next("RabbitMQ and MariaDB: private, empty ones");
    set.down();
    set.wipe()?;
    set.up(&mut step)?;
    step.done("up");

    let mut step = steps.next("Measuring");
    step.lines();
    let status = process::foreground(&mut bench(set, args)?);
    // What a bench makes may be large.
    set.down();
    set.wipe()?;
    if status?.success() {
        step.done("measured");
        return Ok(ExitCode::SUCCESS);
    }
    step.done("NOT MEASURED: see above");
    Ok(ExitCode::FAILURE)
}

fn bench(set: &Set, args: &Args) -> Result<Command> {
    let folder = programs::folder(true)?;
    let figures = folder.with_file_name("bench");
    fs::create_dir_all(&figures).with_context(|| format!("cannot create {}", figures.display()))?;
    let (rabbit, maria) = (set.rabbit()?, set.maria()?);
    let mut command = Command::new(folder.join("push-bench"));
    command
        .args(args.arguments())
        .arg(figures.join(format!("{}.json", args.name())))
        // Whatever it starts carries the mark, and is stopped by the guard.
        .env(process::OWNER, programs::owner(set))
        .env("PUSH_TEST_BIN_DIR", &folder)
        .env("PUSH_TEST_SERVICES_DIR", set.dir())
        .env("PUSH_TEST_DATABASE_URL", maria.url())
        .env("PUSH_TEST_AMQP_URL", rabbit.url())
        .env("PUSH_TEST_RABBIT_MANAGEMENT_URL", rabbit.management_url());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> Result<(String, &'static str), clap::Error> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))?;
        Ok((line.args.arguments().join(" "), line.args.name()))
    }

    #[test]
    fn without_more_words_throughput_is_measured() {
        let of = |line| read(line).expect("a bench").0;
        assert_eq!(of(""), "speed full 3 10000 0 0 0 0 -");
        assert_eq!(of("--quick"), "speed quick 1 10000 0 0 0 0 -");
        assert_eq!(
            of(
                "--quick --rounds 2 --customers 10 --rows 7 --notifications 1000000 --backlog 9 --burst 3 --workers 1,4"
            ),
            "speed quick 2 10 7 1000000 9 3 1,4"
        );
        let names = ["", "p6 --short", "history"].map(|line| read(line).map(|(_, name)| name).ok());
        assert_eq!(names, [Some("speed"), Some("p6"), Some("history")]);
        assert_eq!(of("history --rows 1000"), "history 1000 200");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--rounds 0",
            "--workers 0",
            "--workers 1,,4",
            "--quick p6",
            "--customers 0",
            "speed",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
