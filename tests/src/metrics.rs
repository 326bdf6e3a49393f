//! Metrics as Prometheus would read them.

use std::collections::BTreeMap;

/// One reading of `/metrics`: series (name and labels as printed) to value.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.trim().to_owned(), value.parse().ok()?))
        };
        Self(samples.filter_map(read).collect())
    }

    /// The sum of all series of a name whose labels contain `label` (empty: all); `None` when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let mut found = None;
        for (series, value) in &self.0 {
            let (own, labels) = series.split_once('{').unwrap_or((series, ""));
            if own == name && labels.contains(label) {
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
        found
    }

    /// Reads the metrics of several programs, one after the other: what has the same name is added up.
    pub(crate) fn parse_all(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            for (series, value) in Self::parse(line).0 {
                *all.0.entry(series).or_default() += value;
            }
        }
        all
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names = self
            .0
            .keys()
            .map(|series| series.split('{').next().unwrap_or_default());
        names.collect()
    }
}
