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
        let is_error = |line: &String| match serde_json::from_str::<Value>(line) {
            Ok(event) => event["level"] == "ERROR",
            Err(_) => !line.trim().is_empty(),
        };
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

    /// The last lines, for a person who reads why a test failed.
    pub(crate) fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let last = lines.iter().skip(lines.len().saturating_sub(count));
        last.map(|line| format!("    {} | {line}\n", self.name))
            .collect()
    }
}
