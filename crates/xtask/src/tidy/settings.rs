//! The settings tables of the README against what the programs really read.
//!
//! A program tells its settings itself: `push-api settings` prints a line for each, `NAME<TAB>default<TAB>meaning`.

use super::Finding;
use crate::{process, programs};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const END: &str = "<!-- /settings -->";

/// Where a program's table stands.
struct Place {
    program: &'static str,
    begin: &'static str,
}

const PLACES: [Place; 2] = [
    Place {
        program: "push-api",
        begin: "<!-- settings:api -->",
    },
    Place {
        program: "push-worker",
        begin: "<!-- settings:worker -->",
    },
];

/// Compares each table with its program.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let Ok(readme) = fs::read_to_string(root.join("README.md")) else {
        return Ok(vec![Finding::new(
            "README.md",
            "is missing",
            "write it, with the markers of the settings tables",
        )]);
    };
    if let Some(missing) = PLACES.iter().find_map(|place| missing(&readme, place)) {
        return Ok(vec![missing]);
    }
    if build().is_err() {
        return Ok(vec![Finding::new(
            "the workspace",
            "does not build, so nothing tells its settings",
            "see the compiler's errors above",
        )]);
    }
    let mut findings = Vec::new();
    for place in &PLACES {
        match told(place.program) {
            Ok(output) => findings.extend(compare(&readme, place, &output)),
            Err(error) => findings.push(Finding::new(
                place.program,
                format!("does not tell its settings: {error:#}"),
                "`settings` prints a line for each variable: NAME, default and meaning, with tabs between them",
            )),
        }
    }
    Ok(findings)
}

/// Writes the tables.
pub fn fix(root: &Path) -> Result<()> {
    let path = root.join("README.md");
    let mut readme = fs::read_to_string(&path).context("cannot read README.md")?;
    build()?;
    for place in &PLACES {
        if let Some((before, _, after)) = parts(&readme, place) {
            readme = format!("{before}\n{}{after}", table(&told(place.program)?));
        }
    }
    fs::write(&path, readme).context("cannot write README.md")
}

/// The same choice of targets as for the tests, so that after them nothing is built twice.
fn build() -> Result<()> {
    programs::build(None, &["--quiet", "--tests"])
}

fn told(program: &str) -> Result<String> {
    process::quiet(Command::new(programs::folder(false)?.join(program)).arg("settings"))
}

/// What stands before (with the marker), between, and after (with the end marker).
fn parts<'a>(readme: &'a str, place: &Place) -> Option<(&'a str, &'a str, &'a str)> {
    let start = readme.find(place.begin)? + place.begin.len();
    let end = start + readme[start..].find(END)?;
    Some((&readme[..start], &readme[start..end], &readme[end..]))
}

fn missing(readme: &str, place: &Place) -> Option<Finding> {
    parts(readme, place).is_none().then(|| {
        Finding::new(
            "README.md",
            format!("has no settings table for {}", place.program),
            format!(
                "put `{}` and `{END}` where it belongs, then run `cargo xtask tidy --fix`",
                place.begin
            ),
        )
    })
}

fn compare(readme: &str, place: &Place, output: &str) -> Vec<Finding> {
    let Some((_, stands, _)) = parts(readme, place) else {
        return missing(readme, place).into_iter().collect();
    };
    let rows = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.starts_with("| `"))
            .map(str::to_owned)
            .collect()
    };
    let (stands, wanted) = (rows(stands), rows(&table(output)));
    let mend = "run `cargo xtask tidy --fix`, or correct the program";
    let unknown = stands
        .iter()
        .filter(|row| !wanted.contains(row))
        .map(|row| {
            Finding::new(
                "README.md",
                format!("tells what {} does not: {row}", place.program),
                mend,
            )
        });
    let untold = wanted
        .iter()
        .filter(|row| !stands.contains(row))
        .map(|row| {
            Finding::new(
                place.program,
                format!("reads what README.md does not tell: {row}"),
                mend,
            )
        });
    unknown.chain(untold).collect()
}

/// The table for the lines that a program prints.
fn table(output: &str) -> String {
    let mut table = "| variable | default | meaning |\n|---|---|---|\n".to_owned();
    for line in output.lines().filter(|line| !line.trim().is_empty()) {
        let mut cells = line
            .splitn(3, '\t')
            .map(|cell| cell.trim().replace('|', "\\|"));
        let mut cell = || cells.next().unwrap_or_default();
        let (name, default, meaning) = (cell(), cell(), cell());
        let default = match default.as_str() {
            "" => "–".to_owned(),
            value => format!("`{value}`"),
        };
        table += &format!("| `{name}` | {default} | {meaning} |\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "HTTP_ADDR\t127.0.0.1:8080\twhere it listens\nAMQP_URL\t\tthe broker\n";

    fn readme(table: &str) -> String {
        format!("# x\n<!-- settings:api -->\n{table}<!-- /settings -->\nmore\n")
    }

    #[test]
    fn a_table_made_from_the_program_agrees_with_it() {
        let text = readme(&table(OUTPUT));
        assert!(text.contains("| `HTTP_ADDR` | `127.0.0.1:8080` | where it listens |"));
        assert!(text.contains("| `AMQP_URL` | – | the broker |"));
        assert_eq!(compare(&text, &PLACES[0], OUTPUT), []);
    }

    #[test]
    fn a_variable_on_one_side_only_is_reported() {
        let text = readme(&table(
            "HTTP_ADDR\t127.0.0.1:8080\twhere it listens\nOLD\t1\tgone\n",
        ));
        let findings = compare(&text, &PLACES[0], OUTPUT);
        let wrong: Vec<&str> = findings.iter().map(|f| f.wrong.as_str()).collect();
        assert_eq!(
            wrong,
            [
                "tells what push-api does not: | `OLD` | `1` | gone |",
                "reads what README.md does not tell: | `AMQP_URL` | – | the broker |"
            ]
        );
    }

    #[test]
    fn another_default_is_reported_on_both_sides() {
        let text = readme(&table(&OUTPUT.replace("8080", "80")));
        assert_eq!(compare(&text, &PLACES[0], OUTPUT).len(), 2);
    }

    #[test]
    fn a_missing_marker_is_reported_with_the_mend() {
        let finding = missing(&readme(""), &PLACES[1]).unwrap();
        assert_eq!(finding.wrong, "has no settings table for push-worker");
        assert!(finding.mend.contains("<!-- settings:worker -->"));
        assert_eq!(missing(&readme(""), &PLACES[0]), None);
    }
}
