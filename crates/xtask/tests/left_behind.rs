//! What is left of a `cargo xtask run` that was killed: nothing.
//!
//! With real servers, in a folder with a space in its name; cargo is a stand-in that builds for ever.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in what the tests stand on is a failure with a line number"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const MARK: &str = "PUSH_XTASK_OWNER";
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder for the sets of one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let Some(services) = std::env::var_os("PUSH_TEST_SERVICES_DIR") else {
            panic!("PUSH_TEST_SERVICES_DIR is not set: run the tests with `cargo xtask test`");
        };
        let place = Path::new(&services).join(format!("{name} {}", std::process::id()));
        fs::create_dir_all(place.join("run")).unwrap();
        Self(place)
    }

    fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).env("PUSH_XTASK_SERVICES", &self.0);
        for given in ["AMQP_URL", "DATABASE_URL"] {
            command.env_remove(given);
        }
        command
    }

    /// A stand-in for cargo.
    fn endless_build(&self) -> PathBuf {
        let path = self.0.join("cargo");
        fs::write(&path, "#!/bin/sh\necho building\nsleep 600\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The names of the processes that carry a mark of this place.
    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}/", self.0.display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ours = entries.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable.starts_with(mark.as_bytes()))
        });
        ours.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
            .map(|name| name.trim().to_owned())
            .collect()
    }

    /// The ports of the servers.
    fn ports(&self) -> Vec<u16> {
        let ports = fs::read(self.0.join("run/ports.json")).unwrap();
        let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap();
        let port = |server: &str| u16::try_from(ports[server].as_u64().unwrap()).unwrap();
        let rabbit = port("rabbit");
        vec![rabbit, rabbit + 1, rabbit + 2, port("maria")]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.xtask(&["services", "down", "--set", "run"]).output();
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn answers(port: &u16) -> bool {
    TcpStream::connect(("127.0.0.1", *port)).is_ok()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// The run, as far as the build.
fn building(place: &Place) -> Child {
    let mut run = place
        .xtask(&["run"])
        .env("CARGO", place.endless_build())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(run.stdout.take().unwrap());
    let lines: Vec<String> = output
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line != "building")
        .collect();
    assert!(
        run.try_wait().unwrap().is_none(),
        "it ended: {}",
        lines.join("\n")
    );
    run
}

#[test]
fn a_killed_run_leaves_no_process_and_no_port() {
    let place = Place::new("a killed run");
    let mut run = building(&place);
    let ports = place.ports();
    assert!(ports.iter().all(answers), "{ports:?}");
    let running = place.processes();
    for name in ["beam.smp", "epmd", "mariadbd", "cargo"] {
        assert!(running.iter().any(|process| process == name), "{running:?}");
    }

    run.kill().unwrap();
    run.wait().unwrap();
    eventually("all processes have ended", || place.processes().is_empty());
    assert!(!ports.iter().any(answers), "{ports:?}");
}

#[test]
fn nobody_reads_and_still_all_is_stopped() {
    let place = Place::new("a closed pipe");
    // What it prints from here on has no reader: `building` has dropped the pipe.
    let mut run = building(&place);
    Command::new("kill")
        .args(["-TERM", &run.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(place.processes(), Vec::<String>::new());
    assert!(!place.ports().iter().any(answers));
}

#[test]
fn the_guard_leaves_alone_what_a_new_run_holds() {
    let place = Place::new("a new run");
    let held = fs::File::create(place.0.join("run/lock")).unwrap();
    held.lock().unwrap();
    let mut program = Command::new("sleep")
        .arg("600")
        .env(MARK, place.0.join("run/programs"))
        .spawn()
        .unwrap();

    let end_of_input = Stdio::null();
    let mut guard = place.xtask(&["guard", "run"]);
    let status = guard.stdin(end_of_input).status().unwrap();
    assert!(status.success());
    assert!(program.try_wait().unwrap().is_none());

    drop(held);
    let mut guard = place.xtask(&["guard", "run"]);
    let status = guard.stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    eventually("the guard stops what nobody holds", || {
        program.try_wait().unwrap().is_some()
    });
}
