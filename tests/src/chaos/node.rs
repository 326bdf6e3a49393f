//! One of our programs as an operator's supervisor keeps it: always at the same port, started again when it was
//! killed.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use crate::program::{Environment, command};
use crate::servers;

/// Longer than `SHUTDOWN_GRACE` as set here, for a busy machine.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A program and its life so far.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    program: &'static str,
    environment: Environment,
    pub(crate) address: String,
    folder: PathBuf,
    starts: usize,
    child: Option<Child>,
    /// What no program should do.
    pub(crate) misdeeds: Vec<String>,
}

impl Node {
    pub(crate) fn new(
        name: String,
        program: &'static str,
        address: String,
        folder: PathBuf,
        environment: Environment,
    ) -> Self {
        Self {
            name,
            program,
            environment,
            address,
            folder,
            starts: 0,
            child: None,
            misdeeds: Vec::new(),
        }
    }

    /// Starts it, each time with a log of its own.
    pub(crate) fn start(&mut self) {
        self.starts += 1;
        let log = File::create(self.log()).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = command(&servers::program(self.program), &self.environment)
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.child = Some(child.expect("the program is there"));
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        if let Some(pid) = id.and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may be gone already.
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// It should run: notes it if it ended by itself.
    pub(crate) fn look(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok());
        if let Some(status) = ended.flatten() {
            self.child = None;
            let misdeed = format!(
                "{} ended by itself ({status}), run {}",
                self.name, self.starts
            );
            self.misdeeds.push(misdeed);
        }
    }

    /// Before that nobody answers signals, and nothing is in hand.
    fn has_begun(&self) -> bool {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.contains("\"listening\"")
    }

    fn log(&self) -> PathBuf {
        let name = self.name.replace(' ', "-");
        self.folder.join(format!("{name}.{}.log", self.starts))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.look();
        if let Some(mut child) = self.child.take() {
            drop(child.kill().await);
        }
    }

    /// SIGTERM, to which it must answer with exit code 0.
    pub(crate) async fn terminate(&mut self) {
        self.look();
        self.signal(Signal::TERM);
        let Some(mut child) = self.child.take() else {
            return;
        };
        let misdeed = match timeout(STOP_MAX, child.wait()).await {
            Ok(Ok(status)) if status.success() || !self.has_begun() => return,
            Ok(Ok(status)) => format!("ended with {status} after SIGTERM"),
            Ok(Err(error)) => format!("cannot be waited for: {error}"),
            Err(_) => {
                drop(child.kill().await);
                format!("did not end within {STOP_MAX:?} after SIGTERM")
            }
        };
        self.misdeeds
            .push(format!("{} {misdeed}, run {}", self.name, self.starts));
    }
}
