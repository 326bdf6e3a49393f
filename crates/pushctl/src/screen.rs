//! Where output goes: answers to standard output, all else to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use console::{Style, Term};
use serde_json::Value;

use crate::escape::escape_json;
use crate::failure::Failure;

/// What the two streams are, and how answers are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Answers are wanted as JSON.
    pub json: bool,
    paint: Paint,
}

/// How text for people may look.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Whether there are colours.
    pub colours: bool,
    /// How wide it may be; `None`: as wide as it is.
    pub width: Option<u16>,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// To be mended.
    Bad,
    /// Beside the point.
    Dim,
    /// The point.
    Strong,
}

#[cfg(test)]
impl Paint {
    /// As in a file.
    pub const PLAIN: Self = Self {
        colours: false,
        width: None,
    };
}

impl Paint {
    /// The text in the colour of its mood. It must be harmless already.
    pub fn mood(self, mood: Mood, text: &str) -> String {
        let style = Style::new().force_styling(self.colours);
        let style = match mood {
            Mood::Good => style.green(),
            Mood::Odd => style.yellow(),
            Mood::Bad => style.red().bold(),
            Mood::Dim => style.dim(),
            Mood::Strong => style.bold(),
        };
        style.apply_to(text).to_string()
    }

    /// A table with these columns, as wide as the terminal at most.
    pub fn table<const N: usize>(self, header: [&str; N]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        if let Some(width) = self.width {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        table
    }
}

/// Columns that are not broken into lines, however narrow the terminal is: what somebody copies from there.
pub fn keep_whole(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// A table as text, without the blanks at its ends.
pub fn drawn(table: &Table) -> String {
    let lines: Vec<_> = table
        .lines()
        .map(|line| {
            line.trim_end()
                .strip_prefix(' ')
                .map_or_else(|| line.trim_end().to_owned(), str::to_owned)
        })
        .collect();
    lines.join("\n")
}

impl Screen {
    /// Looks at the streams once.
    pub fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| Term::stdout().size().1);
        Self {
            json,
            paint: Paint {
                colours: terminal && console::colors_enabled(),
                width,
            },
        }
    }

    /// How text for people may look.
    pub const fn paint(self) -> Paint {
        self.paint
    }

    /// Text for people.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.trim_end_matches('\n'))?;
        out.flush()?;
        Ok(())
    }

    /// A whole document for programs.
    pub fn document(self, document: &Value) -> Result<(), Failure> {
        self.text(&escape_json(&format!("{document:#}")))
    }

    /// One of many items for programs.
    pub fn item(self, item: &Value) -> Result<(), Failure> {
        self.text(&escape_json(&item.to_string()))
    }

    /// The answer for programs, or what it says for people.
    pub fn answer(self, body: &Value, text: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        if self.json {
            self.document(body)
        } else {
            self.text(&text(self.paint))
        }
    }

    /// What is no answer.
    pub fn note(self, text: &str) {
        // Who closed standard error does not want it.
        drop(writeln!(io::stderr(), "{text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_in_a_file_and_fits_into_a_terminal() {
        let rows = |paint: Paint| {
            let mut table = paint.table(["ID", "TITLE"]);
            table.add_row(["1", "Technician Assigned! 🚗 and a long story besides"]);
            drawn(&table)
        };
        let plain = rows(Paint::PLAIN);
        assert_eq!(plain.lines().count(), 2, "{plain}");
        assert!(plain.starts_with("ID"), "{plain:?}");
        let narrow = rows(Paint {
            colours: false,
            width: Some(30),
        });
        assert!(narrow.lines().count() > 2, "{narrow}");
        assert!(
            narrow
                .lines()
                .all(|line| console::measure_text_width(line) <= 30),
            "{narrow}"
        );
    }

    #[test]
    fn what_is_copied_stays_in_one_piece() {
        let paint = Paint {
            colours: false,
            width: Some(60),
        };
        let id = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";
        let mut table = paint.table(["ID", "TITLE"]);
        table.add_row([id, "Technician Assigned! 🚗 and a long story besides"]);
        keep_whole(&mut table, &[0]);
        assert!(drawn(&table).contains(id), "{}", drawn(&table));
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Paint::PLAIN.mood(Mood::Bad, "x"), "x");
        let paint = Paint {
            colours: true,
            width: None,
        };
        assert!(paint.mood(Mood::Bad, "x").contains("\u{1b}[31m"));
    }
}
