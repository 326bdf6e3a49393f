//! What the documents name as proof: a test that was renamed or removed must not go on being promised.

use super::Finding;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that name tests.
const DOCUMENTS: &[&str] = &["README.md", "SECURITY.md"];

/// Looks up every file, and every function of it, that a document names in backticks: `tests/it/send.rs`,
/// `push-core/src/plan.rs::a_function`.
pub fn check(root: &Path) -> Vec<Finding> {
    DOCUMENTS
        .iter()
        .filter_map(|name| Some((*name, fs::read_to_string(root.join(name)).ok()?)))
        .flat_map(|(name, text)| {
            proofs(&text)
                .filter_map(|proof| missing(root, name, proof))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A file, and a function in it.
#[derive(Debug, PartialEq, Eq)]
struct Proof<'a> {
    file: &'a str,
    function: Option<&'a str>,
}

fn proofs(text: &str) -> impl Iterator<Item = Proof<'_>> {
    let in_backticks = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    in_backticks.filter_map(|word| {
        let (file, function) = match word.split_once("::") {
            Some((file, function)) => (file, Some(function)),
            None => (word, None),
        };
        let is_path = Path::new(file).extension().is_some_and(|kind| kind == "rs")
            && (file.starts_with("tests/") || file.starts_with("push-"))
            && !file.contains(['*', '{', ' ']);
        is_path.then_some(Proof { file, function })
    })
}

fn missing(root: &Path, document: &str, proof: Proof<'_>) -> Option<Finding> {
    let Proof { file, function } = proof;
    let finding = |wrong| {
        Some(Finding::new(
            document,
            wrong,
            "name the test that shows it now, or take the promise back",
        ))
    };
    let places: [PathBuf; 2] = [root.join(file), root.join("crates").join(file)];
    let Some(text) = places
        .iter()
        .find_map(|place| fs::read_to_string(place).ok())
    else {
        return finding(format!("names {file}, which is not there"));
    };
    let function = function?;
    if text.contains(&format!("fn {function}(")) {
        return None;
    }
    finding(format!("names {file}::{function}, which is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_functions_in_backticks_are_proofs_and_other_words_are_not() {
        let text = "`tests/it/a.rs`, `push-core/src/b.rs::c`; `accept.rs`, `cargo test`, `tests/`, tests/it/d.rs";
        let found: Vec<_> = proofs(text).collect();
        let named = |file, function| Proof { file, function };
        assert_eq!(
            found,
            [
                named("tests/it/a.rs", None),
                named("push-core/src/b.rs", Some("c"))
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_told() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let wrong = |text| {
            let found = proofs(text).filter_map(|proof| missing(&root, "README.md", proof));
            found.count()
        };
        assert_eq!(wrong("`tests/it/main.rs`, `push-core/src/plan.rs`"), 0);
        assert_eq!(wrong("`tests/it/nowhere.rs`"), 1);
        assert_eq!(wrong("`tests/it/main.rs::nobody`"), 1);
    }
}
