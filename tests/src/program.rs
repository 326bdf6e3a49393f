//! A program as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::logs::Log;
use crate::secrets::Secrets;
use crate::servers;
use crate::wait::within;

/// Settings of a program: variables and values.
pub type Environment = Vec<(String, String)>;

/// Longer than the longest grace that a test configures.
const STOP_MAX: Duration = Duration::from_secs(60);
const START_MAX: Duration = Duration::from_secs(60);

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    /// What it says.
    pub log: Log,
    address: String,
}

/// How a program ended that was not meant to stay.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command that sees these settings and nothing of the tester's own environment.
pub(crate) fn command(file: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(file);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for inherited in ["PATH", "PUSH_XTASK_OWNER", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(inherited) {
            command.env(inherited, value);
        }
    }
    command
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a program that ends by itself.
///
/// # Panics
/// When it does not, or when it tells what is secret in its settings.
pub async fn run_to_end(name: &str, arguments: &[&str], environment: &[(String, String)]) -> Ended {
    let running = command(&servers::program(name), environment)
        .args(arguments)
        .output();
    let output = timeout(STOP_MAX, running).await;
    let output = output
        .unwrap_or_else(|_| panic!("{name} {arguments:?} did not end"))
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let secrets = Secrets::default();
    secrets.learn_settings(environment);
    for said in [&ended.stdout, &ended.stderr] {
        assert_eq!(secrets.found_in(said), [""; 0], "{name} tells them: {said}");
    }
    ended
}

impl Program {
    /// Starts a program and waits until it says where it listens.
    ///
    /// # Panics
    /// When it ends or says nothing.
    pub async fn start(name: &str, label: &str, environment: &[(String, String)]) -> Self {
        Self::start_file(&servers::program(name), label, environment).await
    }

    /// The same, of a program that is not one of those built now.
    pub(crate) async fn start_file(
        file: &Path,
        label: &str,
        environment: &[(String, String)],
    ) -> Self {
        let mut child = command(file, environment)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", file.display()));
        let log = Log::new(label);
        let out = log.collect(child.stdout.take().expect("piped"));
        let err = log.collect(child.stderr.take().expect("piped"));
        let said = within(START_MAX, async || {
            let ended = child.try_wait().ok().flatten();
            match (log.address(), ended) {
                (Some(address), _) => Some(Ok(address)),
                (None, Some(status)) => Some(Err(format!("ended ({status})"))),
                (None, None) => None,
            }
        });
        let said = said
            .await
            .unwrap_or_else(|| Err("did not say where it listens".to_owned()));
        match said {
            Ok(address) => Self {
                child,
                readers: vec![out, err],
                log,
                address,
            },
            Err(why) => {
                // What it said last is on its way through the pipe.
                drop(child.start_kill());
                drop(
                    timeout(Duration::from_secs(2), async {
                        drop((out.await, err.await))
                    })
                    .await,
                );
                panic!("{label} {why}:\n{}", log.tail(40))
            }
        }
    }

    /// One that is started already, and listens nowhere.
    pub(crate) fn of(child: Child, readers: Vec<JoinHandle<()>>, log: Log) -> Self {
        Self {
            child,
            readers,
            log,
            address: String::new(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `http://` and the address where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The most memory that it has had so far, in bytes.
    ///
    /// # Panics
    /// When the system does not say it.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        1024 * peak.expect("its peak").parse::<u64>().expect("a number")
    }

    /// SIGTERM, as an orchestrator sends it, without waiting.
    pub fn signal_terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the end; the exit code, `None` after a signal.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> Option<i32> {
        let Ok(status) = timeout(STOP_MAX, self.child.wait()).await else {
            panic!("{} does not end:\n{}", self.log.name, self.log.tail(20));
        };
        for reader in self.readers.drain(..) {
            drop(reader.await);
        }
        status.expect("a child can be waited for").code()
    }

    /// SIGTERM and the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal_terminate();
        self.ended().await
    }

    /// For the end of a test, which must not fail again.
    pub(crate) async fn kill_if_running(&mut self) {
        drop(self.child.start_kill());
        drop(timeout(STOP_MAX, self.child.wait()).await);
    }

    /// SIGKILL: no time for anything.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}
