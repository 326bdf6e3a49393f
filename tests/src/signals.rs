//! What the programs tell, compared with the tables that operators read: `deploy/monitoring/signals.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::collector::Span;
use crate::logs::Log;

static TABLES: LazyLock<Tables> =
    LazyLock::new(|| Tables::read(include_str!("../../deploy/monitoring/signals.md")));

/// What every log line has.
const OF_EVERY_LINE: [&str; 4] = ["timestamp", "level", "target", "message"];

/// The names in the tables, and what belongs to each.
#[derive(Debug, Default)]
struct Tables {
    metrics: BTreeMap<String, BTreeSet<String>>,
    spans: BTreeMap<String, BTreeSet<String>>,
    fields: BTreeSet<String>,
}

impl Tables {
    fn read(page: &str) -> Self {
        let section = |title: &str| {
            let after = page.split(&format!("\n## {title}\n")).nth(1);
            after
                .unwrap_or_default()
                .split("\n## ")
                .next()
                .unwrap_or_default()
        };
        let rows = |title: &str| {
            let rows = section(title)
                .lines()
                .filter(|line| line.starts_with("| `"));
            let cells = rows.map(|row| row.split('|').skip(1).collect::<Vec<_>>());
            cells.collect::<Vec<_>>()
        };
        let mut tables = Self::default();
        for row in rows("Metrics") {
            let labels = quoted(row[1]);
            tables
                .metrics
                .extend(quoted(row[0]).map(|name| (name, labels.clone().collect())));
        }
        for row in rows("Spans") {
            let attributes: BTreeSet<_> = quoted(row[3]).collect();
            // One that is as another one is told so by its name.
            let of_other = attributes.iter().find_map(|name| tables.spans.get(name));
            let attributes = of_other.cloned().unwrap_or(attributes);
            tables
                .spans
                .extend(quoted(row[0]).map(|name| (name, attributes.clone())));
        }
        for row in rows("Log fields") {
            tables.fields.extend(quoted(row[0]));
        }
        tables
    }
}

/// The words in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = String> + Clone {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Series in a reading of `/metrics` that the table does not have so.
pub(crate) fn undocumented_metrics(text: &str) -> BTreeSet<String> {
    let samples = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let wrong = samples.filter_map(|line| {
        let (series, _) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|base| base.ends_with("_seconds"))
        });
        let name = base.unwrap_or(name);
        let labels: BTreeSet<_> = labels
            .split(',')
            .filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()))
            .filter(|label| label != "le")
            .collect();
        let documented = TABLES.metrics.get(name);
        (documented != Some(&labels)).then(|| format!("{name}{labels:?}"))
    });
    wrong.collect()
}

/// Fields of our own lines that the table does not have.
pub(crate) fn undocumented_fields(log: &Log) -> BTreeSet<String> {
    let events = log.events().into_iter();
    let ours = events.filter(|event| {
        let target = event["target"].as_str().unwrap_or_default();
        target.starts_with("push_")
    });
    let fields = ours.flat_map(|event| {
        let event = event.as_object().cloned().unwrap_or_default();
        event.into_iter().map(|(field, _)| field)
    });
    fields
        .filter(|field| !OF_EVERY_LINE.contains(&field.as_str()) && !TABLES.fields.contains(field))
        .collect()
}

/// Spans that the table does not have so.
#[must_use]
pub fn undocumented_spans(spans: &[Span]) -> BTreeSet<String> {
    let wrong = spans.iter().filter(|span| {
        let route = span.attributes.get("http.route");
        let name = route.map_or(span.name.as_str(), |_| "METHOD /route");
        let attributes = TABLES.spans.get(name);
        !attributes.is_some_and(|known| span.attributes.keys().all(|key| known.contains(key)))
    });
    wrong
        .map(|span| format!("{} {:?}", span.name, span.attributes.keys()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_table_has_is_found() {
        let found = undocumented_metrics(
            "# TYPE push_new_total counter\npush_new_total 1\npush_ready{check=\"broker\"} 1\npush_ready 1\n\
             push_stage_duration_seconds_bucket{stage=\"queue\",le=\"1\"} 4\n",
        );
        let expected = ["push_new_total{}", "push_ready{}"].map(str::to_owned);
        assert_eq!(found, BTreeSet::from(expected));
        assert!(TABLES.fields.contains("trace.id") && TABLES.spans.contains_key("settle"));
        assert_eq!(TABLES.spans["send expo"], TABLES.spans["send fcm"]);
    }
}
