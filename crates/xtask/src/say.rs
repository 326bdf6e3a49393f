//! What the user reads while they wait: numbered steps, each with the time it took.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Counts the steps of one command.
pub struct Steps {
    total: usize,
    done: usize,
}

impl Steps {
    /// A command of `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// Announces the next step; it ends with [`Step::done`].
    pub fn next(&mut self, what: &str) -> Step {
        self.done += 1;
        print!("{}/{} {what} … ", self.done, self.total);
        flush();
        Step {
            since: Instant::now(),
            fresh_line: false,
            written_over: false,
        }
    }
}

/// A step that was announced and runs.
pub struct Step {
    since: Instant,
    fresh_line: bool,
    written_over: bool,
}

impl Step {
    /// Ends the announcement, because another program is about to print below it.
    pub fn lines(&mut self) {
        if !self.fresh_line {
            println!();
            self.fresh_line = true;
        }
    }

    /// How far it is, on a line that is written over; only for people who watch.
    pub fn progress(&mut self, what: &str) {
        if std::io::stdout().is_terminal() {
            print!("\r    {what}\x1b[K");
            flush();
            self.written_over = true;
        }
    }

    /// Adds a remark to the announcement.
    pub fn note(&mut self, what: &str) {
        self.clear();
        if self.fresh_line {
            println!("    {what}");
        } else {
            print!("{what} … ");
            flush();
        }
    }

    /// The step is over; `what` is its result.
    pub fn done(mut self, what: &str) {
        self.clear();
        let seconds = self.since.elapsed().as_secs_f32();
        let indent = if self.fresh_line { "    " } else { "" };
        println!("{indent}{what} ({seconds:.1} s)");
    }
}

impl Step {
    fn clear(&mut self) {
        if std::mem::take(&mut self.written_over) {
            print!("\r\x1b[K");
        }
    }
}

fn flush() {
    // A closed standard output is no reason to stop the work.
    let _ = std::io::stdout().flush();
}
