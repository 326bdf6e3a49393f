//! `push-worker`: takes jobs from the queue, delivers them through FCM and Expo, and records what
//! became of them.
//!
//! The way of a job: [`consume`] takes it from the queue → [`admit`] compares it with what is
//! recorded and finds the devices → [`deliver`] asks the providers → [`settle`] records what
//! follows, publishes what comes next, and only then acknowledges. Beside that way, [`recorder`]
//! moves dead letters into their table and [`reconciler`] publishes again what no queue knows.

mod admit;
mod check;
mod consume;
mod database;
mod deliver;
mod in_flight;
mod metrics;
mod readiness;
mod reconciler;
mod recorder;
mod run;
mod settings;
mod settle;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use push_runtime::env::{Env, SettingsTable};
use push_runtime::probes;

use crate::settings::Settings;

/// Delivers push notifications: consumes jobs from RabbitMQ, sends them through FCM and Expo,
/// records the outcome. Settings come from the environment; `settings` lists them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT (the default).
    Run,
    /// Test settings, database, broker and credentials without starting.
    Check,
    /// List the settings: variable, default, meaning, separated by tabs.
    Settings,
    /// Ask the worker running on this machine whether it is alive (for container health checks).
    Health,
}

#[tokio::main]
async fn main() -> ExitCode {
    push_runtime::install_crypto();
    let command = Cli::parse().command.unwrap_or(Command::Run);
    let mut env = Env::of_process();
    let settings = Settings::read(&mut env);
    let asked = env.asked().to_vec();
    match (command, env.finish(|| settings)) {
        (Command::Settings, _) => tell(&SettingsTable(&asked).to_string()),
        (_, Err(wrong)) => complain(&wrong.to_string(), ExitCode::from(2)),
        (Command::Check, Ok(settings)) => match check::check(settings).await {
            Ok(report) => tell(&report),
            Err(report) => complain(&report, ExitCode::FAILURE),
        },
        (Command::Health, Ok(settings)) => match probes::ask_health(settings.probes).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => complain(&why, ExitCode::FAILURE),
        },
        (Command::Run, Ok(settings)) => match run::run(settings).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(
                &format!("push-worker stopped: {error:#}"),
                ExitCode::FAILURE,
            ),
        },
    }
}

fn tell(text: &str) -> ExitCode {
    // A reader that has gone, such as `head`, has seen what it wanted.
    drop(writeln!(std::io::stdout(), "{}", text.trim_end()));
    ExitCode::SUCCESS
}

fn complain(text: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(std::io::stderr(), "{text}"));
    code
}
