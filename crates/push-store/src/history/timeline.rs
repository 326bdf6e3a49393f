//! The column `timeline`: a JSON object a line, so that appending is a `CONCAT`.

use push_core::timeline::TimelineEntry;

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
pub(super) fn read(lines: &str) -> Option<Vec<TimelineEntry>> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}
