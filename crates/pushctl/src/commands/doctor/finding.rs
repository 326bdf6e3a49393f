//! What was found, and what to do about it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::escape::escape;
use crate::screen::{Mood, Paint};

/// How bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    #[default]
    Ok,
    /// Worth a look.
    Warning,
    /// To be mended.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    level: Level,
    check: &'static str,
    found: String,
    mend: Option<String>,
}

/// All of them, in the order of looking.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    /// As it should be.
    pub fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(Level::Ok, check, found.into(), None);
    }

    /// Worth a look.
    pub fn warning(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Level::Warning, check, found.into(), Some(mend.into()));
    }

    /// To be mended.
    pub fn problem(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Level::Problem, check, found.into(), Some(mend.into()));
    }

    fn add(&mut self, level: Level, check: &'static str, found: String, mend: Option<String>) {
        // A failure is told in several lines, a finding in one.
        let lines: Vec<_> = found.lines().map(str::trim).collect();
        self.all.push(Finding {
            level,
            check,
            found: lines.join("; "),
            mend,
        });
    }

    /// How bad it is in all.
    pub fn worst(&self) -> Level {
        let levels = self.all.iter().map(|finding| finding.level);
        levels.max().unwrap_or_default()
    }

    /// For programs.
    pub fn document(&self) -> Value {
        json!({"worst": self.worst(), "findings": self.all})
    }

    /// For people: a line each, and what to do.
    pub fn told(&self, paint: Paint) -> String {
        self.all.iter().map(|finding| finding.told(paint)).collect()
    }
}

impl Finding {
    fn told(&self, paint: Paint) -> String {
        let (mood, name) = match self.level {
            Level::Ok => (Mood::Good, "ok     "),
            Level::Warning => (Mood::Odd, "warning"),
            Level::Problem => (Mood::Bad, "problem"),
        };
        let level = paint.mood(mood, name);
        let mut told = format!("{level}  {:<12} {}\n", self.check, escape(&self.found));
        if let Some(mend) = &self.mend {
            let mend = format!("{:22}→ {}\n", "", escape(mend));
            told.push_str(&mend);
        }
        told
    }
}

#[cfg(test)]
impl Findings {
    /// Levels and texts, for tests.
    pub fn list(&self) -> Vec<(Level, String)> {
        let all = self.all.iter();
        all.map(|finding| (finding.level, finding.found.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_each_says_what_to_do() {
        let mut findings = Findings::default();
        assert_eq!(findings.worst(), Level::Ok);
        findings.ok("a", "fine");
        findings.problem("b", "broken\u{1b}", "mend it");
        findings.warning("c", "odd", "look at it");
        assert_eq!(findings.worst(), Level::Problem);
        let told = findings.told(Paint::PLAIN);
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(
            told.contains("problem  b            broken\\u{1b}"),
            "{told}"
        );
        assert!(told.contains("→ look at it"), "{told}");
        assert_eq!(findings.document()["worst"], "problem");
        assert_eq!(findings.document()["findings"][0]["level"], "ok");
    }
}
