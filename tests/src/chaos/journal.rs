//! The run's own log: every fault with its moment and what it hit. Kept when the verdict is bad.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as the simulator and the database count them.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(elapsed.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The folder of a run, and the file in which it tells.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    since: Instant,
    file: Mutex<File>,
    to_terminal: bool,
}

impl Journal {
    pub(crate) fn begin(folder: PathBuf, to_terminal: bool) -> Self {
        fs::create_dir_all(&folder).expect("a folder for the run");
        let file = File::create(folder.join("journal.log")).expect("the run's journal");
        Self {
            folder,
            since: Instant::now(),
            file: Mutex::new(file),
            to_terminal,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// A line for the file.
    pub(crate) fn note(&self, text: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the run: the verdict does not depend on it.
        drop(writeln!(file, "{seconds:9.3} {text}"));
    }

    /// A line for the file, and for who watches.
    pub(crate) fn say(&self, text: &str) {
        self.note(text);
        if self.to_terminal {
            eprintln!("[{:6.1} s] {text}", self.since.elapsed().as_secs_f64());
        }
    }

    /// Nobody needs it.
    pub(crate) fn remove(&self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}
