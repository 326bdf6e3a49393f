//! Settings from the environment: read once, all problems told together.
//!
//! Each setting is named in one place with its meaning and default; `push-api settings` and
//! `push-worker settings` list what was asked for, and the README is compared with that.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

/// A setting: its variable, its default as one would write it, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable. `NAME_FILE` reads the value from a file instead.
    pub name: &'static str,
    /// The default as it would be written; empty: none.
    pub default: &'static str,
    /// What it means, with units.
    pub meaning: &'static str,
}

/// Reads settings and gathers what is wrong with them.
#[derive(Debug)]
pub struct Env {
    variables: HashMap<String, String>,
    asked: Vec<Setting>,
    problems: Vec<String>,
}

/// Everything that is wrong with the settings, in one message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{} wrong:\n{}", count(.0.len()), .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct WrongSettings(pub Vec<String>);

fn count(problems: usize) -> String {
    if problems == 1 {
        "1 setting is".to_owned()
    } else {
        format!("{problems} settings are")
    }
}

impl Env {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// An environment made for a test.
    #[must_use]
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            variables: pairs.into_iter().collect(),
            asked: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A setting that must be there. `None` means that a problem was noted.
    pub fn required<T, E: Display>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.text(setting) {
            Text::Given(text) => self.parsed(setting, &text, parse),
            Text::Unset => {
                self.problem(
                    setting.name,
                    format!("is not set; it is {}", setting.meaning),
                );
                None
            }
            Text::Unreadable => None,
        }
    }

    /// A setting with a default. `None` means that a problem was noted.
    pub fn or_default<T, E: Display>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.text(setting) {
            Text::Given(text) => self.parsed(setting, &text, parse),
            Text::Unset => self.parsed(setting, setting.default, parse),
            Text::Unreadable => None,
        }
    }

    /// A setting that may be missing. `None` means that it is, or that a problem was noted.
    pub fn optional<T, E: Display>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.text(setting) {
            Text::Given(text) => self.parsed(setting, &text, parse),
            Text::Unset | Text::Unreadable => None,
        }
    }

    /// Whether a setting has a value, readable or not.
    #[must_use]
    pub fn is_set(&self, setting: Setting) -> bool {
        self.given(setting.name).is_some() || self.file(setting).is_some()
    }

    /// The file that a setting's value is read from, if it is.
    #[must_use]
    pub fn file(&self, setting: Setting) -> Option<PathBuf> {
        self.given(&file_variable(setting)).map(PathBuf::from)
    }

    /// Notes something that is wrong with a setting, for example together with another one.
    pub fn problem(&mut self, name: &str, what: impl Display) {
        self.problems.push(format!("{name} {what}"));
    }

    /// The settings, unless something is wrong with any of them. `build` gives `None` exactly when a
    /// problem was noted.
    ///
    /// # Errors
    /// [`WrongSettings`] with all problems.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, WrongSettings> {
        match build() {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => Err(WrongSettings(self.problems)),
        }
    }

    /// The settings asked for so far, in order.
    #[must_use]
    pub fn asked(&self) -> &[Setting] {
        &self.asked
    }

    fn parsed<T, E: Display>(
        &mut self,
        setting: Setting,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text)
            .map_err(|error| self.problem(setting.name, error))
            .ok()
    }

    fn given(&self, name: &str) -> Option<String> {
        let value = self.variables.get(name);
        value.filter(|value| !value.is_empty()).cloned()
    }

    fn text(&mut self, setting: Setting) -> Text {
        self.asked.push(setting);
        let file_variable = file_variable(setting);
        match (self.given(setting.name), self.given(&file_variable)) {
            (Some(_), Some(_)) => {
                self.problem(
                    setting.name,
                    format!("and {file_variable} are both set; keep one"),
                );
                Text::Unreadable
            }
            (Some(value), None) => Text::Given(value),
            (None, Some(path)) => match std::fs::read_to_string(Path::new(&path)) {
                Ok(content) => Text::Given(content.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.problem(
                        &file_variable,
                        format!("names {path:?}, which cannot be read: {error}"),
                    );
                    Text::Unreadable
                }
            },
            (None, None) => Text::Unset,
        }
    }
}

fn file_variable(setting: Setting) -> String {
    format!("{}_FILE", setting.name)
}

enum Text {
    Given(String),
    Unset,
    Unreadable,
}

