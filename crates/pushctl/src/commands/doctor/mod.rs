//! `pushctl doctor`: looks at everything that can be seen from here, and says what to do about it.

mod access;
mod books;
mod finding;
mod letters;
mod programs;
mod queues;
mod reach;
mod versions;

use chrono::Utc;
use secrecy::SecretString;

use self::finding::{Findings, Level};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::settings::{self, Common, KeySource};

/// What to check beside push-api itself.
///
/// Looked at are: the settings of pushctl, whether push-api can be reached and how fast, whether it is ready, the clocks, the
/// versions, what the key may do, queues, workers and lanes, the books, and dead letters. Where push-api and push-worker are found, beside
/// pushctl or in PATH, and this environment has their settings, their own `check` tells of settings, database, broker, and
/// the credentials for FCM (by a send of which FCM delivers nothing) and Expo.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Insist on the checks of push-api and push-worker, in this environment
    #[arg(long)]
    check_programs: bool,
}

impl Args {
    /// Checks everything, and ends as bad as the worst that was found.
    pub async fn run(self, common: &Common) -> Result<(), Failure> {
        let screen = Screen::new(common.json);
        let mut findings = Findings::default();
        let key = key(&mut findings);
        look(common, key, &mut findings).await?;
        programs::check(self.check_programs, &mut findings).await;
        screen.answer(&findings.document(), |paint| findings.told(paint))?;
        match findings.worst() {
            Level::Ok => Ok(()),
            Level::Warning => Err(Failure::Found {
                exit: Exit::Warnings,
                found: "there are warnings",
            }),
            Level::Problem => Err(Failure::Found {
                exit: Exit::Problems,
                found: "there are problems",
            }),
        }
    }
}

/// The key, and what is odd about how it is kept.
fn key(findings: &mut Findings) -> Option<SecretString> {
    const CHECK: &str = "settings";
    match settings::key() {
        Ok(Some((key, source))) => {
            match source {
                KeySource::Variable => findings.ok(CHECK, "the key is from PUSH_API_KEY"),
                KeySource::File(path) if is_open_to_others(&path) => findings.warning(
                    CHECK,
                    format!("{} can be read by others on this machine", path.display()),
                    format!("chmod 600 {}", path.display()),
                ),
                KeySource::File(path) => {
                    findings.ok(CHECK, format!("the key is from {}", path.display()));
                }
            }
            Some(key)
        }
        Ok(None) => {
            findings.problem(
                CHECK,
                "there is no API key",
                "set PUSH_API_KEY or PUSH_API_KEY_FILE; `push-api key ops read+send+register+admin` makes one, and its entry goes \
                 into API_KEYS of push-api",
            );
            None
        }
        Err(failure) => {
            findings.problem(CHECK, failure.to_string(), "set it right");
            None
        }
    }
}

fn is_open_to_others(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

async fn look(
    common: &Common,
    key: Option<SecretString>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let has_key = key.is_some();
    let client = Client::new(common, key)?;
    if !reach::check(&client, Utc::now, findings).await {
        return Ok(());
    }
    versions::check(&client, findings).await;
    if !has_key {
        return Ok(());
    }
    let may = access::check(&client, findings).await;
    if may.admin {
        queues::check(&client, findings).await;
        books::check(&client, findings).await;
        letters::check(&client, findings).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_alert_that_is_named_has_a_runbook() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut named = 0;
        for file in fs::read_dir(root.join("src/commands/doctor")).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            for rest in text.split("the alert ").skip(1) {
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                if name.starts_with("Push") {
                    let page = format!("../../deploy/monitoring/runbooks/{name}.md");
                    assert!(root.join(page).is_file(), "{name}");
                    named += 1;
                }
            }
        }
        assert!(named > 5, "{named}");
    }
}
