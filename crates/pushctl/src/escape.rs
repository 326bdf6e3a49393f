//! Text from elsewhere, made harmless: a title must not move the cursor of the terminal that shows it.

use std::fmt::Write as _;

/// The text with everything spelled out that a terminal would act on, or that would change the order in which text is
/// read.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            other if acts(other) => escaped.extend(other.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON as it may be shown on a terminal. What is still bare in it after JSON's own escaping stands within strings, where
/// `\u` means the same.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && acts(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and marks of the bidirectional algorithm.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let evil = "\u{1b}[2J\u{9b}31m\u{7}\u{8}\u{7f}\u{202e}\u{2066}a\nb\tc\r\u{2028}";
        let shown = escape(evil);
        assert!(!shown.chars().any(acts), "{shown:?}");
        assert!(shown.starts_with("\\u{1b}[2J\\u{9b}31m"), "{shown}");
        assert!(shown.contains("a\\nb\\tc\\r"), "{shown}");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["Technician Assigned! 🚗", "Grüße, 你好, مرحبا", "👩‍🔧 a\\b"]
        {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn json_stays_the_same_document() {
        let document = json!({"title": "\u{1b}[2J\u{9b}\u{7f}\u{202e}🚗", "\u{85}": [1, "a\nb"]});
        for text in [
            document.to_string(),
            serde_json::to_string_pretty(&document).unwrap(),
        ] {
            let escaped = escape_json(&text);
            assert!(!escaped.chars().any(|c| c != '\n' && acts(c)), "{escaped}");
            let read: Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, document);
        }
    }
}
