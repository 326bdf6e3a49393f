//! `pushctl`: administers a push service through its HTTP API, like any other client of it.
//!
//! A command is a file in [`commands`]: its arguments, what it asks the API, and how it tells the answer. Answers go to
//! standard output, as text for people or as JSON for programs; all else goes to standard error. Texts of the API pass
//! [`escape`] before a terminal sees them.

mod client;
mod commands;
mod confirm;
mod escape;
mod exit;
mod failure;
mod follow;
mod pages;
mod progress;
mod screen;
mod settings;
mod when;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Cli;
use crate::exit::Exit;
use crate::screen::Screen;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // An error only means that it has been chosen before.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = Cli::parse();
    let screen = Screen::new(cli.is_json());
    let Err(failure) = cli.run().await else {
        return ExitCode::SUCCESS;
    };
    let exit = failure.exit();
    if exit != Exit::Fine {
        screen.note(&format!("pushctl: {failure}"));
    }
    if let Some(answer) = failure.answer().filter(|_| screen.json) {
        // What cannot be written was told on standard error.
        drop(screen.document(answer));
    }
    ExitCode::from(exit.code())
}
