//! The commands of this repository: run everything, test everything, check the house.
//!
//! Rust instead of shell, so that each step can say what it does, stop cleanly and be tested.

mod bench;
mod chaos;
mod demo;
mod fuzz;
mod guard;
mod http;
mod install;
mod instructions;
mod interrupt;
mod openapi;
mod ports;
mod process;
mod programs;
mod providers;
mod run;
mod say;
mod sbom;
mod services;
mod test;
mod tidy;
mod upgrade;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine and send the guide's example through it
    Run(run::Args),
    /// Run all tests, against private servers of their own
    Test(test::Args),
    /// Upgrade from another revision to this one and back, under load, without one failed request
    Upgrade(upgrade::Args),
    /// Break everything at random for half an hour, repeatably, and judge what became of the promises
    Chaos(chaos::Args),
    /// Measure what the promises say about time, with optimised programs
    Bench(bench::Args),
    /// Count the instructions of the hot functions, and compare them with what is kept
    Instructions(instructions::Args),
    /// Meet everything that reads bytes from outside with bytes from anywhere
    Fuzz(fuzz::Args),
    /// Check what the compiler does not: who imports whom, the README's settings, leftovers
    Tidy(tidy::Args),
    /// Say what changed in the HTTP API since the document that is kept, and whom it breaks
    Openapi(openapi::Args),
    /// List what the programs are made of, as CycloneDX (SBOM)
    Sbom(sbom::Args),
    /// Keep a private RabbitMQ and MariaDB running while you develop
    Services(services::command::Args),
    /// Send the guide's example to a push-api that runs
    Demo(demo::Args),
    /// Stop what belongs to a set as soon as standard input ends
    #[command(hide = true)]
    Guard(guard::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = interrupt::listen().and_then(|()| match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Tidy(args) => tidy::run(&args),
        Command::Openapi(args) => openapi::run(&args),
        Command::Sbom(args) => sbom::run(&args),
        Command::Services(args) => services::command::run(&args),
        Command::Guard(args) => guard::run(&args),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            say::err(format_args!("\nerror: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
