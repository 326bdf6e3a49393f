//! Marks of unfinished work: an issue keeps a thought, a comment only hides it.

use super::Finding;
use std::fs;
use std::path::Path;

/// In two halves, so that this file does not report itself.
const WORDS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("#[ign", "ore"),
];

/// Recorded from elsewhere, word for word.
const RECORDED: &str = "tests/fixtures/";

/// Looks into every text file of the project.
pub fn check(root: &Path, files: &[String]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| !file.starts_with(RECORDED))
        .filter_map(|file| Some((file, fs::read_to_string(root.join(file)).ok()?)))
        .flat_map(|(file, text)| in_text(file, &text))
        .collect()
}

fn in_text(file: &str, text: &str) -> Vec<Finding> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let word = WORDS.into_iter().find(|word| has_word(line, word))?;
            Some(Finding::new(
                format!("{file}:{}", index + 1),
                format!("{word} stands in the tree"),
                "do it, or open an issue and remove the mark",
            ))
        })
        .collect()
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_with_their_line() {
        let text = format!("fn a() {{}}\n// {}: later\n    {}]\n", WORDS[0], WORDS[2]);
        let findings = in_text("a.rs", &text);
        let offenders: Vec<&str> = findings.iter().map(|f| f.offender.as_str()).collect();
        assert_eq!(offenders, ["a.rs:2", "a.rs:3"]);
    }

    #[test]
    fn parts_of_other_words_and_lower_case_are_not_marks() {
        let text = format!("{}S_MAX\nm{}\ntodo = \"warn\"\n", WORDS[0], WORDS[1]);
        assert_eq!(in_text("a.rs", &text), []);
    }
}
