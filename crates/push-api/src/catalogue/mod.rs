//! The texts of events: built in, overridden and translated by the files of `TEMPLATES_DIR`.
//!
//! A message's id is the notification's type, its attributes are the title, the body and the priority. All that can be
//! wrong with a text is found at the start: what was loaded can be sent.

mod check;
mod load;
mod locale;
mod placeholder;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use fluent_bundle::FluentResource;
use fluent_bundle::concurrent::FluentBundle;
use fluent_syntax::ast::Entry;
use push_core::locale::Locale as Tag;
use push_core::notification::{Body, NotificationType, Priority, Title};

use self::check::{Checked, Terms};
use self::load::File;
use self::locale::Locale;
pub use self::placeholder::{Placeholder, Values};

/// The texts that the guide gives.
const BUILT_IN: &str = include_str!("en.ftl");
/// Their language, which every type has a text in.
const DEFAULT: &str = "en";

/// All texts.
pub struct Catalogue {
    default: Language,
    translations: BTreeMap<Locale, Language>,
}

/// The texts of a language.
struct Language {
    bundle: FluentBundle<FluentResource>,
    messages: BTreeMap<String, Checked>,
}

/// The text of a type in a language.
pub struct Template<'a> {
    /// How urgent it is.
    pub priority: Priority,
    id: &'a str,
    language: &'a Language,
    checked: &'a Checked,
}

/// A text that does not come out although it was checked: a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text of the catalogue does not come out")]
pub struct Broken;

impl Catalogue {
    /// The built-in texts, with those of a directory over and beside them.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file and place.
    pub fn load(directory: Option<&Path>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut files: BTreeMap<Locale, Vec<File>> = BTreeMap::new();
        let given = directory.map(|directory| load::directory(directory, &mut problems));
        let built_in = built_in(&mut problems);
        for file in built_in.into_iter().chain(given.into_iter().flatten()) {
            files.entry(file.locale.clone()).or_default().push(file);
        }
        let mut languages: BTreeMap<Locale, Language> = files
            .into_iter()
            .map(|(locale, files)| {
                let language = Language::new(&locale, files, &mut problems);
                (locale, language)
            })
            .collect();
        let default = languages
            .iter()
            .find_map(|(locale, _)| (locale.to_string() == DEFAULT).then(|| locale.clone()))
            .and_then(|locale| languages.remove(&locale));
        match default {
            Some(default) => {
                for (locale, translation) in &languages {
                    translation.must_translate(locale, &default, &mut problems);
                }
                if problems.is_empty() {
                    return Ok(Self {
                        default,
                        translations: languages,
                    });
                }
            }
            None => problems.push("has no default language".to_owned()),
        }
        Err(problems)
    }

    /// Whether there is a text of this type.
    #[must_use]
    pub fn knows(&self, kind: &NotificationType) -> bool {
        self.default.messages.contains_key(kind.as_str())
    }

    /// Whether it matters which language a customer prefers.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        !self.translations.is_empty()
    }

    /// The text of a type: in the language that is nearest to the wanted one, else in the default language.
    #[must_use]
    pub fn template(&self, kind: &NotificationType, wanted: Option<&Tag>) -> Option<Template<'_>> {
        let (_, in_default) = self.default.messages.get_key_value(kind.as_str())?;
        let chain = wanted
            .and_then(Locale::of)
            .map(|locale| locale.chain())
            .unwrap_or_default();
        let translations = chain
            .iter()
            .filter_map(|locale| self.translations.get(locale));
        let (language, (id, checked)) =
            translations.chain([&self.default]).find_map(|language| {
                Some((language, language.messages.get_key_value(kind.as_str())?))
            })?;
        Some(Template {
            priority: in_default.priority?,
            id,
            language,
            checked,
        })
    }
}

/// Says how much there is.
impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.default.messages.len();
        let languages = 1 + self.translations.len();
        write!(f, "Catalogue({types} types, {languages} languages)")
    }
}

fn built_in(problems: &mut Vec<String>) -> Option<File> {
    let name = format!("{DEFAULT}.ftl, built in");
    Some(File {
        resource: load::parse(&name, BUILT_IN.to_owned(), problems),
        locale: Locale::parse(DEFAULT).ok()?,
        name,
    })
}

