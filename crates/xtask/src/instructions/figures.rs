//! Counts, those that are kept, and how far apart they are.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How far a count may be off what is kept, in either direction: a gain that is not kept is lost unseen.
pub const TOLERANCE_PERCENT: f64 = 3.0;

/// What a run counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What they are of besides the source: what, and which.
    pub of: BTreeMap<String, String>,
    /// In the order of a notification's way, or of their names.
    pub functions: Vec<Function>,
}

/// A function, and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// What it is called here.
    pub name: String,
    /// For one notification.
    pub instructions: u64,
}

impl Figures {
    /// Reads what [`write`](Self::write) wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .ok()
            .as_ref()
            .and_then(Self::of_json)
            .with_context(|| format!("{} holds no counts", path.display()))
    }

    fn of_json(json: &Value) -> Option<Self> {
        let of = json["of"].as_object()?.iter();
        let of = of.map(|(what, which)| Some((what.clone(), which.as_str()?.to_owned())));
        let functions = json["instructions"].as_object()?.iter();
        let functions = functions.map(|(name, instructions)| {
            Some(Function {
                name: name.clone(),
                instructions: instructions.as_u64()?,
            })
        });
        Some(Self {
            of: of.collect::<Option<_>>()?,
            functions: functions.collect::<Option<_>>()?,
        })
    }

    /// Writes them as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let functions = self.functions.iter();
        let functions: BTreeMap<&str, u64> = functions
            .map(|function| (function.name.as_str(), function.instructions))
            .collect();
        let json = json!({"of": self.of, "instructions": functions});
        fs::write(path, format!("{json:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn get(&self, name: &str) -> Option<u64> {
        let mut functions = self.functions.iter();
        functions
            .find(|function| function.name == name)
            .map(|function| function.instructions)
    }

    /// Those that only one of both has.
    pub fn strangers<'a>(&'a self, kept: &'a Self) -> Vec<&'a str> {
        let only = |these: &'a Self, others: &'a Self| {
            let names = these
                .functions
                .iter()
                .map(|function| function.name.as_str());
            names.filter(|name| others.get(name).is_none())
        };
        only(self, kept).chain(only(kept, self)).collect()
    }

    /// Why they cannot be compared.
    pub fn foreign(&self, kept: &Self) -> Vec<String> {
        let differ = self.of.iter().filter_map(|(what, here)| {
            let kept = kept.of.get(what).map_or("unknown", String::as_str);
            (here != kept).then(|| format!("{what}: {here}; kept: {kept}"))
        });
        differ.collect()
    }

    /// Those that take more than may be, or less.
    pub fn off(&self, kept: &Self) -> Vec<&str> {
        let off = self.functions.iter().filter(|function| {
            let percent = change(function, kept);
            percent.is_none_or(|percent| percent.abs() > TOLERANCE_PERCENT)
        });
        off.map(|function| function.name.as_str()).collect()
    }
}

/// In per cent of what is kept.
fn change(function: &Function, kept: &Figures) -> Option<f64> {
    let kept = kept.get(&function.name)? as f64;
    Some((function.instructions as f64 - kept) / kept * 100.0)
}

/// For people.
pub fn table(counted: &Figures, kept: Option<&Figures>) -> String {
    let mut table = format!("{:32}{:>14}", "for one notification", "instructions");
    if kept.is_some() {
        table.push_str("      kept    change");
    }
    for function in &counted.functions {
        // Writing to a String does not fail.
        let _ = write!(table, "\n{:32}{:>14}", function.name, function.instructions);
        if let Some((kept, change)) =
            kept.and_then(|kept| Some((kept.get(&function.name)?, change(function, kept)?)))
        {
            let _ = write!(table, "{kept:>10}{change:>+8.1} %");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rustc: &str, functions: &[(&str, u64)]) -> Figures {
        Figures {
            of: [("rustc".to_owned(), rustc.to_owned())].into(),
            functions: functions
                .iter()
                .map(|&(name, instructions)| Function {
                    name: name.to_owned(),
                    instructions,
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let figures = figures("1", &[("a", 2_000), ("b", 1_000)]);
        let path = std::env::temp_dir().join(format!("push-counts-{}", std::process::id()));
        figures.write(&path).unwrap();
        assert_eq!(Figures::read(&path).unwrap(), figures);
        fs::write(&path, "{}").unwrap();
        assert!(Figures::read(&path).is_err());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_loss_is_off_and_so_is_a_gain() {
        let kept = figures(
            "1",
            &[("a", 1_000), ("b", 1_000), ("c", 1_000), ("d", 1_000)],
        );
        let counted = figures("1", &[("a", 1_031), ("b", 969), ("c", 1_030), ("d", 970)]);
        assert_eq!(counted.off(&kept), ["a", "b"]);
        assert_eq!(kept.off(&kept), [""; 0]);
        let table = table(&counted, Some(&kept));
        assert!(
            table.contains("+3.1 %") && table.contains("-3.1 %"),
            "{table}"
        );
    }

    #[test]
    fn what_is_kept_must_be_about_the_same_functions() {
        let kept = figures("1", &[("a", 1), ("gone", 1)]);
        let counted = figures("2", &[("new", 1), ("a", 1)]);
        assert_eq!(counted.strangers(&kept), ["new", "gone"]);
        assert_eq!(kept.strangers(&kept), [""; 0]);
    }

    #[test]
    fn counts_of_another_compiler_are_not_compared() {
        let (kept, counted) = (figures("1", &[]), figures("2", &[]));
        assert_eq!(counted.foreign(&kept), ["rustc: 2; kept: 1"]);
        assert_eq!(kept.foreign(&kept), [""; 0]);
    }
}
