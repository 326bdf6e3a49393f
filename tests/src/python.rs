//! What comes from Python's own registry.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// A virtual environment with these requirements (`name==version`, with spaces between them), below `target/`, so that they
/// are installed once. `None` where Python or its registry are out of reach.
pub async fn environment(requirements: &str) -> Option<PathBuf> {
    let name = requirements.replace(' ', "+");
    let folder = root().join("target/python").join(name);
    let done = folder.join("installed");
    if done.exists() {
        return Some(folder);
    }
    eprintln!("installing {requirements} into {}", folder.display());
    let venv = ["-m", "venv", "--clear"];
    let install = ["install", "-q", "--disable-pip-version-check"];
    let made = succeeds(Command::new("python3").args(venv).arg(&folder)).await
        && succeeds(
            Command::new(folder.join("bin/pip"))
                .args(install)
                .args(requirements.split_whitespace()),
        )
        .await;
    made.then(|| std::fs::write(&done, ""))
        .and_then(Result::ok)?;
    Some(folder)
}

async fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success())
}
