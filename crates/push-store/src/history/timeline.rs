//! The column `timeline`: a JSON object a line, so that appending is a `CONCAT`.

use push_core::timeline::TimelineEntry;

use super::TimelineView;

/// In SQL: a timeline to which something is to be appended. One that has become very long (publishing again may go on for
/// four weeks) loses its middle: how it began and what happened last are what people ask for.
macro_rules! bounded {
    ($timeline:literal) => {
        concat!(
            "IF(COALESCE(LENGTH(",
            $timeline,
            "), 0) <= 262144, COALESCE(",
            $timeline,
            ", ''), CONCAT(SUBSTRING_INDEX(",
            $timeline,
            ", CHAR(10), 20), CHAR(10), '{\"at\":\"', DATE_FORMAT(NOW(3), '%Y-%m-%dT%H:%i:%s.%f'), \
            'Z\",\"step\":\"left_out\",\"text\":\"it has become too long: entries before this are left out here\"}', CHAR(10), \
            CONVERT(SUBSTRING(RIGHT(CAST(",
            $timeline,
            " AS BINARY), 131072), LOCATE(CHAR(10), RIGHT(CAST(",
            $timeline,
            " AS BINARY), 131072)) + 1) USING utf8mb4)))"
        )
    };
}
pub(crate) use bounded;

/// The lines to append.
pub(crate) fn lines(entries: &[TimelineEntry]) -> String {
    let mut lines = String::new();
    for entry in entries {
        // Three fields that always serialize.
        lines.push_str(&serde_json::to_string(entry).unwrap_or_default());
        lines.push('\n');
    }
    lines
}

/// Reads the column; `None` when a line is no entry.
pub(super) fn read(lines: &str) -> Option<Vec<TimelineView>> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A newer worker writes beside an older API, while both are being replaced.
    #[test]
    fn a_step_of_a_newer_program_is_read_as_it_stands() {
        let line =
            r#"{"at":"2030-01-01T00:00:00.000Z","step":"teleported","text":"why not","by":7}"#;
        let told = read(line).unwrap().remove(0);
        assert_eq!(
            (told.step.as_str(), told.text.as_str()),
            ("teleported", "why not")
        );
        assert_eq!(read("{}"), None);
    }
}
