//! A private RabbitMQ: own data, own epmd, own cookie, loopback only.

use crate::interrupt;
use crate::process::{self, TICK};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// In a row: AMQP, Erlang distribution, epmd, management.
pub const PORTS: u16 = 4;

/// Boot takes 5 to 9 s; a busy machine with two cores may need several times that.
const BOOT_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(30);

/// Where Debian's package puts the releases, one folder a version.
const RELEASES: &str = "/usr/lib/rabbitmq/lib";

/// The applications that a broker needs. The packaged 3.10 looks for 58,000 files in 70 plugin folders when it boots;
/// with only these it boots in a third of the time.
const APPS: &[&str] = &[
    "rabbit",
    "rabbit_common",
    "rabbitmq_prelaunch",
    "ranch",
    "recon",
    "ra",
    "aten",
    "gen_batch_server",
    "osiris",
    "seshat",
    "sysmon_handler",
    "observer_cli",
    "cuttlefish",
    "syslog",
    "stdout_formatter",
    "systemd",
    "credentials_obfuscation",
    "getopt",
    "enough",
    "jsx",
    "amqp10_common",
];

/// What the management API needs beyond them.
const MANAGEMENT_APPS: &[&str] = &[
    "rabbitmq_management",
    "rabbitmq_management_agent",
    "rabbitmq_web_dispatch",
    "cowboy",
    "cowlib",
    "amqp_client",
];

/// A private broker.
pub struct Rabbit {
    dir: PathBuf,
    log: PathBuf,
    port: u16,
    management: bool,
}

/// The newest installed release, as folder and version.
pub fn installed() -> Option<(PathBuf, String)> {
    fs::read_dir(RELEASES)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path
                .file_name()?
                .to_str()?
                .strip_prefix("rabbitmq_server-")?
                .to_owned();
            path.join("sbin/rabbitmq-server")
                .is_file()
                .then_some((path, version))
        })
        .max_by_key(|(_, version)| version_key(version))
}

fn found() -> Result<(PathBuf, String)> {
    installed().with_context(|| format!("RabbitMQ is not installed below {RELEASES}"))
}

fn version_key(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or_default())
        .collect()
}

impl Rabbit {
    pub(super) fn new(dir: PathBuf, log: PathBuf, port: u16, management: bool) -> Self {
        Self {
            dir,
            log,
            port,
            management,
        }
    }

    /// Where it speaks AMQP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For clients.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// The management API, with credentials.
    pub fn management_url(&self) -> String {
        format!("http://guest:guest@127.0.0.1:{}", self.port + 3)
    }

    /// Does our broker run and answer?
    pub fn is_up(&self) -> bool {
        self.is_running() && self.answers()
    }

    /// Does the process of our broker live?
    pub fn is_running(&self) -> bool {
        process::of_owner(&self.dir)
            .iter()
            .any(|process| process.name == "beam.smp")
    }

    /// Starts it and waits until it takes connections; or leaves nothing running.
    pub fn up(&self) -> Result<()> {
        self.start().inspect_err(|_| self.down())
    }

    /// Prepares the folder to start from, for brokers that somebody else starts and kills.
    pub fn prepare(&self) -> Result<()> {
        let (release, version) = found()?;
        self.home(&release, &version).map(drop)
    }

