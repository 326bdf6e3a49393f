//! A program that ends by itself, while it runs.

use rustix::process::Signal;

use crate::logs::Log;
use crate::program::{Environment, Program, command};
use crate::servers;

/// It runs, and what it says is collected.
#[derive(Debug)]
pub struct Running {
    program: Program,
}

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], environment: &Environment) -> Self {
        let child = command(&servers::program(name), environment)
            .args(arguments)
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let log = Log::new(name);
        let out = log.collect(child.stdout.take().expect("piped"));
        let err = log.collect(child.stderr.take().expect("piped"));
        Self {
            program: Program::of(child, vec![out, err], log),
        }
    }

    /// Starts it, and reads nothing of its standard output: who writes there is told that nobody listens.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_unheard(name: &str, arguments: &[&str], environment: &Environment) -> Self {
        let child = command(&servers::program(name), environment)
            .args(arguments)
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        drop(child.stdout.take());
        let log = Log::new(name);
        let err = log.collect(child.stderr.take().expect("piped"));
        Self {
            program: Program::of(child, vec![err], log),
        }
    }

    /// What it has said so far, on both of its outputs.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.program.log
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.program.signal(Signal::INT);
    }

    /// Waits for the end; the exit code, `None` after a signal.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> Option<i32> {
        self.program.ended().await
    }
}
