//! `cargo xtask test`: all tests, against real servers that nobody else uses.

use crate::guard;
use crate::install::Package;
use crate::process;
use crate::programs;
use crate::say::Steps;
use crate::services::{Purpose, Set, checkout};
use anyhow::Result;
use std::process::ExitCode;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Passed to `cargo test`: a filter, or options such as `-p push-core`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    if std::env::var_os("PUSH_TEST_DATABASE_URL").is_some()
        && std::env::var_os("PUSH_TEST_AMQP_URL").is_some()
    {
        let mut steps = Steps::new(3);
        steps
            .next("RabbitMQ and MariaDB")
            .done("those of PUSH_TEST_*");
        return tests(&mut steps, None, &[], args);
    }
    let mut steps = Steps::new(4);
    guard::alone(Purpose::Test, "cargo xtask test", |set| {
        on_private_servers(set, &mut steps, args)
    })
}

fn on_private_servers(set: &Set, steps: &mut Steps, args: &Args) -> Result<ExitCode> {
    let mut step =
        steps.next("RabbitMQ and MariaDB, a browser, and what the snippets run with: installed");
    set.install(
        &[
            &Package::SERVERS[..],
            &Package::CALLERS,
            &[Package::Chromium],
        ]
        .concat(),
        &mut step,
    )?;
    step.done("yes");
    let environment = empty_servers(set, steps)?;
    tests(steps, Some(set), &environment, args)
}

/// Starts private servers with nothing on them; where they are, in variables for the tests.
pub fn empty_servers(set: &Set, steps: &mut Steps) -> Result<[(&'static str, String); 4]> {
    let mut step = steps.next("RabbitMQ and MariaDB: private, empty ones");
    // Empty ones each time: what a test left behind must not help or hinder the next run.
    set.down();
    set.wipe()?;
    set.up(&mut step)?;
    step.done("up");
    let (rabbit, maria) = (set.rabbit()?, set.maria()?);
    Ok([
        ("PUSH_TEST_DATABASE_URL", maria.url()),
        ("PUSH_TEST_AMQP_URL", rabbit.url()),
        ("PUSH_TEST_RABBIT_MANAGEMENT_URL", rabbit.management_url()),
        ("PUSH_TEST_SERVICES_DIR", set.dir().display().to_string()),
    ])
}

fn tests(
    steps: &mut Steps,
    set: Option<&Set>,
    environment: &[(&str, String)],
    args: &Args,
) -> Result<ExitCode> {
    let mut step = steps.next("Building programs and tests (the first time takes some minutes)");
    programs::build(set.map(|set| (set, &mut step)), &["--tests"])?;
    step.done("built");

    let mut step = steps.next("cargo test");
    step.lines();
    let status = process::foreground(
        // Programs that an interrupted test leaves are found by cargo's mark.
        programs::cargo_of(set)
            .args(arguments(&args.rest))
            // From there it means the whole workspace.
            .current_dir(checkout()?)
            .env("PUSH_TEST_BIN_DIR", programs::folder(false)?)
            .envs(environment.iter().map(|(name, value)| (name, value))),
    )?;
    if status.success() {
        step.done("all tests passed");
        return Ok(ExitCode::SUCCESS);
    }
    step.done("TESTS FAILED: see above");
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Without `--workspace`, which would win over a `-p` of the user's.
fn arguments(rest: &[String]) -> Vec<&str> {
    let rest = rest.iter().map(String::as_str);
    ["test", "--no-fail-fast"].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_the_users_choice_is_tested_alone() {
        let rest = ["-p", "push-core"].map(str::to_owned);
        let arguments = arguments(&rest);
        assert_eq!(arguments, ["test", "--no-fail-fast", "-p", "push-core"]);
    }
}
