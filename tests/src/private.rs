//! Servers of one test's own, which it may kill: the shared ones would take the other tests down.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::certificates::Certificate;
use crate::device::unique;
use crate::servers::{Server, services_dir};
use crate::wait::within;

/// Below the range from which the kernel hands out ports, so that a server finds its port again.
const PORTS: std::ops::Range<u16> = 30_000..32_700;

/// RabbitMQ takes 5 to 20 s; a machine that is busy with other things several times that.
const BOOT_MAX: Duration = Duration::from_secs(180);

/// Servers of one process take their ports from different places.
static TAKEN: AtomicU16 = AtomicU16::new(0);

/// `count` free ports in a row, at a place that differs from process to process.
pub(crate) fn ports(count: u16) -> u16 {
    let start = u16::try_from(std::process::id() % 250).unwrap_or_default() * 10;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| TAKEN.fetch_add(1, Ordering::Relaxed))
        .take(270)
        .map(|step| PORTS.start + (start + step % 270 * 10) % (PORTS.end - PORTS.start))
        .find(|base| (0..count).all(|offset| free(base + offset)))
        .expect("free ports")
}

fn folder(name: &str) -> PathBuf {
    // Short: the path of a socket ends at 107 characters.
    let path = services_dir().join(format!("{name}-{:.6}", unique("")));
    fs::create_dir_all(&path).expect("a folder");
    path
}

fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut found = folders
        .map(|folder| folder.join(name))
        .filter(|path| path.is_file());
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is not installed"))
}

fn spawn(command: &mut Command) -> Child {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

async fn answers(port: u16, hello: &[u8]) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(hello).await.ok()?;
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.ok()?;
    Some(())
}

/// A MariaDB of this test's own.
#[derive(Debug)]
pub struct PrivateMaria {
    dir: PathBuf,
    port: u16,
    user: String,
    options: Vec<String>,
    child: Option<Child>,
}

