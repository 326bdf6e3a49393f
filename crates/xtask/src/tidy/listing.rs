//! What lies at the top, where everybody looks first.

use super::Finding;
use std::collections::BTreeSet;

const ALLOWED: &[&str] = &[
    ".cargo",
    ".ci",
    ".dockerignore",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "deploy",
    "docker-compose.yml",
    "migrations",
    "rustfmt.toml",
    "tests",
];

/// Names what has no place there.
pub fn check(files: &[String]) -> Vec<Finding> {
    let top: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.split('/').next())
        .collect();
    top.into_iter()
        .filter(|name| !ALLOWED.contains(name) && !name.starts_with("LICENSE"))
        .map(|name| {
            Finding::new(
                name,
                "has no place in the top folder",
                "move it below crates/, deploy/ or tests/, or ignore it in .gitignore if it is made by a program",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named_once() {
        let files = [
            "Cargo.toml",
            "LICENSE-MIT",
            "crates/a/b.rs",
            "notes/a",
            "notes/b",
            "x.sh",
        ]
        .map(str::to_owned);
        let findings = check(&files);
        let offenders: Vec<&str> = findings.iter().map(|f| f.offender.as_str()).collect();
        assert_eq!(offenders, ["notes", "x.sh"]);
    }
}
