//! Reading the files of a catalogue: a file a language, named by it.

use std::fs;
use std::path::{Path, PathBuf};

use fluent_bundle::FluentResource;

use super::locale::Locale;

/// A language's texts are some kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file of texts.
pub(super) struct File {
    /// What it is called where something is wrong with it.
    pub(super) name: String,
    /// Its language.
    pub(super) locale: Locale,
    /// What is in it.
    pub(super) resource: FluentResource,
}

/// The files of a directory, by name. Hidden ones are nobody's business: orchestrators keep their own there.
pub(super) fn directory(directory: &Path, problems: &mut Vec<String>) -> Vec<File> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            problems.push(format!(
                "is {}, which cannot be read: {error}",
                directory.display()
            ));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let shown = paths.iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        (!name.starts_with('.')).then_some((path, name))
    });
    shown
        .filter_map(|(path, name)| read(path, name, problems))
        .collect()
}

fn read(path: &Path, name: String, problems: &mut Vec<String>) -> Option<File> {
    let Some(language) = name.strip_suffix(".ftl") else {
        problems.push(format!(
            "{name}: is no file of texts; those are called by their language, such as de.ftl or de-AT.ftl"
        ));
        return None;
    };
    let locale = Locale::parse(language);
    match &locale {
        Ok(locale) if locale.to_string() == language => {}
        Ok(locale) => problems.push(format!("{name}: must be spelled {locale}.ftl")),
        Err(wrong) => problems.push(format!("{name}: its name {wrong}")),
    }
    let text = text(path);
    if let Err(why) = &text {
        problems.push(format!("{name}: cannot be read: {why}"));
    }
    let text = text.ok()?;
    if let Some(line) = broken_escape(&text) {
        problems.push(format!(
            "{name}, line {line}: \\u is followed by four hexadecimal digits, and \\U by six"
        ));
        return None;
    }
    let resource = parse(&name, text, problems);
    Some(File {
        name,
        locale: locale.ok()?,
        resource,
    })
}

fn text(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let bytes = fs::metadata(path).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "it has {bytes} bytes; texts have at most {FILE_BYTES_MAX}"
        ));
    }
    fs::read_to_string(path).map_err(told)
}

/// The line of an escape that is cut short by a letter of several bytes: fluent-syntax 0.12 panics at it.
fn broken_escape(text: &str) -> Option<usize> {
    let digits = |at: usize| match text.as_bytes().get(at + 1) {
        Some(b'u') => 4,
        Some(b'U') => 6,
        Some(_) | None => 0,
    };
    let mut escapes = text.match_indices('\\').map(|(at, _)| at);
    let broken = escapes.find(|at| {
        let escaped = text.as_bytes().iter().skip(at + 2);
        !escaped.take(digits(*at)).all(u8::is_ascii)
    })?;
    Some(text.get(..broken)?.matches('\n').count() + 1)
}

/// What can be read of it; what cannot is noted with its line.
pub(super) fn parse(name: &str, text: String, problems: &mut Vec<String>) -> FluentResource {
    let text = text
        .strip_prefix('\u{feff}')
        .map_or(text.clone(), str::to_owned);
    FluentResource::try_new(text).unwrap_or_else(|(resource, errors)| {
        for error in errors {
            let before = resource.source().get(..error.pos.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            problems.push(format!("{name}, line {line}: {error}"));
        }
        resource
    })
}