/// Lists settings for people and for the check of the README: `NAME<TAB>default<TAB>meaning`.
#[derive(Debug)]
pub struct SettingsTable<'a>(pub &'a [Setting]);

impl Display for SettingsTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|setting| {
            writeln!(
                f,
                "{}\t{}\t{}",
                setting.name, setting.default, setting.meaning
            )
        })
    }
}

/// Parsers for common kinds of values.
pub mod parse {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    /// Any text.
    ///
    /// # Errors
    /// Never.
    pub fn text(text: &str) -> Result<String, std::convert::Infallible> {
        Ok(text.to_owned())
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn switch(text: &str) -> Result<bool, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("is {text:?}; write true or false")),
        }
    }

    /// An address to listen on.
    ///
    /// # Errors
    /// What is no `ip:port`.
    pub fn address(text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| {
            format!("is {text:?}; write an IP address and a port, such as 0.0.0.0:8080")
        })
    }

    /// A positive whole number up to `max`.
    pub fn number(max: u32) -> impl FnOnce(&str) -> Result<NonZeroU32, String> {
        move |text| {
            let number = text
                .parse::<NonZeroU32>()
                .ok()
                .filter(|number| number.get() <= max);
            number.ok_or_else(|| format!("is {text:?}; write a whole number from 1 to {max}"))
        }
    }

    /// A whole number of seconds, with or without `s`, from 1 up to `max`.
    pub fn seconds(max: u32) -> impl FnOnce(&str) -> Result<Duration, String> {
        move |text| {
            let seconds = text
                .trim_end_matches('s')
                .parse::<u32>()
                .ok()
                .filter(|seconds| (1..=max).contains(seconds));
            let seconds = seconds
                .ok_or_else(|| format!("is {text:?}; write whole seconds from 1s to {max}s"))?;
            Ok(Duration::from_secs(u64::from(seconds)))
        }
    }

    /// An http or https address without a trailing slash.
    ///
    /// # Errors
    /// Any other scheme, and whatever has a query.
    pub fn base_url(text: &str) -> Result<String, String> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => {
                Ok(text.trim_end_matches('/').to_owned())
            }
            _ => Err("must be an http:// or https:// address without a query".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: Setting = Setting {
        name: "URL",
        default: "",
        meaning: "where the thing is",
    };
    const COUNT: Setting = Setting {
        name: "COUNT",
        default: "5",
        meaning: "how many",
    };

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::from_pairs(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn all_problems_are_told_together_and_name_their_variable() {
        let mut env = env(&[("COUNT", "many")]);
        let url = env.required(URL, parse::text);
        let count = env.or_default(COUNT, parse::number(9));
        let wrong = env.finish(|| Some((url?, count?))).unwrap_err();
        assert_eq!(wrong.0.len(), 2);
        let message = wrong.to_string();
        assert!(
            message.contains("URL is not set; it is where the thing is"),
            "{message}"
        );
        assert!(message.contains("COUNT is \"many\""), "{message}");
    }

    #[test]
    fn a_default_is_read_like_a_given_value_and_empty_means_unset() {
        let mut env = env(&[("COUNT", "")]);
        assert_eq!(
            env.or_default(COUNT, parse::number(9)).map(u32::from),
            Some(5)
        );
    }

    #[test]
    fn a_value_may_come_from_a_file_but_not_from_both() {
        let path = std::env::temp_dir().join(format!("push-runtime-env-{}", std::process::id()));
        std::fs::write(&path, "secret\n").unwrap();
        let file = path.to_str().unwrap();
        let mut from_file = env(&[("URL_FILE", file)]);
        assert_eq!(from_file.file(URL), Some(path.clone()));
        assert_eq!(env(&[("URL", "x")]).file(URL), None);
        assert_eq!(
            from_file.required(URL, parse::text),
            Some("secret".to_owned())
        );
        let mut both = env(&[("URL_FILE", file), ("URL", "x")]);
        assert_eq!(both.required(URL, parse::text), None);
        assert!(
            both.finish(|| Some(()))
                .unwrap_err()
                .to_string()
                .contains("URL and URL_FILE are both set")
        );
        std::fs::remove_file(&path).unwrap();
        let mut missing = env(&[("URL_FILE", file)]);
        assert_eq!(missing.required(URL, parse::text), None);
        assert_eq!(missing.finish(|| Some(())).unwrap_err().0.len(), 1);
    }
}
