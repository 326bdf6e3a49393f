//! Alerts, runbooks and dashboards: a query for what no program tells is silent for ever, and an alert without a page helps nobody.

use super::Finding;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ALERTS: &str = "deploy/monitoring/alerts.yml";
const ALERTS_TEST: &str = "deploy/monitoring/alerts_test.yml";
/// Whoever asks for metrics.
const ASKING: [&str; 2] = ["deploy/monitoring/", "deploy/helm/"];
/// What operators read about what the programs tell.
const SIGNALS: &str = "deploy/monitoring/signals.md";
/// Whoever imports these tells metrics.
const TELLING: [&str; 3] = ["counter!(", "gauge!(", "histogram!("];
const RUNBOOKS: &str = "deploy/monitoring/runbooks/";

/// Compares what is asked for with what the sources name, and the alerts with their pages and tests.
pub fn check(root: &Path, files: &[String]) -> Vec<Finding> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let told: BTreeSet<String> = files
        .iter()
        .filter(|file| file.starts_with("crates/push-") && file.ends_with(".rs"))
        .flat_map(|file| quoted(&read(file)))
        .collect();
    let is_asking = |file: &&String| ASKING.iter().any(|folder| file.starts_with(folder));
    let asking = files.iter().filter(is_asking);
    let unknown = asking.flat_map(|file| unknown(file, &read(file), &told));
    let pages = files
        .iter()
        .filter_map(|file| file.strip_prefix(RUNBOOKS)?.strip_suffix(".md"))
        .filter(|page| *page != "README");
    let alerts = Alerts {
        alerts: after(&read(ALERTS), "alert: "),
        tested: after(&read(ALERTS_TEST), "alertname: "),
        pages: pages.map(str::to_owned).collect(),
    };
    let sources = files
        .iter()
        .filter(|file| file.starts_with("crates/push-") && file.ends_with(".rs"))
        .map(|file| read(file));
    unknown
        .chain(alerts.check())
        .chain(untold(&read(SIGNALS), &sources.collect::<Vec<_>>()))
        .collect()
}

/// Metrics that the table does not have, and log fields and metrics in the table that no source has. That each line and
/// each series is in the table, the black-box tests see.
fn untold(signals: &str, sources: &[String]) -> Vec<Finding> {
    let (metrics, fields) = signals
        .split_once("\n## Log fields")
        .unwrap_or((signals, ""));
    let first_cells = |text: &str| -> BTreeSet<String> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.filter_map(|row| row.split('|').next());
        cells
            .flat_map(|cell| cell.split('`').step_by(2))
            .filter(|name| !name.trim().is_empty())
            .map(str::to_owned)
            .collect()
    };
    let documented: BTreeSet<String> = first_cells(metrics)
        .into_iter()
        .filter(|name| name.starts_with("push_"))
        .collect();
    let tells = |source: &&String| TELLING.iter().any(|tells| source.contains(tells));
    let told: BTreeSet<String> = sources
        .iter()
        .filter(tells)
        .flat_map(|source| quoted(source))
        .collect();
    let is_field = |name: &String| {
        let short = name.rsplit('.').next().unwrap_or(name);
        let spellings = [
            format!("{name} = "),
            format!("%{name}"),
            format!("?{name}"),
            format!(" {short},"),
        ];
        sources
            .iter()
            .any(|source| spellings.iter().any(|spelling| source.contains(spelling)))
    };
    let finding = |name: String, wrong: &str, mend: &str| Finding::new(name, wrong, mend);
    let mut found: Vec<_> = told
        .difference(&documented)
        .map(|name| {
            finding(
                name.clone(),
                "is a metric without a line in signals.md",
                "say there what it means",
            )
        })
        .collect();
    found.extend(documented.difference(&told).map(|name| {
        finding(
            name.clone(),
            "is in signals.md, and no program tells it",
            "take the line away",
        )
    }));
    found.extend(
        first_cells(fields)
            .into_iter()
            .filter(|name| !is_field(name))
            .map(|name| {
                finding(
                    name,
                    "is a log field in signals.md that no line has",
                    "take it away",
                )
            }),
    );
    found
}

/// The names of metrics in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("push_"))
}

