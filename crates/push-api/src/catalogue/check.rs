//! Is a text fit to be sent, whatever a request will tell? Looked at once, at the start, on the syntax tree.
//!
//! Of Fluent a text may use what can be checked completely: text, `{ $placeholder }`, a choice by one, and a `-term`
//! of plain text. The rest (functions, numbers' formats, messages within messages) is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use fluent_syntax::ast::{
    Attribute, Expression, InlineExpression, Message, Pattern, PatternElement, Term,
};
use fluent_syntax::unicode::unescape_unicode_to_string;
use push_core::notification::{CONTENT_BYTES_MAX, NotificationType, Priority};

use super::placeholder::Placeholder;

/// The most characters of a title.
const TITLE_CHARS_MAX: usize = 200;

/// What an event's `data` may take, keys and values: the rest is for title and body.
const DATA_BYTES_MAX: usize = "typebookingIdtrackIdstatustechNamepriority".len()
    + 50
    + Placeholder::BookingId.bytes_max()
    + Placeholder::TrackId.bytes_max()
    + Placeholder::Status.bytes_max()
    + Placeholder::Technician.bytes_max()
    + "normal".len();

/// The terms that a file's texts can refer to.
pub(super) type Terms<'a> = BTreeMap<&'a str, &'a Term<&'a str>>;

/// What there is to know of a message.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// What its texts repeat of the request.
    pub(super) needs: BTreeSet<Placeholder>,
    /// How urgent it is, where it says so.
    pub(super) priority: Option<Priority>,
}

/// Looks at everything that a message has. What is wrong is noted with the file and the place.
pub(super) fn message(
    file: &str,
    message: &Message<&str>,
    terms: &Terms<'_>,
    problems: &mut Vec<String>,
) -> Checked {
    let id = message.id.name;
    let mut note = |what: String| problems.push(format!("{file}: `{id}` {what}"));
    if NotificationType::parse(id).is_err() {
        note("is no type: 1 to 50 of the characters a-z, 0-9, `_` and `-`".to_owned());
    }
    if id == "status_changed" {
        note("is the name of the event; its texts stand under the status in lower case".to_owned());
    }
    if message.value.is_some() {
        note("has a text of its own; texts stand in .title and .body".to_owned());
    }
    for attribute in &message.attributes {
        let name = attribute.id.name;
        if !["title", "body", "priority"].contains(&name) {
            note(format!(
                "has .{name}; there are .title, .body and .priority"
            ));
        }
        let of_that_name = |other: &&Attribute<&str>| other.id.name == name;
        let first = message.attributes.iter().find(of_that_name);
        if first.is_some_and(|first| !std::ptr::eq(first, attribute)) {
            note(format!("has .{name} twice"));
        }
    }
    let mut checked = Checked::default();
    let mut text = |name: &str| {
        let Some(attribute) = attribute(message, name) else {
            problems.push(format!("{file}: `{id}` has no .{name}"));
            return None;
        };
        let mut walk = Walk {
            at: format!("{file}: `{id}.{name}`"),
            terms,
            needs: &mut checked.needs,
            problems,
        };
        let extent = walk.pattern(&attribute.value);
        if extent.may_be_blank {
            walk.note("may come out empty");
        }
        Some(extent)
    };
    let (title, body) = (text("title"), text("body"));
    sizes(file, id, title, body, problems);
    if let Some(attribute) = attribute(message, "priority") {
        checked.priority = priority(&attribute.value);
        if checked.priority.is_none() {
            problems.push(format!("{file}: `{id}.priority` must be high or normal"));
        }
    }
    checked
}

/// Whether it says how urgent it is, however it does.
pub(super) fn says_priority(message: &Message<&str>) -> bool {
    attribute(message, "priority").is_some()
}

/// A term's text, which is plain.
pub(super) fn term(file: &str, term: &Term<&str>, problems: &mut Vec<String>) {
    let plain = |element: &PatternElement<&str>| match element {
        PatternElement::TextElement { .. } => true,
        PatternElement::Placeable { expression } => matches!(
            expression,
            Expression::Inline(InlineExpression::StringLiteral { .. })
        ),
    };
    if !term.value.elements.iter().all(plain) || !term.attributes.is_empty() {
        problems.push(format!(
            "{file}: `-{}` must be plain text, without placeholders, choices and attributes",
            term.id.name
        ));
    }
}

fn attribute<'a>(message: &'a Message<&str>, name: &str) -> Option<&'a Attribute<&'a str>> {
    let mut attributes = message.attributes.iter();
    attributes.find(|attribute| attribute.id.name == name)
}

fn priority(pattern: &Pattern<&str>) -> Option<Priority> {
    match pattern.elements.as_slice() {
        [PatternElement::TextElement { value }] => Priority::from_spelling(value.trim()),
        _ => None,
    }
}

