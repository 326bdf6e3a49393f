//! A caller who tries everything that the OpenAPI document allows, and what it does not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use push_tests::{Key, Stack};
use tokio::process::Command;

const VERSION: &str = "schemathesis==4.32.5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_documented_whatever_is_asked() {
    let Some(schemathesis) = installed().await else {
        // Past the harness, which keeps what a test prints that is well.
        let told =
            "LEFT OUT: schemathesis could not be installed here (python3 with venv, and PyPI)\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    };
    let stack = Stack::with()
        .env_api("UNKNOWN_CUSTOMER", "create")
        .start()
        .await;
    // What it makes up is scheduled for next month, or paused.
    stack.leaves_pending();
    stack.copies_under_way();
    let run = Command::new(schemathesis)
        // It keeps what it learned in the folder that it runs in.
        .current_dir(root().join("target"))
        .arg("--config-file")
        .arg(root().join("tests/schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/openapi.json", stack.apis[0].url()))
        .args(["--request-timeout", "40", "--no-color"])
        .env("PUSH_API_KEY", Key::All.secret())
        .output()
        .await
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stdout)
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Kept below target/, so that it is installed once.
async fn installed() -> Option<PathBuf> {
    let folder = root().join("target/schemathesis");
    let program = folder.join("bin/schemathesis");
    if !succeeds(Command::new(&program).arg("--version")).await {
        eprintln!("installing {VERSION} into {}", folder.display());
        let venv = ["-m", "venv", "--clear"];
        if !succeeds(Command::new("python3").args(venv).arg(&folder)).await {
            return None;
        }
        let install = ["install", "-q", "--disable-pip-version-check", VERSION];
        succeeds(Command::new(folder.join("bin/pip")).args(install)).await;
    }
    succeeds(Command::new(&program).arg("--version"))
        .await
        .then_some(program)
}

async fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success())
}
