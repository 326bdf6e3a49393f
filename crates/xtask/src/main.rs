//! The commands of this repository: run everything, test everything, check the house.
//!
//! Rust instead of shell, so that each step can say what it does, stop cleanly and be tested.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool talks on standard output"
)]

mod install;
mod interrupt;
mod ports;
mod process;
mod say;
mod services;

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
    /// Keep a private RabbitMQ and MariaDB running while you develop
    Services(services::command::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = interrupt::listen().and_then(|()| match cli.command {
        Command::Services(args) => services::command::run(&args),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
