//! What a program said.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The lines of one run of a program, both of its outputs. Outlives the program.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which program, for people.
    pub name: Arc<str>,
    lines: Arc<Mutex<Vec<String>>>,
}

/// How many lines show where a program was when the test ended.
const LAST: usize = 8;
/// An outage may warn for long.
const ABOVE_MAX: usize = 40;

/// Whether a line has one of these levels, or is no log line at all (a panic).
fn is_of(line: &str, levels: &[&str]) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(event) => event["level"]
            .as_str()
            .is_some_and(|level| levels.contains(&level)),
        Err(_) => !line.trim().is_empty(),
    }
}

impl Log {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            lines: Arc::default(),
        }
    }

    /// Reads `output` to its end. The task ends when the program has closed it.
    pub(crate) fn collect(
        &self,
        output: impl AsyncRead + Unpin + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let lines = Arc::clone(&self.lines);
        let mut reader = BufReader::new(output).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        })
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The lines as JSON; what is no JSON is left out.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let lines = self.lines();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Whether some line contains `text`.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// The lines of level `ERROR`, and what is no log line at all (a panic).
    pub(crate) fn errors(&self) -> Vec<String> {
        let is_error = |line: &String| is_of(line, &["ERROR"]);
        self.lines().into_iter().filter(is_error).collect()
    }

    /// Where the program says that it listens.
    pub(crate) fn address(&self) -> Option<String> {
        self.events().iter().find_map(|event| {
            let field = |name: &str| event.get(name).or_else(|| event["fields"].get(name));
            if field("message")? == "listening" {
                Some(field("address")?.as_str()?.to_owned())
            } else {
                None
            }
        })
    }

    /// What is above `INFO`, and the last lines: for a person who reads why a test failed, in the output of many.
    pub(crate) fn trouble(&self) -> String {
        let lines = self.lines();
        let last = lines.len().saturating_sub(LAST);
        let (before, after) = lines.split_at(last);
        let above: Vec<_> = before
            .iter()
            .filter(|line| is_of(line, &["WARN", "ERROR"]))
            .collect();
        let above = above.iter().skip(above.len().saturating_sub(ABOVE_MAX));
        above
            .copied()
            .chain(after)
            .map(|line| format!("    {} | {line}\n", self.name))
            .collect()
    }

    /// The last lines.
    pub(crate) fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let last = lines.iter().skip(lines.len().saturating_sub(count));
        last.map(|line| format!("    {} | {line}\n", self.name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_told_however_much_followed_it() {
        let log = Log::new("worker");
        let line = |level: &str, text: &str| format!(r#"{{"level":"{level}","message":"{text}"}}"#);
        let mut lines = log.lines.lock().unwrap();
        lines.push(line("INFO", "began"));
        lines.push(line("WARN", "the reason"));
        lines.extend((0..30).map(|n| line("INFO", &format!("then {n}."))));
        drop(lines);
        let told = log.trouble();
        assert!(told.contains("the reason") && !told.contains("began"));
        assert!(told.contains("then 22.") && !told.contains("then 21."));
        assert_eq!(told.lines().count(), 1 + LAST);
    }
}