impl PrivateMaria {
    /// Creates and starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::configured(folder("maria"), Vec::new()).await
    }

    /// Creates and starts one that takes no connection without TLS.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with_tls(certificate: &Certificate) -> Self {
        let dir = folder("maria");
        certificate.write_to(&dir);
        let options = vec![
            format!("--ssl-cert={}", dir.join("cert.pem").display()),
            format!("--ssl-key={}", dir.join("key.pem").display()),
            "--require-secure-transport=ON".to_owned(),
        ];
        Self::configured(dir, options).await
    }

    /// The folder of its certificate, if it has one.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    async fn configured(dir: PathBuf, options: Vec<String>) -> Self {
        let id = Command::new("id").arg("-un").output().await.expect("id");
        let user = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        let mut maria = Self {
            dir,
            port: ports(1),
            user,
            options,
            child: None,
        };
        let created = Command::new(tool("mariadb-install-db"))
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ])
            // Without a user: the files are ours, and to give them away the script takes paths apart at spaces.
            .arg(format!("--datadir={}", maria.data().display()))
            .output()
            .await
            .expect("mariadb-install-db");
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stderr)
        );
        maria.up().await;
        maria
    }

    fn data(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// Where it is.
    #[must_use]
    pub fn server(&self) -> Server {
        Server::parse(&format!("mysql://root@127.0.0.1:{}/", self.port))
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn up(&mut self) {
        let arguments = [
            "--no-defaults".to_owned(),
            format!("--user={}", self.user),
            format!("--datadir={}", self.data().display()),
            "--socket=my.sock".to_owned(),
            "--pid-file=my.pid".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={}", self.port),
            "--skip-name-resolve".to_owned(),
            format!("--log-error={}", self.dir.join("error.log").display()),
            "--character-set-server=utf8mb4".to_owned(),
            "--innodb-buffer-pool-size=64M".to_owned(),
            "--default-time-zone=+00:00".to_owned(),
        ];
        let arguments = arguments.iter().chain(&self.options);
        self.child = Some(spawn(Command::new(tool("mariadbd")).args(arguments)));
        // The server speaks first.
        let up = within(BOOT_MAX, async || answers(self.port, b"").await).await;
        up.expect("the test's own MariaDB is up");
    }

    /// SIGKILL: what is committed must survive that.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill().await);
        }
    }

    /// SIGSTOP: it keeps all its connections and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may be gone already.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for PrivateMaria {
    fn drop(&mut self) {
        self.child = None;
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A RabbitMQ of this test's own.
#[derive(Debug)]
pub struct PrivateRabbit {
    dir: PathBuf,
    port: u16,
    epmd: Option<Child>,
    server: Option<Child>,
}

impl PrivateRabbit {
    /// Creates and starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::configured("").await
    }

    /// Creates and starts one with settings of the application `rabbit`, as `advanced.config` has them.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn configured(settings: &str) -> Self {
        Self::made_of(settings, None).await
    }

    /// Creates and starts one that takes connections with TLS, too, at another port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with_tls(certificate: &Certificate) -> Self {
        Self::made_of("", Some(certificate)).await
    }

    /// The port for TLS.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.port + 3
    }

    async fn made_of(settings: &str, certificate: Option<&Certificate>) -> Self {
        let mut rabbit = Self {
            dir: folder("rabbit"),
            port: ports(4),
            epmd: None,
            server: None,
        };
        for part in ["home", "mnesia", "gen"] {
            fs::create_dir_all(rabbit.dir.join(part)).expect("a folder");
        }
        let config = format!("[{{rabbit, [{settings}]}}].\n");
        let mut main =
            "log.console = false\nvm_memory_high_watermark.absolute = 512MiB\n".to_owned();
        if let Some(certificate) = certificate {
            certificate.write_to(&rabbit.dir);
            let (port, dir) = (rabbit.tls_port(), rabbit.dir.display());
            main += &format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {dir}/cert.pem\n\
                 ssl_options.certfile = {dir}/cert.pem\nssl_options.keyfile = {dir}/key.pem\n"
            );
        }
        let files = [
            ("rabbitmq.conf", main.as_str()),
            ("advanced.config", config.as_str()),
            ("enabled_plugins", "[].\n"),
            ("env.conf", ""),
        ];
        for (name, text) in files {
            fs::write(rabbit.dir.join(name), text).expect("a file");
        }
        rabbit.up().await;
        rabbit
    }

    /// Where it is.
    #[must_use]
    pub fn server(&self) -> Server {
        Server::parse(&format!("amqp://guest:guest@127.0.0.1:{}", self.port))
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn up(&mut self) {
        let epmd_port = self.epmd_port();
        self.epmd = Some(spawn(Command::new(tool("epmd")).args([
            "-address",
            "127.0.0.1",
            "-port",
            &epmd_port,
        ])));
        // By a relative path: the start script takes its own place apart at spaces.
        self.server = Some(spawn(
            Command::new("./rabbitmq-server")
                .current_dir(release().join("sbin"))
                .envs(self.settings()),
        ));
        // Its listeners are opened last.
        let up = within(BOOT_MAX, async || {
            answers(self.port, b"AMQP\x00\x00\x09\x01").await
        });
        up.await.expect("the test's own RabbitMQ is up");
    }

    fn epmd_port(&self) -> String {
        (self.port + 2).to_string()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let below = |name: &str| self.dir.join(name).display().to_string();
        vec![
            ("HOME", below("home")),
            ("RABBITMQ_NODENAME", format!("own{}@localhost", self.port)),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", (self.port + 1).to_string()),
            ("ERL_EPMD_PORT", self.epmd_port()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", below("mnesia")),
            ("RABBITMQ_LOG_BASE", below("log")),
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

    /// What an administrator says to it.
    ///
    /// # Panics
    /// When it does not do that.
    pub async fn ctl(&self, arguments: &[&str]) {
        let done = Command::new("./rabbitmqctl")
            .args(arguments)
            .current_dir(release().join("sbin"))
            .envs(self.settings())
            .output()
            .await
            .expect("rabbitmqctl");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "rabbitmqctl {arguments:?}: {said}");
    }

    /// SIGKILL: what is confirmed must survive that.
    pub async fn kill(&mut self) {
        self.kill_now();
        if let Some(mut server) = self.server.take() {
            drop(server.wait().await);
        }
        if let Some(mut epmd) = self.epmd.take() {
            drop(epmd.kill().await);
        }
    }

    /// SIGSTOP: it keeps all its connections and says nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The start script waits for this process, and ends with it.
    fn kill_now(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.dir.join("beam.pid")).ok();
        let pid = pid.and_then(|pid| pid.trim().parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let mark = self.dir.display().to_string();
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains(&mark))
        };
        if let Some(pid) = pid.filter(is_ours).and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Throws away all that it kept: a broken disk. Only while it is down.
    ///
    /// # Panics
    /// When it cannot.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.dir.join("mnesia")).expect("its data can be removed");
        fs::create_dir_all(self.dir.join("mnesia")).expect("a folder");
    }
}

impl Drop for PrivateRabbit {
    fn drop(&mut self) {
        self.kill_now();
        self.server = None;
        self.epmd = None;
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// The release to start: one with few plugins, if it was prepared for the shared broker, boots in a third of the time.
fn release() -> PathBuf {
    let folders = [
        services_dir().join("rabbit"),
        PathBuf::from("/usr/lib/rabbitmq/lib"),
    ];
    let releases = folders.iter().flat_map(|folder| entries(folder));
    let mut usable = releases.filter(|path| path.join("sbin/rabbitmq-server").is_file());
    usable.next().expect("RabbitMQ is installed")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
