//! A private MariaDB: own data, loopback only, `root` without a password.

use crate::interrupt;
use crate::process::{self, TICK};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const BOOT_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);

/// A private database server.
pub struct Maria {
    dir: PathBuf,
    log: PathBuf,
    port: u16,
}

/// Is everything there that we call?
pub fn installed() -> bool {
    ["mariadbd", "mariadb-install-db", "mariadb"]
        .iter()
        .all(|name| crate::install::finds(name))
}

impl Maria {
    pub(super) fn new(dir: PathBuf, log: PathBuf, port: u16) -> Self {
        Self { dir, log, port }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For clients; add the name of a database.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/", self.port)
    }

    /// Does our server run and answer?
    pub fn is_up(&self) -> bool {
        self.is_running() && self.sql("SELECT 1").is_ok()
    }

    /// Does the process of our server live?
    pub fn is_running(&self) -> bool {
        process::of_owner(&self.dir)
            .iter()
            .any(|process| process.name == "mariadbd")
    }

    /// Runs a statement and returns what the client prints.
    pub fn sql(&self, statement: &str) -> Result<String> {
        process::quiet(&mut self.client(&["--execute", statement]))
    }

    /// The command-line client, connected as `root`.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args([
                "--no-defaults",
                "--protocol=tcp",
                "--host=127.0.0.1",
                "--user=root",
                "--default-character-set=utf8mb4",
            ])
            .arg(format!("--port={}", self.port))
            .args(arguments);
        command
    }

    /// Starts it and waits until it takes statements; or leaves nothing running.
    pub fn up(&self) -> Result<()> {
        self.start().inspect_err(|_| self.down())
    }

    fn start(&self) -> Result<()> {
        self.create()?;
        let mut server = process::spawn(
            Command::new(tool("mariadbd")).args([
                "--no-defaults".to_owned(),
                format!("--user={}", user()?),
                format!("--datadir={}", self.data().display()),
                // A server that starts deletes what it takes for its own leftovers in the common folder.
                format!("--tmpdir={}", self.data().display()),
                // Relative to the data: the full path of a socket may have 107 characters at most.
                "--socket=my.sock".to_owned(),
                "--pid-file=my.pid".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--port={}", self.port),
                "--skip-name-resolve".to_owned(),
                format!("--log-error={}", self.log.display()),
                "--character-set-server=utf8mb4".to_owned(),
                "--collation-server=utf8mb4_unicode_ci".to_owned(),
                "--innodb-buffer-pool-size=256M".to_owned(),
                "--max-connections=500".to_owned(),
                "--default-time-zone=+00:00".to_owned(),
            ]),
            &self.dir,
            &self.log.with_extension("out"),
        )?;
        let deadline = Instant::now() + BOOT_MAX;
        while self.sql("SELECT 1").is_err() {
            interrupt::check()?;
            let ended = server.try_wait().context("cannot watch MariaDB")?;
            if ended.is_some() || Instant::now() > deadline {
                let why = ended.map_or("did not answer in time".to_owned(), |s| s.to_string());
                bail!(
                    "MariaDB did not start: {why}. The end of {}:\n{}",
                    self.log.display(),
                    process::tail(&self.log, 20)
                );
            }
            sleep(TICK);
        }
        Ok(())
    }

    /// Stops it.
    pub fn down(&self) {
        stop(&self.dir);
    }

    fn data(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// Creates the system tables, once. Half a creation, left by an interruption, is started over.
    fn create(&self) -> Result<()> {
        let complete = self.dir.join("complete");
        if complete.exists() {
            return Ok(());
        }
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data)
                .with_context(|| format!("cannot remove {}", data.display()))?;
        }
        fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        // Without a user: the files are ours anyway, and to give them away the script takes paths apart at spaces.
        let mut create = Command::new(tool("mariadb-install-db"));
        create.args([
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            "--auth-root-authentication-method=normal".to_owned(),
            "--skip-test-db".to_owned(),
            "--skip-name-resolve".to_owned(),
        ]);
        // A server that starts deletes what servers before it left in its folder for temporary files:
        // in a shared one that is also the work of a creation beside this one.
        create.env("TMPDIR", &data);
        process::quiet(&mut create)?;
        fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))
    }
}

/// Stops the server that keeps its data in `dir`.
pub fn stop(dir: &Path) {
    process::stop(dir, &[], STOP_MAX);
}

fn tool(name: &str) -> PathBuf {
    crate::install::find(name).unwrap_or_else(|| name.into())
}

/// MariaDB refuses to run as root unless it is told to.
fn user() -> Result<String> {
    Ok(process::quiet(Command::new("id").arg("-un"))?
        .trim()
        .to_owned())
}