/// Also with the longest names it must fit: who asks for a push could not help it.
fn sizes(
    file: &str,
    id: &str,
    title: Option<Extent>,
    body: Option<Extent>,
    problems: &mut Vec<String>,
) {
    let (title, body) = (title.unwrap_or_default(), body.unwrap_or_default());
    if title.chars > TITLE_CHARS_MAX {
        problems.push(format!(
            "{file}: `{id}.title` may come to {} characters, with the longest values of its placeholders; \
             at most {TITLE_CHARS_MAX} are possible",
            title.chars
        ));
    }
    let (bytes, bytes_max) = (title.bytes + body.bytes, CONTENT_BYTES_MAX - DATA_BYTES_MAX);
    if bytes > bytes_max {
        problems.push(format!(
            "{file}: `{id}` may come to {bytes} bytes, title and body with the longest values of their placeholders; \
             {bytes_max} fit into a push beside its data"
        ));
    }
}

/// How long a piece of text can become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    chars: usize,
    bytes: usize,
    may_be_blank: bool,
}

impl Extent {
    fn of_text(text: &str) -> Self {
        Self {
            chars: text.chars().count(),
            bytes: text.len(),
            may_be_blank: text.trim().is_empty(),
        }
    }

    const fn of_value(placeholder: Placeholder) -> Self {
        Self {
            chars: placeholder.chars_max(),
            bytes: placeholder.bytes_max(),
            may_be_blank: false,
        }
    }

    const fn then(self, next: Self) -> Self {
        Self {
            chars: self.chars + next.chars,
            bytes: self.bytes + next.bytes,
            may_be_blank: self.may_be_blank && next.may_be_blank,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            chars: self.chars.max(other.chars),
            bytes: self.bytes.max(other.bytes),
            may_be_blank: self.may_be_blank || other.may_be_blank,
        }
    }
}

/// Goes through one text.
struct Walk<'a, 'b> {
    at: String,
    terms: &'a Terms<'a>,
    needs: &'b mut BTreeSet<Placeholder>,
    problems: &'b mut Vec<String>,
}

impl Walk<'_, '_> {
    fn note(&mut self, what: impl std::fmt::Display) {
        self.problems.push(format!("{} {what}", self.at));
    }

    fn pattern(&mut self, pattern: &Pattern<&str>) -> Extent {
        let nothing = Extent::of_text("");
        let elements = pattern.elements.iter();
        elements.fold(nothing, |so_far, element| {
            so_far.then(match element {
                PatternElement::TextElement { value } => Extent::of_text(value),
                PatternElement::Placeable { expression } => self.expression(expression),
            })
        })
    }

    fn expression(&mut self, expression: &Expression<&str>) -> Extent {
        match expression {
            Expression::Inline(inline) => self.inline(inline),
            Expression::Select { selector, variants } => {
                if let InlineExpression::VariableReference { .. } = selector {
                    self.inline(selector);
                } else {
                    self.note("chooses by something that is no placeholder");
                }
                let extents: Vec<Extent> = variants
                    .iter()
                    .map(|variant| self.pattern(&variant.value))
                    .collect();
                extents.into_iter().reduce(Extent::or).unwrap_or_default()
            }
        }
    }

    fn inline(&mut self, inline: &InlineExpression<&str>) -> Extent {
        match inline {
            InlineExpression::StringLiteral { value } => {
                Extent::of_text(&unescape_unicode_to_string(value))
            }
            InlineExpression::NumberLiteral { value } => Extent::of_text(value),
            InlineExpression::VariableReference { id } => self.placeholder(id.name),
            InlineExpression::Placeable { expression } => self.expression(expression),
            InlineExpression::TermReference {
                id,
                attribute: None,
                arguments: None,
            } => self.term(id.name),
            InlineExpression::TermReference { id, .. } => {
                self.note(format!(
                    "asks `-{}` for more than its text, which is all that it has",
                    id.name
                ));
                Extent::default()
            }
            InlineExpression::MessageReference { id, .. } => {
                self.note(format!(
                    "refers to `{}`; what several texts share stands in a term, `-{}`",
                    id.name, id.name
                ));
                Extent::default()
            }
            InlineExpression::FunctionReference { id, .. } => {
                self.note(format!("calls {}(); there are no functions", id.name));
                Extent::default()
            }
        }
    }

    fn placeholder(&mut self, name: &str) -> Extent {
        let Some(placeholder) = Placeholder::from_name(name) else {
            let known = Placeholder::list();
            self.note(format!(
                "uses ${name}, which is no placeholder; there are {known}"
            ));
            return Extent::default();
        };
        self.needs.insert(placeholder);
        Extent::of_value(placeholder)
    }

    fn term(&mut self, name: &str) -> Extent {
        let Some(term) = self.terms.get(name).copied() else {
            self.note(format!(
                "uses `-{name}`, which this language's file does not have"
            ));
            return Extent::default();
        };
        let plain = |element: &PatternElement<&str>| match element {
            PatternElement::TextElement { value } => Extent::of_text(value),
            PatternElement::Placeable {
                expression: Expression::Inline(InlineExpression::StringLiteral { value }),
            } => Extent::of_text(&unescape_unicode_to_string(value)),
            // Told where the term stands.
            PatternElement::Placeable { .. } => Extent::default(),
        };
        let elements = term.value.elements.iter().map(plain);
        elements.fold(Extent::of_text(""), Extent::then)
    }
}
