//! Private servers below the checkout: one RabbitMQ and one MariaDB a set, on loopback only.

pub mod command;
mod maria;
mod rabbit;

use crate::install::{self, Package};
use crate::process::TICK;
use crate::say::{Step, say};
use crate::{interrupt, process, programs};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use maria::{Maria, installed as maria_installed};
pub use rabbit::Rabbit;

/// Is the broker installed?
pub fn rabbit_installed() -> bool {
    rabbit::installed().is_some()
}

/// Who uses a set of servers. Each has its own data and ports, so that they can run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// `cargo xtask run`
    Run,
    /// `cargo xtask run` with a real provider: what the simulator's runs have kept must never reach it
    Real,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask chaos`
    Chaos,
    /// `cargo xtask bench`
    Bench,
    /// `cargo xtask services`
    Dev,
}

impl Purpose {
    /// As its folder is called, and as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Real => "real",
            Self::Test => "test",
            Self::Chaos => "chaos",
            Self::Bench => "bench",
            Self::Dev => "dev",
        }
    }

    /// Tests look at the broker from outside; a person who tries things out would only wait longer for it.
    fn needs_management(self) -> bool {
        match self {
            Self::Run | Self::Real | Self::Chaos | Self::Bench => false,
            Self::Test | Self::Dev => true,
        }
    }
}

/// The servers of one purpose, and the folder that holds everything of theirs.
pub struct Set {
    purpose: Purpose,
    dir: PathBuf,
}

/// Names another folder than `.services`: for the tests of these commands themselves.
const SERVICES: &str = "PUSH_XTASK_SERVICES";

/// The root of this checkout.
pub fn checkout() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .filter(|root| root.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .context("this checkout was moved since xtask was built: touch crates/xtask/src/main.rs and try again")
}

impl Set {
    /// The set for `purpose` in this checkout.
    pub fn of(purpose: Purpose) -> Result<Self> {
        let services = match std::env::var_os(SERVICES) {
            Some(elsewhere) => PathBuf::from(elsewhere),
            None => checkout()?.join(".services"),
        };
        let dir = services.join(purpose.name());
        fs::create_dir_all(dir.join("logs"))
            .with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { purpose, dir })
    }

    /// Whose it is.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Where everything of this set is kept; also the mark of its processes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log file of one of its processes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The broker of this set.
    pub fn rabbit(&self) -> Result<Rabbit> {
        Ok(Rabbit::new(
            self.dir.join("rabbit"),
            self.log("rabbitmq"),
            self.port("rabbit")?,
            self.purpose.needs_management(),
        ))
    }

    /// The database server of this set.
    pub fn maria(&self) -> Result<Maria> {
        Ok(Maria::new(
            self.dir.join("maria"),
            self.log("mariadb"),
            self.port("maria")?,
        ))
    }

    /// Installs what of `packages` is missing. One set at a time: the machine is common to all.
    pub fn install(&self, packages: &[Package], step: &mut Step) -> Result<()> {
        let _alone = wait_for(&self.dir.with_file_name("installing"))?;
        install::ensure(packages, &self.log("install"), step)
    }

    /// Starts both, or leaves running what runs.
    pub fn up(&self, step: &mut Step) -> Result<()> {
        self.up_rabbit(step)?;
        self.up_maria(step)
    }

    /// Starts the broker, unless it runs.
    pub fn up_rabbit(&self, step: &mut Step) -> Result<()> {
        let _alone = self.alone()?;
        if self.rabbit()?.is_up() {
            step.note("RabbitMQ runs already");
            return Ok(());
        }
        self.rabbit()?.down();
        self.choose_port("rabbit", rabbit::PORTS)?;
        let rabbit = self.rabbit()?;
        step.note(&format!("RabbitMQ on port {}", rabbit.port()));
        rabbit.up()
    }

    /// Starts the database server, unless it runs.
    pub fn up_maria(&self, step: &mut Step) -> Result<()> {
        let _alone = self.alone()?;
        if self.maria()?.is_up() {
            step.note("MariaDB runs already");
            return Ok(());
        }
        self.maria()?.down();
        self.choose_port("maria", 1)?;
        let maria = self.maria()?;
        step.note(&format!("MariaDB on port {}", maria.port()));
        maria.up()
    }

    /// Stops the programs, both servers, and whatever else carries the mark of this set.
    pub fn down(&self) {
        programs::stop(self);
        maria::stop(&self.dir.join("maria"));
        rabbit::stop(&self.dir.join("rabbit"));
        process::stop(&self.dir, &[], Duration::from_secs(10));
    }

    /// Throws the data away. Only for stopped servers.
    pub fn wipe(&self) -> Result<()> {
        for part in ["rabbit", "maria"] {
            let dir = self.dir.join(part);
            if dir.exists() {
                fs::remove_dir_all(&dir)
                    .with_context(|| format!("cannot remove {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Holds this set until the answer is dropped. `None` when somebody else still does after `limit`; `meanwhile` is
    /// called as long as it waits.
    pub fn lock(
        &self,
        limit: Duration,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Option<File>> {
        let since = Instant::now();
        loop {
            if let Some(held) = try_lock(&self.dir.join("lock"))? {
                return Ok(Some(held));
            }
            if since.elapsed() > limit {
                return Ok(None);
            }
            meanwhile()?;
            sleep(TICK);
        }
    }

    /// The same, for as long as it takes: two runs of `command` at once would share data.
    pub fn lock_alone(&self, command: &str) -> Result<File> {
        let mut told = false;
        let held = self.lock(Duration::MAX, || {
            if !std::mem::replace(&mut told, true) {
                say!("Waiting for another `{command}` in this checkout to end …");
            }
            interrupt::check()
        })?;
        held.with_context(|| format!("the wait for another `{command}` has no end"))
    }

    /// Held while a server is started: who comes at the same moment waits, and then finds it running.
    fn alone(&self) -> Result<File> {
        wait_for(&self.dir.join("starting"))
    }

    fn ports_file(&self) -> PathBuf {
        self.dir.join("ports.json")
    }

    fn ports(&self) -> Value {
        fs::read(self.ports_file())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| json!({}))
    }

    /// The (first) port of a server; 0 as long as none was chosen.
    fn port(&self, server: &str) -> Result<u16> {
        let ports = self.ports();
        let Some(port) = ports.get(server) else {
            return Ok(0);
        };
        match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
            Some(port) => Ok(port),
            None => bail!(
                "{} does not hold a port for {server}: remove the file",
                self.ports_file().display()
            ),
        }
    }

    /// Keeps the ports of a stopped server if they are free, else chooses others.
    fn choose_port(&self, server: &str, count: u16) -> Result<()> {
        let old = self.port(server)?;
        if old != 0 && (old..old + count).all(crate::ports::is_free) {
            return Ok(());
        }
        let mut ports = self.ports();
        ports[server] = json!(crate::ports::block(&self.dir.join(server), count)?);
        let path = self.ports_file();
        fs::write(&path, format!("{ports:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Holds the file until the answer is dropped; `None` if somebody else does. A killed holder lets go by itself.
fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Holds the file as soon as nobody else does.
fn wait_for(path: &Path) -> Result<File> {
    loop {
        if let Some(held) = try_lock(path)? {
            return Ok(held);
        }
        interrupt::check()?;
        sleep(TICK);
    }
}