    fn start(&self) -> Result<()> {
        let (release, version) = found()?;
        for part in ["home", "mnesia", "gen"] {
            let path = self.dir.join(part);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        self.write_config()?;
        let home = self.home(&release, &version)?;
        // Started here, because one that the broker starts itself is a daemon that nobody stops.
        process::spawn(
            Command::new("epmd")
                .args(["-address", "127.0.0.1", "-port"])
                .arg((self.port + 2).to_string()),
            &self.dir,
            &self.dir.join("epmd.out"),
        )?;
        let out = self.log.with_extension("out");
        let mut server = process::spawn(
            // By a relative path: Debian's start script takes its own place apart at spaces.
            Command::new("./rabbitmq-server")
                .current_dir(home.join("sbin"))
                .envs(self.environment()),
            &self.dir,
            &out,
        )?;
        let deadline = Instant::now() + BOOT_MAX;
        while !self.answers() {
            interrupt::check()?;
            let ended = server.try_wait().context("cannot watch RabbitMQ")?;
            if ended.is_some() || Instant::now() > deadline {
                let why = ended.map_or("did not answer in time".to_owned(), |s| s.to_string());
                bail!(
                    "RabbitMQ did not start: {why}. The end of {} and of {}:\n{}{}",
                    out.display(),
                    self.log.display(),
                    process::tail(&out, 15),
                    process::tail(&self.log, 15)
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

    /// A server that begins the AMQP handshake has finished its boot: its listeners are opened last.
    fn answers(&self) -> bool {
        greets(self.port, b"AMQP\x00\x00\x09\x01")
            && (!self.management || greets(self.port + 3, b"GET / HTTP/1.0\r\n\r\n"))
    }

    fn write_config(&self) -> Result<()> {
        let mut config =
            "log.console = false\nvm_memory_high_watermark.absolute = 1024MiB\n".to_owned();
        if self.management {
            // Depths that are a second old at most, so that a test that waits for one waits briefly.
            config += &format!(
                "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\ncollect_statistics_interval = 1000\n",
                self.port + 3
            );
        }
        let plugins = if self.management {
            "[rabbitmq_management].\n"
        } else {
            "[].\n"
        };
        for (name, text) in [
            ("rabbitmq.conf", config.as_str()),
            (
                "advanced.config",
                "[{rabbit, [{quorum_tick_interval, 1000}]}].\n",
            ),
            ("enabled_plugins", plugins),
            ("env.conf", ""),
        ] {
            let path = self.dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// The folder to start from: the release itself, or for 3.10 one with only the applications that are needed.
    fn home(&self, release: &Path, version: &str) -> Result<PathBuf> {
        if !version.starts_with("3.10.") {
            return Ok(release.to_owned());
        }
        let home = self.dir.join(format!("slim-{version}"));
        let slim = || -> std::io::Result<()> {
            if home.exists() {
                fs::remove_dir_all(&home)?;
            }
            fs::create_dir_all(home.join("sbin"))?;
            fs::create_dir_all(home.join("plugins"))?;
            symlink(release.join("escript"), home.join("escript"))?;
            // The scripts find their release by their own place, so they are copied, not linked.
            for script in fs::read_dir(release.join("sbin"))? {
                let script = script?;
                fs::copy(script.path(), home.join("sbin").join(script.file_name()))?;
            }
            for plugin in fs::read_dir(release.join("plugins"))? {
                let plugin = plugin?;
                let name = plugin.file_name();
                if self.needs(&name.to_string_lossy()) {
                    symlink(plugin.path(), home.join("plugins").join(name))?;
                }
            }
            Ok(())
        };
        slim().with_context(|| format!("cannot prepare {}", home.display()))?;
        Ok(home)
    }

    fn needs(&self, folder: &str) -> bool {
        let app = folder.rsplit_once('-').map_or(folder, |(app, _)| app);
        APPS.contains(&app) || self.management && MANAGEMENT_APPS.contains(&app)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        vec![
            ("HOME", below("home")),
            ("RABBITMQ_NODENAME", "pushq@localhost".to_owned()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", (self.port + 1).to_string()),
            ("ERL_EPMD_PORT", (self.port + 2).to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", below("mnesia")),
            ("RABBITMQ_LOG_BASE", below("log")),
            ("RABBITMQ_LOGS", self.log.to_string_lossy().into_owned()),
            ("RABBITMQ_GENERATED_CONFIG_DIR", below("gen")),
            ("RABBITMQ_FEATURE_FLAGS_FILE", below("feature_flags")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", below("enabled_plugins")),
            ("RABBITMQ_CONFIG_FILE", below("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", below("advanced.config")),
            ("RABBITMQ_CONF_ENV_FILE", below("env.conf")),
            ("RABBITMQ_PID_FILE", below("beam.pid")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
            ("ERL_CRASH_DUMP_BYTES", "0".to_owned()),
        ]
    }
}

/// Stops the broker that keeps its data in `dir`, and its epmd after it.
pub fn stop(dir: &Path) {
    process::stop(dir, &["beam.smp"], STOP_MAX);
    process::stop(dir, &[], Duration::from_secs(5));
}

/// Does the server on this port answer `hello` with anything?
fn greets(port: u16, hello: &[u8]) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    stream.write_all(hello).is_ok() && matches!(stream.read(&mut [0; 8]), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(management: bool) -> Rabbit {
        Rabbit::new("/d".into(), "/d/rabbitmq.log".into(), 20_000, management)
    }

    #[test]
    fn a_slim_home_holds_only_what_is_needed() {
        assert!(broker(false).needs("rabbit_common-3.10.8"));
        assert!(!broker(false).needs("rabbitmq_management-3.10.8"));
        assert!(broker(true).needs("rabbitmq_management-3.10.8"));
        assert!(!broker(true).needs("rabbitmq_mqtt-3.10.8"));
        assert!(!broker(true).needs("README"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version_key("4.0.5") > version_key("3.10.8"));
        assert!(version_key("3.10.8") > version_key("3.9.13"));
    }

    #[test]
    fn nothing_of_it_lies_outside_its_folder() {
        let rabbit = broker(true);
        for (name, value) in rabbit.environment() {
            assert!(
                !value.starts_with('/') || value.starts_with("/d/"),
                "{name}={value}"
            );
        }
    }
}
