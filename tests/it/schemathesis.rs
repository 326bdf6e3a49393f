//! A caller who tries everything that the OpenAPI document allows, and what it does not.

use std::io::Write as _;

use push_tests::{Key, Stack, environment, root};
use tokio::process::Command;

const VERSION: &str = "schemathesis==4.32.5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_documented_whatever_is_asked() {
    let Some(installed) = environment(VERSION).await else {
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
    let run = Command::new(installed.join("bin/schemathesis"))
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