/// The same, of a source: only what stands in quotes by itself.
fn quoted(source: &str) -> Vec<String> {
    named(source)
        .filter(|name| source.contains(&format!("\"{name}\"")))
        .map(str::to_owned)
        .collect()
}

fn unknown(file: &str, text: &str, told: &BTreeSet<String>) -> Vec<Finding> {
    let asked: BTreeSet<&str> = named(text).collect();
    let is_told = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|name| name.ends_with("_seconds"))
        });
        told.contains(name) || of_histogram.is_some_and(|name| told.contains(name))
    };
    let silent = asked.into_iter().filter(|name| !is_told(name));
    silent
        .map(|name| {
            let wrong = format!("asks for {name}, which no program tells");
            Finding::new(
                file,
                wrong,
                "ask for what stands in the programs' metrics.rs",
            )
        })
        .collect()
}

/// What follows a word, on each line that has it.
fn after(text: &str, word: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.split_once(word));
    names.map(|(_, name)| name.trim().to_owned()).collect()
}

/// Names of alerts.
struct Alerts {
    alerts: BTreeSet<String>,
    tested: BTreeSet<String>,
    pages: BTreeSet<String>,
}

impl Alerts {
    fn check(&self) -> Vec<Finding> {
        let missing = |these: &BTreeSet<String>,
                       those: &BTreeSet<String>,
                       wrong,
                       mend: &str|
         -> Vec<Finding> {
            let missing = these.difference(those);
            missing
                .map(|name| Finding::new(name.as_str(), wrong, mend))
                .collect()
        };
        let (alerts, pages, tested) = (&self.alerts, &self.pages, &self.tested);
        [
            missing(
                alerts,
                pages,
                "has no page",
                "write it, in deploy/monitoring/runbooks",
            ),
            missing(
                pages,
                alerts,
                "is a page without its alert",
                "take it away, or name it as its alert",
            ),
            missing(
                alerts,
                tested,
                "has no test",
                "say in alerts_test.yml what it fires at, and what not",
            ),
            missing(
                tested,
                alerts,
                "is tested, and is no alert",
                "test an alert that is there",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_no_program_tells_is_found_and_parts_of_a_histogram_are_not() {
        let source = r#"const A: &str = "push_a_seconds"; // push_b
            counter!("push_c_total")"#;
        let told: BTreeSet<String> = quoted(source).into_iter().collect();
        assert_eq!(told, set(&["push_a_seconds", "push_c_total"]));
        let text = "rate(push_a_seconds_bucket[5m]) / push_c_total > push_b + push_c_total_count";
        let found = unknown("alerts.yml", text, &told);
        let wrong: Vec<&str> = found.iter().map(|finding| finding.wrong.as_str()).collect();
        assert_eq!(
            wrong,
            [
                "asks for push_b, which no program tells",
                "asks for push_c_total_count, which no program tells"
            ]
        );
    }

    #[test]
    fn a_metric_has_its_line_and_a_line_its_metric() {
        let signals = "| `push_a_total` | `x` |\n| `push_gone_total` |\n| `settle` | internal |\n## Log fields\n\
                       | `trace.id`, `gone` | what |\n";
        let signals = signals.replace("## Log", "\n## Log");
        let source = "counter!(\"push_a_total\"); gauge!(\"push_new\"); info!(trace.id = %trace)";
        let found = untold(&signals, &[source.to_owned()]);
        let told: Vec<_> = found
            .iter()
            .map(|finding| finding.offender.as_str())
            .collect();
        assert_eq!(told, ["push_new", "push_gone_total", "gone"]);
    }

    #[test]
    fn an_alert_has_a_page_and_a_test_and_these_have_an_alert() {
        let alerts = Alerts {
            alerts: after("  - alert: A\n    expr: a\n  - alert: B\n", "alert: "),
            tested: set(&["A", "D"]),
            pages: set(&["A", "C"]),
        };
        let found = alerts.check();
        let told: Vec<_> = found
            .iter()
            .map(|finding| (finding.offender.as_str(), finding.wrong.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("B", "has no page"),
                ("C", "is a page without its alert"),
                ("B", "has no test"),
                ("D", "is tested, and is no alert"),
            ]
        );
    }
}