impl Language {
    /// Of several files the later one counts, message by message.
    fn new(locale: &Locale, files: Vec<File>, problems: &mut Vec<String>) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![locale.identifier().clone()]);
        // Marks around each value would be a part of what the phone shows.
        bundle.set_use_isolating(false);
        let mut messages = BTreeMap::new();
        let terms: Terms<'_> = files
            .iter()
            .flat_map(|file| file.resource.entries())
            .filter_map(|entry| match entry {
                Entry::Term(term) => Some((term.id.name, term)),
                Entry::Message(_)
                | Entry::Comment(_)
                | Entry::GroupComment(_)
                | Entry::ResourceComment(_)
                | Entry::Junk { .. } => None,
            })
            .collect();
        for file in &files {
            check_file(file, &terms, &mut messages, problems);
        }
        for file in files {
            bundle.add_resource_overriding(file.resource);
        }
        Self { bundle, messages }
    }

    fn must_translate(&self, locale: &Locale, default: &Self, problems: &mut Vec<String>) {
        for (id, message) in &self.messages {
            match default.messages.get(id) {
                None => problems.push(format!(
                    "{locale}.ftl: `{id}` is not in {DEFAULT}.ftl, which other languages fall back to"
                )),
                Some(original) if message.priority.is_some_and(|own| original.priority != Some(own)) => {
                    problems.push(format!(
                        "{locale}.ftl: `{id}.priority` is another than in {DEFAULT}.ftl; leave it out"
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

fn check_file(
    file: &File,
    terms: &Terms<'_>,
    messages: &mut BTreeMap<String, Checked>,
    problems: &mut Vec<String>,
) {
    let is_default = file.locale.to_string() == DEFAULT;
    let mut seen = HashSet::new();
    for entry in file.resource.entries() {
        let (sigil, id) = match entry {
            Entry::Message(message) => {
                let checked = check::message(&file.name, message, terms, problems);
                if is_default && !check::says_priority(message) {
                    let id = message.id.name;
                    problems.push(format!("{}: `{id}` has no .priority", file.name));
                }
                messages.insert(message.id.name.to_owned(), checked);
                ("", message.id.name)
            }
            Entry::Term(term) => {
                check::term(&file.name, term, problems);
                ("-", term.id.name)
            }
            // What is no entry was told as an error of the syntax.
            Entry::Comment(_)
            | Entry::GroupComment(_)
            | Entry::ResourceComment(_)
            | Entry::Junk { .. } => continue,
        };
        if !seen.insert((sigil, id)) {
            problems.push(format!("{}: `{sigil}{id}` is there twice", file.name));
        }
    }
}

impl Template<'_> {
    /// What the text repeats of the request, and the request does not tell.
    #[must_use]
    pub fn missing(&self, values: &Values) -> Vec<Placeholder> {
        let needs = self.checked.needs.iter().copied();
        needs
            .filter(|placeholder| values.get(*placeholder).is_none())
            .collect()
    }

    /// The text with these values.
    ///
    /// # Errors
    /// [`Broken`] where [`missing`](Self::missing) tells of something.
    pub fn fill(&self, values: &Values) -> Result<(Title, Body), Broken> {
        let title = Title::parse(&self.text("title", values)?).map_err(|_| Broken)?;
        let body = Body::parse(&self.text("body", values)?).map_err(|_| Broken)?;
        Ok((title, body))
    }

    fn text(&self, attribute: &str, values: &Values) -> Result<String, Broken> {
        let bundle = &self.language.bundle;
        let message = bundle.get_message(self.id).ok_or(Broken)?;
        let attribute = message.get_attribute(attribute).ok_or(Broken)?;
        let mut errors = Vec::new();
        let arguments = values.arguments();
        let text = bundle.format_pattern(attribute.value(), Some(&arguments), &mut errors);
        if errors.is_empty() {
            Ok(text.into_owned())
        } else {
            Err(Broken)
        }
    }
}

#[cfg(test)]
mod tests;
