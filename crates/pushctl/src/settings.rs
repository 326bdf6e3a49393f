//! Where push-api is, and who asks: the arguments that every command has, and the key from the environment.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;

use crate::failure::Failure;

/// What `--help` calls the arguments that every command has.
const EVERYWHERE: &str = "Of every command";
/// The longest file that may hold a key.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Where push-api is
    #[arg(
        long,
        env = "PUSH_URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = address,
        value_name = "URL",
        help_heading = EVERYWHERE,
        global = true
    )]
    pub url: Url,
    /// Print the API's answer as JSON on standard output, and all else on standard error. Lists that are read to their end
    /// are printed one item a line
    #[arg(long, help_heading = EVERYWHERE, global = true)]
    pub json: bool,
    /// How long an answer may take, beyond what it is asked to wait for
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = EVERYWHERE, global = true)]
    pub timeout: u64,
}

impl Common {
    /// How long an answer may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("give an address such as https://push.example.com".to_owned());
    }
    if url.username() != "" || url.password().is_some() {
        return Err("give the API key in PUSH_API_KEY, not in the address".to_owned());
    }
    Ok(url)
}

/// Where the key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `PUSH_API_KEY`.
    Variable,
    /// `PUSH_API_KEY_FILE`.
    File(PathBuf),
}

/// The API key of the environment; `None`: there is none.
pub fn key() -> Result<Option<(SecretString, KeySource)>, Failure> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    match (variable("PUSH_API_KEY"), variable("PUSH_API_KEY_FILE")) {
        (Some(_), Some(_)) => Err(Failure::Usage(
            "PUSH_API_KEY and PUSH_API_KEY_FILE are both set: leave one".to_owned(),
        )),
        (Some(key), None) => {
            let key = key.into_string().map_err(|_| unfit("PUSH_API_KEY"))?;
            Ok(Some((trimmed(key, "PUSH_API_KEY")?, KeySource::Variable)))
        }
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let key = read(&path)?;
            let key = trimmed(key, &format!("PUSH_API_KEY_FILE ({})", path.display()))?;
            Ok(Some((key, KeySource::File(path))))
        }
        (None, None) => Ok(None),
    }
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    let told = |why: &dyn std::fmt::Display| {
        Failure::Usage(format!("PUSH_API_KEY_FILE ({}): {why}", path.display()))
    };
    let length = fs::metadata(path).map_err(|error| told(&error))?.len();
    if length > KEY_BYTES_MAX {
        return Err(told(&"is too large to hold a key"));
    }
    fs::read_to_string(path).map_err(|error| told(&error))
}

fn trimmed(key: String, name: &str) -> Result<SecretString, Failure> {
    let key = key.trim();
    let fits = !key.is_empty() && key.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    fits.then(|| SecretString::from(key.to_owned()))
        .ok_or_else(|| unfit(name))
}

/// The key itself is never repeated.
fn unfit(name: &str) -> Failure {
    Failure::Usage(format!(
        "{name} does not hold a key: one word of visible ASCII characters"
    ))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn an_address_is_of_http_and_holds_no_key() {
        for good in ["http://127.0.0.1:8080", "https://push.example.com/push/"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["", "push", "ftp://h", "http://", "http://user:s3cret@h"] {
            let told = address(bad).unwrap_err();
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn a_key_is_one_word_and_never_repeated() {
        let key = trimmed("  local-demo-key\n".to_owned(), "X").unwrap();
        assert_eq!(key.expose_secret(), "local-demo-key");
        for bad in ["", " \n", "two words", "schlüssel", "a\nb"] {
            let told = trimmed(bad.to_owned(), "X").unwrap_err().to_string();
            assert!(bad.trim().is_empty() || !told.contains(bad), "{told}");
        }
    }
}
