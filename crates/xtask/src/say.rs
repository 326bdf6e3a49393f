//! What the user reads while they wait: numbered steps, each with the time it took.
//!
//! `println!` panics when its reader is gone: a closed terminal, a pipe to `tee` or `head`. That must not keep us from
//! stopping what we started, so everything in this crate is said from here.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Says a line on standard output, to whoever still listens.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::out(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use say;

/// Writes to standard output, as long as there is one.
pub fn out(text: fmt::Arguments<'_>) {
    write(std::io::stdout().lock(), text);
}

/// Writes to standard error, as long as there is one.
pub fn err(text: fmt::Arguments<'_>) {
    write(std::io::stderr().lock(), text);
}

/// A reader that is gone is no reason to stop the work.
fn write(mut to: impl Write, text: fmt::Arguments<'_>) {
    let _ = to.write_fmt(text).and_then(|()| to.flush());
}

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
        out(format_args!("{}/{} {what} … ", self.done, self.total));
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
            say!("");
            self.fresh_line = true;
        }
    }

    /// How far it is, on a line that is written over; only for people who watch.
    pub fn progress(&mut self, what: &str) {
        if std::io::stdout().is_terminal() {
            out(format_args!("\r    {what}\x1b[K"));
            self.written_over = true;
        }
    }

    /// Adds a remark to the announcement.
    pub fn note(&mut self, what: &str) {
        self.clear();
        if self.fresh_line {
            say!("    {what}");
        } else {
            out(format_args!("{what} … "));
        }
    }

    /// The step is over; `what` is its result.
    pub fn done(mut self, what: &str) {
        self.clear();
        let seconds = self.since.elapsed().as_secs_f32();
        let indent = if self.fresh_line { "    " } else { "" };
        say!("{indent}{what} ({seconds:.1} s)");
    }
}

impl Step {
    fn clear(&mut self) {
        if std::mem::take(&mut self.written_over) {
            out(format_args!("\r\x1b[K"));
        }
    }
}
