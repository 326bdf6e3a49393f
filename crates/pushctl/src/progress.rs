//! How far something long is: a bar on a terminal, now and then a line elsewhere. Always on standard error.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar that nothing moves shows that it is alive.
const TICK: Duration = Duration::from_millis(200);
/// Lines between nothing and all, where there is no bar.
const STEPS: u64 = 10;

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    /// The last tenth that was told.
    Lines(Cell<Option<u64>>),
    /// A count that only a terminal is told.
    Nothing,
}

const OF_ALL: &str = "{spinner} {prefix} [{bar:30}] {pos}/{len} {per_sec} {eta} {msg}";
const COUNT: &str = "{spinner} {prefix} {pos}";

impl Progress {
    /// Begins at nothing, and it is known where it ends.
    pub fn new(what: &'static str) -> Self {
        let shown = if io::stderr().is_terminal() {
            Shown::Bar(bar(what, OF_ALL))
        } else {
            Shown::Lines(Cell::new(None))
        };
        Self { what, shown }
    }

    /// Begins at nothing, and nobody knows where it ends.
    pub fn count(what: &'static str) -> Self {
        let shown = if io::stderr().is_terminal() {
            Shown::Bar(bar(what, COUNT))
        } else {
            Shown::Nothing
        };
        Self { what, shown }
    }

    /// So many of so many, with what else there is to say.
    pub fn set(&self, done: u64, total: u64, more: &str) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(more.to_owned());
            }
            Shown::Lines(told) => {
                let step = step(done, total);
                if told.replace(Some(step)) != Some(step) {
                    say(&line(self.what, done, total, more));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Something to know that does not disturb the bar.
    pub fn note(&self, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.println(text),
            Shown::Lines(_) | Shown::Nothing => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, template: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(TICK);
    bar
}

fn step(done: u64, total: u64) -> u64 {
    (done.saturating_mul(STEPS)).checked_div(total).unwrap_or(0)
}

fn line(what: &str, done: u64, total: u64, more: &str) -> String {
    let line = format!("{what}: {done} of {total} {more}");
    line.trim_end().to_owned()
}

fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_bar_every_tenth_is_told_once() {
        let steps: Vec<u64> = (0..=100).map(|done| step(done, 100)).collect();
        assert_eq!(steps.iter().max(), Some(&STEPS));
        assert!(steps.is_sorted());
        assert_eq!(step(0, 0), 0);
        assert_eq!(step(u64::MAX, 1), u64::MAX);
        assert_eq!(line("replaying", 3, 30, ""), "replaying: 3 of 30");
    }

    #[test]
    fn the_bars_can_be_drawn() {
        for template in [OF_ALL, COUNT] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
