//! `cargo xtask services`: the same private servers, kept running while you develop.

use super::{Purpose, Set};
use crate::install::Package;
use crate::say::{Steps, out, say};
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;

/// Arguments of `cargo xtask services`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Whose servers
    #[arg(long = "set", global = true, default_value = "dev")]
    purpose: Purpose,
    /// Only this one of the two
    #[arg(long, global = true)]
    only: Option<Server>,
}

#[derive(Subcommand)]
enum Action {
    /// Start RabbitMQ and MariaDB, or leave them running
    Up,
    /// Stop them; their data stays
    Down,
    /// Print lines for `eval "$(cargo xtask services env)"`
    Env,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Rabbit,
    Maria,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let set = Set::of(args.purpose)?;
    let wants = |server| args.only.is_none_or(|only| only == server);
    match args.action {
        Action::Up => {
            let mut step = Steps::new(1).next("Private servers");
            let packages = [
                (Server::Rabbit, Package::RabbitMq),
                (Server::Maria, Package::MariaDb),
            ]
            .into_iter()
            .filter(|(server, _)| wants(*server))
            .map(|(_, package)| package)
            .collect::<Vec<_>>();
            set.install(&packages, &mut step)?;
            if wants(Server::Rabbit) {
                set.up_rabbit(&mut step)?;
            }
            if wants(Server::Maria) {
                set.up_maria(&mut step)?;
                set.maria()?.sql("CREATE DATABASE IF NOT EXISTS push")?;
            }
            step.done("up");
            out(format_args!("{}", exports(&set)?));
        }
        Action::Down => {
            if args.only.is_none() {
                set.down();
            } else if wants(Server::Rabbit) {
                set.rabbit()?.down();
            } else {
                set.maria()?.down();
            }
            say!("stopped; the data stays in {}", set.dir().display());
        }
        Action::Env => out(format_args!("{}", exports(&set)?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn exports(set: &Set) -> Result<String> {
    let (rabbit, maria) = (set.rabbit()?, set.maria()?);
    let bin_dir = crate::programs::folder(false)?;
    Ok([
        ("DATABASE_URL", format!("{}push", maria.url())),
        ("AMQP_URL", rabbit.url()),
        ("PUSH_TEST_DATABASE_URL", maria.url()),
        ("PUSH_TEST_AMQP_URL", rabbit.url()),
        ("PUSH_TEST_RABBIT_MANAGEMENT_URL", rabbit.management_url()),
        ("PUSH_TEST_BIN_DIR", bin_dir.display().to_string()),
        ("PUSH_TEST_SERVICES_DIR", set.dir().display().to_string()),
    ]
    .iter()
    .map(|(name, value)| format!("export {name}='{value}'\n"))
    .collect())
}
