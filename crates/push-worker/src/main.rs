//! `push-worker`: takes jobs from the queue, delivers them through FCM and Expo, and records what
//! became of them.
//!
//! The way of a job: [`consume`] takes it from the queue → [`admit`] compares it with what is
//! recorded and finds the devices → [`deliver`] asks the providers → [`settle`] records what
//! follows, publishes what comes next, and only then acknowledges. Beside that way, [`recorder`]
//! moves dead letters into their table, [`receipts`] asks Expo what became of what it took, and [`reconciler`]
//! publishes again what no queue knows, and [`timer`] for the first time what waited for its time.

mod admit;
mod behind;
mod cache;
mod changes;
mod check;
mod consume;
mod database;
mod dead_tokens;
mod deliver;
mod hand;
mod housekeeping;
mod lanes;
mod leader;
mod metrics;
mod operator;
mod readiness;
mod receipts;
mod reconciler;
mod recorder;
mod reseal;
mod run;
mod settings;
mod settle;
mod subscription;
mod timer;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use push_providers::SetupError;
use push_runtime::env::{Env, SettingsTable, WrongSettings};
use push_runtime::probes;

use crate::settings::Settings;

/// How it behaves is set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong settings end a program with 2, what else keeps it from going on with 1.
const WRONG_SETTINGS: u8 = 2;

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
    let mut env = Env::of_process();
    match Cli::parse().command.unwrap_or(Command::Run) {
        Command::Settings => {
            drop(Settings::read(&mut env));
            tell(&SettingsTable(env.asked()).to_string())
        }
        Command::Health => {
            let address = settings::read_probes(&mut env);
            match env.finish(|| address) {
                Ok(address) => health(address).await,
                Err(wrong) => wrong_settings(&wrong),
            }
        }
        Command::Check => match read(env) {
            Ok(settings) => check(settings).await,
            Err(wrong) => wrong_settings(&wrong),
        },
        Command::Run => match read(env) {
            Ok(settings) => run(settings).await,
            Err(wrong) => wrong_settings(&wrong),
        },
    }
}

fn read(mut env: Env) -> Result<Settings, WrongSettings> {
    let settings = Settings::read(&mut env);
    env.finish(|| settings)
}

async fn run(settings: Settings) -> ExitCode {
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Some settings show only there that they are wrong.
            let code = if error.is::<SetupError>() {
                ExitCode::from(WRONG_SETTINGS)
            } else {
                ExitCode::FAILURE
            };
            complain(&format!("push-worker stopped: {error:#}"), code)
        }
    }
}

async fn check(settings: Settings) -> ExitCode {
    match check::check(settings).await {
        Ok(report) => tell(&report),
        Err(report) => complain(&report, ExitCode::FAILURE),
    }
}

async fn health(address: SocketAddr) -> ExitCode {
    match probes::ask_health(address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => complain(&why, ExitCode::FAILURE),
    }
}

fn wrong_settings(wrong: &WrongSettings) -> ExitCode {
    complain(&wrong.to_string(), ExitCode::from(WRONG_SETTINGS))
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
