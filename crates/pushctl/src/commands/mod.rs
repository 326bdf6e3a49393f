//! The commands, a file each: its arguments, what it asks the API, and how it tells the answer.

mod cancel;
mod customers;
mod dead;
mod doctor;
mod event;
mod history;
mod notification;
mod operations;
mod providers;
mod queues;
mod send;
mod sending;
mod shells;
mod stats;
mod status;
mod test;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::settings::{self, Common};

/// Administers a push service through its HTTP API: what became of a notification, dead letters, queues, a check of
/// everything.
///
/// The API key is read from PUSH_API_KEY, or from the file that PUSH_API_KEY_FILE names; `push-api key NAME SCOPE+SCOPE`
/// makes one. `send`, `event`, `test` and `cancel` need the scope send; `status`, `history` and `stats` read; `customers show`
/// admin and read; all others admin.
///
/// Times are given as RFC 3339, as a day, or as how long ago (90s, 15m, 2h, 3d, 1w), and shown in UTC. Answers go to standard
/// output, all else to standard error. Colours are for terminals, and not where NO_COLOR is set.
#[derive(Parser, Debug)]
#[command(name = "pushctl", version, after_help = Exit::help(), propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Send a notification to all devices of a customer
    Send(send::Args),
    /// Say what happened to a booking: the service has the words
    Event(event::Args),
    /// Send the test notification to all devices of a customer
    Test(test::Args),
    /// Tell what became of a notification, device by device, with its timeline
    Status(status::Args),
    /// Take a pending notification back
    Cancel(cancel::Args),
    /// List notifications, the newest first
    History(history::Args),
    /// Look at a customer, or erase one
    #[command(subcommand)]
    Customers(customers::Command),
    /// Look at dead letters, try them again, or put them aside
    #[command(subcommand)]
    Dead(dead::Command),
    /// Look at what is done with many dead letters, or a whole customer; stop it
    #[command(subcommand)]
    Operations(operations::Command),
    /// Tell how full the queues are, and how the providers' lanes stand
    Queues,
    /// Stop sending through a provider, or go on
    #[command(subcommand)]
    Providers(providers::Command),
    /// Tell the figures: accepted, sent, failed, delivery times
    Stats(stats::Args),
    /// Check everything, and say what to do
    Doctor(doctor::Args),
    /// Print what a shell completes
    Completions(shells::Completions),
    /// Print the manual page, or write those of all commands into a directory
    Man(shells::Man),
}

/// What commands that ask the API have.
#[derive(Debug)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// Where answers go.
    pub screen: Screen,
}

impl Cli {
    /// Whether answers are wanted as JSON.
    pub const fn is_json(&self) -> bool {
        self.common.json
    }

    /// Does what the command line says.
    pub async fn run(self) -> Result<(), Failure> {
        let common = &self.common;
        match self.command {
            Command::Send(args) => args.run(&Context::new(common)?).await,
            Command::Event(args) => args.run(&Context::new(common)?).await,
            Command::Test(args) => args.run(&Context::new(common)?).await,
            Command::Status(args) => args.run(&Context::new(common)?).await,
            Command::Cancel(args) => args.run(&Context::new(common)?).await,
            Command::History(args) => args.run(&Context::new(common)?).await,
            Command::Customers(command) => command.run(&Context::new(common)?).await,
            Command::Dead(command) => command.run(&Context::new(common)?).await,
            Command::Operations(command) => command.run(&Context::new(common)?).await,
            Command::Queues => queues::run(&Context::new(common)?).await,
            Command::Providers(command) => command.run(&Context::new(common)?).await,
            Command::Stats(args) => args.run(&Context::new(common)?).await,
            Command::Doctor(args) => args.run(common).await,
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}

impl Context {
    fn new(common: &Common) -> Result<Self, Failure> {
        let (key, _) = settings::key()?.ok_or(Failure::NoKey)?;
        Ok(Self {
            client: Client::new(common, Some(key))?,
            screen: Screen::new(common.json),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The words of a line as a shell takes them; of quotes only `"`.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (part, is_quoted) in line.split('"').zip([false, true].into_iter().cycle()) {
            if is_quoted {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    /// The commands in a page, on lines of their own and in sentences, with something for what is to be filled in.
    fn commands(page: &str) -> Vec<String> {
        const UUID: &str = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";
        let lines = page.lines().flat_map(|line| line.trim().split(" && "));
        let lines = lines.filter_map(|line| line.split(" #").next()?.split(" > ").next());
        let spans = page.split('`').skip(1).step_by(2);
        let commands = lines.chain(spans).filter(|command| {
            command.starts_with("pushctl ") && !command.contains(['|', '`', '\n'])
        });
        commands
            .map(|command| {
                command
                    .replace("NOTIFICATION_ID", UUID)
                    .replace("OPERATION_ID", UUID)
                    .replace("CUSTOMER", "123")
                    .replace(" ID", " 17")
            })
            .collect()
    }

    #[test]
    fn what_readmes_and_runbooks_show_is_taken() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let runbooks = fs::read_dir(root.join("deploy/monitoring/runbooks")).unwrap();
        let pages = ["README.md", "deploy/README.md"].map(|page| root.join(page));
        let pages = runbooks.map(|page| page.unwrap().path()).chain(pages);
        let mut taken = 0;
        for page in pages {
            for command in commands(&fs::read_to_string(&page).unwrap()) {
                if let Err(error) = Cli::try_parse_from(words(&command)) {
                    panic!("{}: {command}: {error}", page.display());
                }
                taken += 1;
            }
        }
        assert!(taken > 50, "{taken}");
    }

    #[test]
    fn every_command_is_taken_with_what_it_may_have() {
        for line in [
            "send 123 --title T --body B --data k=v --data l=w --ttl 1h --at 2h --wait 10 --idempotency-key k",
            "event status_changed --customer 123 --booking 456 --track BID123 --new-status StartJourney --technician John",
            "test 123 --wait 0",
            "status 0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11 --follow",
            "history --customer 123 --status failed --from 2h --all --json",
            "customers show 123",
            "customers erase 123 --yes",
            "dead list --reason operator_must_act --provider fcm --replayed false",
            "dead show 17",
            "dead replay 17 18 --extend-ttl 1h",
            "dead replay --provider fcm --from 3d --per-second 50 --yes --no-wait",
            "dead replay --all --dry-run",
            "dead discard 17 --because lost",
            "operations show 0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11 --follow",
            "operations cancel 0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11",
            "operations list",
            "queues",
            "providers pause fcm",
            "stats --interval day --group-by type --from 7d",
            "doctor --check-programs",
            "completions zsh",
            "man --dir /tmp",
            "queues --url https://push.example.com --timeout 5",
        ] {
            let words = ["pushctl"].into_iter().chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "send 0 --title T --body B",
            "send 1 --title T --body B --data novalue",
            "send 1 --title T --body B --wait 31",
            "status 17",
            "dead replay",
            "dead replay 17 --provider fcm",
            "dead replay 17 --all",
            "dead discard 17",
            "dead replay --all --per-second 0",
            "providers pause apns",
            "history --from yesterday",
            "queues --url ftp://h",
        ] {
            let words = ["pushctl"].into_iter().chain(line.split_terminator(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
