//! `cargo xtask run`: everything on this machine, from nothing to a notification on a phone.

use crate::demo::{self, EXAMPLE, Outcome, Tokens};
use crate::guard::Guard;
use crate::http::Client;
use crate::install::Package;
use crate::process::TICK;
use crate::programs::{self, Program};
use crate::providers::Real;
use crate::say::{Steps, say};
use crate::services::{Purpose, Set};
use crate::{interrupt, ports, process};
use anyhow::{Context, Error, Result, anyhow, bail};
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the private servers are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// Stopping what an earlier run has left takes about 4 s.
const EARLIER_MAX: Duration = Duration::from_secs(15);

/// push-api counts what is pending as soon as it has the database.
const PENDING_MAX: Duration = Duration::from_secs(60);

/// In the README's examples, and in docker-compose.yml.
const LOCAL_KEY: &str = "local-demo-key";

/// Arguments of `cargo xtask run`.
#[derive(clap::Args)]
pub struct Args {
    /// Build and run the optimised programs
    #[arg(long)]
    release: bool,
    /// Stop after the example instead of staying up
    #[arg(long)]
    once: bool,
    /// Yes, notifications that wait in the database of DATABASE_URL may go to the simulator
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    tokens: Tokens,
}

/// Servers that exist, as the environment names them.
struct Given {
    amqp_url: Option<String>,
    database_url: Option<String>,
}

/// The servers: private ones, or those of the environment.
struct Servers {
    database_url: String,
    amqp_url: String,
    private_maria: bool,
    private_rabbit: bool,
}

