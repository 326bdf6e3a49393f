//! `push-api`: the HTTP API of the push service. Settings come from the environment.

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{TimeDelta, Utc};
use clap::{Parser, Subcommand};
use push_api::keys::NewKey;
use push_api::settings::{self, Settings};
use push_api::{check, router, serve, tls};
use push_runtime::env::{Env, SettingsTable, WrongSettings};
use push_runtime::probes;
use push_runtime::shutdown::Shutdown;
use push_runtime::telemetry::{self, Metrics};
use push_store::Store;

/// Whose spans they are.
const PROGRAM: push_trace::Program = push_trace::Program {
    name: "push-api",
    version: env!("CARGO_PKG_VERSION"),
};

/// How it behaves is set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Takes push notifications over HTTP, commits them to the database and publishes them to RabbitMQ.
/// Settings come from the environment; `settings` lists them.
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
    /// Bring the schema of the database up to date, and end.
    Migrate,
    /// Count the figures anew from the rows, correct them, and end: after an upgrade from a version that did not count,
    /// or where `push_books_out_of_balance` stays.
    Recount,
    /// Test settings, database and broker without starting.
    Check,
    /// Make an API key: its secret, shown only now, and its entry for `API_KEYS`.
    Key {
        /// What logs and the audit trail call it. The same name with two secrets is one key that is being replaced.
        name: String,
        /// What it may do: register, send, read, admin, with `+` between them.
        scopes: String,
    },
    /// List the settings: variable, default, meaning, separated by tabs.
    Settings,
    /// Ask the API running on this machine whether it is alive (for container health checks).
    Health,
    /// Print the OpenAPI document.
    Openapi,
}

#[tokio::main]
async fn main() -> ExitCode {
    push_runtime::install_crypto();
    std::panic::set_hook(Box::new(log_panic));
    let command = Cli::parse().command.unwrap_or(Command::Run);
    match carry_out(command).await {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(text)) => tell(&text),
        Err(error) if error.is::<WrongSettings>() => {
            complain(&format!("{error}"), ExitCode::from(2))
        }
        Err(error) => complain(&format!("push-api: {error:#}"), ExitCode::FAILURE),
    }
}

/// Does what the command says. Returns what it answers on standard output.
async fn carry_out(command: Command) -> anyhow::Result<Option<String>> {
    match command {
        Command::Run => run(read(Settings::read)?).await.map(|()| None),
        Command::Migrate => migrate().await.map(Some),
        Command::Recount => recount().await.map(Some),
        Command::Check => {
            let report = check::check(&read(Settings::read)?).await;
            report.map(Some).map_err(anyhow::Error::msg)
        }
        Command::Key { name, scopes } => {
            let key = NewKey::make(&name, &scopes).map_err(anyhow::Error::msg)?;
            let NewKey { secret, entry } = key;
            Ok(Some(format!("secret  {secret}\nentry   {entry}")))
        }
        Command::Settings => {
            // Read in vain: it only matters what is asked for.
            let mut nothing = Env::from_pairs([]);
            drop(Settings::read(&mut nothing));
            Ok(Some(SettingsTable(nothing.asked()).to_string()))
        }
        Command::Health => {
            let (address, over_tls) = read(settings::http_address)?;
            let asked = if over_tls {
                probes::ask_health_through(address, tls::anyone::speak).await
            } else {
                probes::ask_health(address).await
            };
            asked.map(|()| None).map_err(anyhow::Error::msg)
        }
        Command::Openapi => {
            let document = router::document(true);
            document
                .to_pretty_json()
                .map(Some)
                .context("writing the document")
        }
    }
}

fn read<T>(read: impl FnOnce(&mut Env) -> Option<T>) -> Result<T, WrongSettings> {
    let mut env = Env::of_process();
    let settings = read(&mut env);
    env.finish(|| settings)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { log, trace, api } = settings;
    telemetry::install_logs(log);
    let metrics = Metrics::install().context("installing metrics")?;
    push_trace::install(&trace, PROGRAM)?;
    let shutdown = Shutdown::on_signals(api.shutdown_grace).context("listening for signals")?;
    let served = serve::run(api, metrics, shutdown).await;
    push_trace::flush().await;
    served.context("cannot start")
}

async fn migrate() -> anyhow::Result<String> {
    let store = Store::connect(&read(settings::store)?)
        .await
        .context("DATABASE_URL")?;
    let migrated = store.migrate().await.context("migrating")?;
    Ok(match migrated.applied {
        0 => "the schema is up to date".to_owned(),
        applied => format!("the schema is up to date: {applied} migrations applied"),
    })
}

/// Hour by hour, so that nobody waits for it; the service may go on meanwhile.
async fn recount() -> anyhow::Result<String> {
    let store = Store::connect(&read(settings::store)?)
        .await
        .context("DATABASE_URL")?;
    let Some(lease) = store
        .try_lease("push.recount")
        .await
        .context("recounting")?
    else {
        anyhow::bail!("somebody else is recounting: twice at once would correct twice");
    };
    let told = recount_all(&store).await;
    lease.release().await;
    told
}

async fn recount_all(store: &Store) -> anyhow::Result<String> {
    let Some(mut hour) = store.figures_begin().await.context("recounting")? else {
        return Ok("there is nothing to count".to_owned());
    };
    let (mut told, mut hours) = (String::new(), 0);
    while hour <= Utc::now() {
        for correction in store.recount_hour(hour).await.context("recounting")? {
            told.push_str(&format!("{correction}\n"));
        }
        hour += TimeDelta::hours(1);
        hours += 1;
    }
    let found = match told.lines().count() {
        0 => "all figures were right".to_owned(),
        wrong => format!("{wrong} were wrong, and are corrected"),
    };
    Ok(format!("{told}{hours} hours counted: {found}"))
}

/// A panic's text may hold what a customer reads (P7): its place is enough to find it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(location, "panicked");
}

#[expect(
    clippy::print_stdout,
    reason = "the subcommands answer on standard output"
)]
fn tell(text: &str) -> ExitCode {
    println!("{}", text.trim_end());
    ExitCode::SUCCESS
}

fn complain(text: &str, code: ExitCode) -> ExitCode {
    eprintln!("{text}");
    code
}