/// Everything that runs.
struct Stack {
    programs: Vec<Program>,
    api: String,
    sim: String,
    worker: String,
    key: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let real = Real::from_env();
    let servers = Given::from_env();
    let set = Set::of(if real.is_none() {
        Purpose::Run
    } else {
        Purpose::Real
    })?;
    let _held = hold(&set)?;
    let guard = Guard::over(&set)?;
    let result = up(&set, args, servers, real);
    let asked = interrupt::requested();
    say!("\nStopping the programs and private servers …");
    drop(guard);
    say!(
        "Nothing is left running; the data stays in {}.",
        set.dir().display()
    );
    // Ctrl-C is how a run is meant to end, wherever it has come to.
    if asked {
        return Ok(ExitCode::SUCCESS);
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// One run at a time. What a killed one has left is being stopped at this moment, perhaps.
fn hold(set: &Set) -> Result<File> {
    let mut told = false;
    let held = set.lock(EARLIER_MAX, || {
        if !std::mem::replace(&mut told, true) {
            say!("Waiting for an earlier `cargo xtask run` in this checkout to end …");
        }
        interrupt::check()
    })?;
    held.context("another `cargo xtask run` is up in this checkout: stop it first (Ctrl-C there)")
}

fn up(set: &Set, args: &Args, given: Given, real: Real) -> Result<()> {
    let mut steps = Steps::new(6);
    if programs::stop(set) > 0 {
        say!("Stopped what an earlier run had left.");
    }
    let servers = start_servers(set, given, &mut steps)?;

    let mut step = steps.next("Programs: building (the first time takes some minutes)");
    programs::build(
        Some((set, &mut step)),
        if args.release { &["--release"] } else { &[] },
    )?;
    step.done("built");

    let mut stack = start_programs(set, &servers, real, args, &mut steps)
        .map_err(|cause| servers.or_afresh(set, cause))?;

    let step = steps.next("The example: \"Technician Assigned\" for customer 123");
    let client = Client::new(&stack.api, &stack.key);
    let phones = args.tokens.phones(real.is_none());
    demo::name_phones(&Client::new(&stack.sim, ""), &phones)?;
    let outcome = demo::send(&client, &phones)?;
    step.done(outcome.status());

    say!("\n{}", outcome.describe());
    if servers.private_maria {
        say!("Its row in notification_history:\n{}", row(set, &outcome)?);
    } else {
        say!(
            "Its row in notification_history, as the API reads it:\n{:#}\n",
            outcome.row()
        );
    }
    for what in real.unnamed_phones(&phones) {
        say!("{what}.\n");
    }
    outcome.check(real.is_none())?;
    if args.once {
        return Ok(());
    }
    let pushctl = programs::folder(args.release)?.join("pushctl");
    say!("{}", addresses(set, &stack, &servers, &client, &pushctl));
    say!("\nUp until Ctrl-C.");
    watch(set, &servers, &mut stack.programs)
}

fn given(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}

impl Given {
    fn from_env() -> Self {
        Self {
            amqp_url: given("AMQP_URL"),
            database_url: given("DATABASE_URL"),
        }
    }
}

impl Servers {
    /// Adds to a failure what else can be done about it: data of another version, perhaps.
    fn or_afresh(&self, set: &Set, cause: Error) -> Error {
        if interrupt::requested() || !(self.private_maria || self.private_rabbit) {
            return cause;
        }
        anyhow!(
            "{cause:#}\n\nTo begin afresh, with empty private servers: rm -r '{}'",
            set.dir().display()
        )
    }
}

fn start_servers(set: &Set, given: Given, steps: &mut Steps) -> Result<Servers> {
    let (given_amqp, given_database) = (given.amqp_url, given.database_url);
    let mut packages = Vec::new();
    if given_amqp.is_none() {
        packages.push(Package::RabbitMq);
    }
    if given_database.is_none() {
        packages.push(Package::MariaDb);
    }
    let mut step = steps.next("RabbitMQ and MariaDB: installed");
    set.install(&packages, &mut step)?;
    step.done(if packages.is_empty() {
        "not needed"
    } else {
        "yes"
    });

    let mut step = steps.next("RabbitMQ and MariaDB: running");
    if given_amqp.is_some() {
        step.note("the broker of AMQP_URL");
    } else {
        set.up_rabbit(&mut step)?;
    }
    interrupt::check()?;
    if given_database.is_some() {
        step.note("the database of DATABASE_URL");
    } else {
        set.up_maria(&mut step)?;
        set.maria()?.sql("CREATE DATABASE IF NOT EXISTS push")?;
    }
    step.done("yes");
    interrupt::check()?;
    Ok(Servers {
        private_maria: given_database.is_none(),
        private_rabbit: given_amqp.is_none(),
        amqp_url: given_amqp.map_or_else(|| set.rabbit().map(|rabbit| rabbit.url()), Ok)?,
        database_url: given_database.map_or_else(
            || set.maria().map(|maria| format!("{}push", maria.url())),
            Ok,
        )?,
    })
}

fn start_programs(
    set: &Set,
    servers: &Servers,
    real: Real,
    args: &Args,
    steps: &mut Steps,
) -> Result<Stack> {
    let folder = programs::folder(args.release)?;

    let step = steps.next("push-sim, the provider simulator");
    let sim_addr = listen("127.0.0.1:8090")?;
    let sim = format!("http://{sim_addr}");
    let settings = [("PUSH_SIM_ADDR", sim_addr)];
    let mut simulator = Program::start(set, &folder, "push-sim", &settings)?;
    simulator.answers(&sim, "/")?;
    step.done(&sim);

    let mut step = steps.next("push-api (migrates the database) and push-worker");
    let wanted = given("HTTP_ADDR").unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let http_addr = listen(&wanted)?;
    if http_addr != wanted {
        step.note(&format!("{wanted} is in use, so {http_addr}"));
    }
    let api = format!("http://{http_addr}");
    let key = api_key(set, real, &http_addr)?;
    let own_keys = given("API_KEYS").map_or(String::new(), |keys| format!("{keys},"));
    let mut shared = vec![
        ("DATABASE_URL", servers.database_url.clone()),
        ("AMQP_URL", servers.amqp_url.clone()),
    ];
    let mut settings = shared.clone();
    settings.extend([
        ("HTTP_ADDR", http_addr),
        // Its probes are asked there.
        ("METRICS_ADDR", String::new()),
        (
            "API_KEYS",
            format!("{own_keys}demo:register+send+read+admin:{key}"),
        ),
        ("UNKNOWN_CUSTOMER", "create".to_owned()),
        ("RATE_LIMIT_PER_CUSTOMER", "30/1m".to_owned()),
    ]);
    let mut api_program = Program::start(set, &folder, "push-api", &settings)?;
    api_program.answers(&api, "/healthz")?;
    api_program.ready(&api)?;
    if !servers.private_maria && !real.is_all() && !args.yes {
        nothing_waits(&Client::new(&api, &key), real)?;
    }

    let metrics_addr = listen("127.0.0.1:9091")?;
    let worker = format!("http://{metrics_addr}");
    shared.push(("METRICS_ADDR", metrics_addr));
    shared.extend(real.settings(&sim));
    let mut worker_program = Program::start(set, &folder, "push-worker", &shared)?;
    worker_program.answers(&worker, "/healthz")?;
    worker_program.ready(&worker)?;
    step.note(&real.describe());
    step.done(&api);
    Ok(Stack {
        programs: vec![simulator, api_program, worker_program],
        api,
        sim,
        worker,
        key,
    })
}

/// A database that exists may hold notifications for real phones, which a simulated provider would swallow.
fn nothing_waits(api: &Client, real: Real) -> Result<()> {
    const PENDING: &str = "push_notifications_pending";
    let deadline = Instant::now() + PENDING_MAX;
    let waiting = loop {
        if let Some(waiting) = api.metric(PENDING)? {
            break waiting;
        }
        interrupt::check()?;
        if Instant::now() > deadline {
            bail!(
                "push-api does not tell {PENDING} within {} s",
                PENDING_MAX.as_secs()
            );
        }
        sleep(TICK);
    };
    if waiting == 0.0 {
        return Ok(());
    }
    bail!(
        "in the database of DATABASE_URL {waiting} notifications wait, and the simulator plays a provider ({}): they \
         would be sent to the simulator, reach no phone and be recorded as sent. If that may happen, pass --yes",
        real.describe()
    )
}

/// The wanted address, or the same with the next free port.
fn listen(wanted: &str) -> Result<String> {
    let address: SocketAddr = wanted.parse().with_context(|| {
        format!("HTTP_ADDR={wanted} is not an address and a port, such as 127.0.0.1:8080")
    })?;
    let port = match address.port() {
        0 => ports::any()?,
        port => ports::at_or_after(port)?,
    };
    Ok(SocketAddr::new(address.ip(), port).to_string())
}

/// The key of the printed examples, as long as only this machine and the simulator are within reach. Else one of this
/// checkout's own, kept so that a command copied from one run works in the next.
fn api_key(set: &Set, real: Real, address: &str) -> Result<String> {
    let is_local = address
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback());
    if is_local && real.is_none() {
        return Ok(LOCAL_KEY.to_owned());
    }
    let path = set.dir().join("api-key");
    if let Ok(key) = fs::read_to_string(&path)
        && key.len() == 32
    {
        return Ok(key);
    }
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, key.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

fn row(set: &Set, outcome: &Outcome) -> Result<String> {
    let hex: String = outcome
        .id()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let statement = format!(
        "SELECT notification_id, customer_id, notification_type, title, body, data, status, fcm_result, expo_result, \
         reason, attempts, created_at, sent_at, completed_at FROM notification_history \
         WHERE notification_id = UNHEX('{hex}')\\G"
    );
    let maria = set.maria()?;
    let row =
        process::quiet(&mut maria.client(&["--binary-as-hex", "--execute", &statement, "push"]))?;
    if row.trim().is_empty() {
        bail!("notification_history has no row for {}", outcome.id());
    }
    Ok(row)
}

fn addresses(
    set: &Set,
    stack: &Stack,
    servers: &Servers,
    client: &Client,
    pushctl: &Path,
) -> String {
    let Stack {
        api,
        sim,
        worker,
        key,
        ..
    } = stack;
    let docs = if client.exists("/docs") {
        "/docs"
    } else {
        "/openapi.json"
    };
    let database = if servers.private_maria {
        &servers.database_url
    } else {
        "the one of DATABASE_URL"
    };
    let amqp = if servers.private_rabbit {
        &servers.amqp_url
    } else {
        "the one of AMQP_URL"
    };
    format!(
        "Open:
    the phones          {sim}/
    the console         {api}/admin/   (key: {key})
    API documentation   {api}{docs}
    API                 {api}/readyz   {api}/metrics
    worker              {worker}/readyz   {worker}/metrics
    database            {database}
    broker              {amqp}
    logs                {logs}

Look at everything, from another terminal (more: {pushctl} --help):

PUSH_URL={api} PUSH_API_KEY={key} {pushctl} doctor

Send it again:

curl -sS {api}/api/Push/sendToCustomer -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -H 'Prefer: wait=10' -d '{EXAMPLE}'",
        logs = set.dir().join("logs").display(),
        pushctl = pushctl.display(),
    )
}

/// Returns when someone asks us to stop; with an error when something ended by itself.
fn watch(set: &Set, servers: &Servers, programs: &mut [Program]) -> Result<()> {
    let mut looked = Instant::now();
    while !interrupt::requested() {
        for program in programs.iter_mut() {
            program.check()?;
        }
        if looked.elapsed() > WATCH {
            looked = Instant::now();
            if servers.private_rabbit && !set.rabbit()?.is_running() {
                bail!("RabbitMQ ended by itself. {}", end_of(set, "rabbitmq"));
            }
            if servers.private_maria && !set.maria()?.is_running() {
                bail!("MariaDB ended by itself. {}", end_of(set, "mariadb"));
            }
        }
        sleep(TICK);
    }
    Ok(())
}

fn end_of(set: &Set, name: &str) -> String {
    let log = set.log(name);
    format!("The end of {}:\n{}", log.display(), process::tail(&log, 15))
}
