//! What push-api and push-worker say of their own settings, servers and credentials: their `check`, in this environment.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::finding::Findings;

/// Each of what they try has a limit of its own, well below this in all.
const CHECK_MAX: Duration = Duration::from_secs(120);
/// What both cannot do without.
const NEEDED: [&str; 2] = ["DATABASE_URL", "DATABASE_URL_FILE"];
/// How their lines begin.
const OK: &str = "ok ";
const FAILED: &str = "FAILED ";

struct Program {
    name: &'static str,
    check: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "push-api",
        check: "push-api",
    },
    Program {
        name: "push-worker",
        check: "push-worker",
    },
];

/// Runs those that are found. Whoever insists on them is told when that is not possible.
pub async fn check(insist: bool, findings: &mut Findings) {
    let has_settings = NEEDED.iter().any(|name| env::var_os(name).is_some());
    for program in &PROGRAMS {
        match find(program.name) {
            Some(path) if insist || has_settings => run(program, &path, findings).await,
            Some(_) => findings.ok(
                program.check,
                "not checked: its settings are not in this environment (--check-programs insists)",
            ),
            None if insist => findings.problem(
                program.check,
                format!("{} is neither beside pushctl nor in PATH", program.name),
                "run doctor where it is, such as in its container",
            ),
            None => findings.ok(
                program.check,
                "not checked: it is neither beside pushctl nor in PATH",
            ),
        }
    }
}

/// Beside this program, else where the shell would find it.
fn find(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = beside.into_iter().chain(env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

async fn run(program: &Program, path: &Path, findings: &mut Findings) {
    let mut command = Command::new(path);
    command.arg("check").stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(CHECK_MAX, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let found = format!("{} cannot be run: {error}", path.display());
            findings.problem(program.check, found, "is it built for this machine?");
            return;
        }
        Err(_) => {
            let found = format!("its check does not end within {} s", CHECK_MAX.as_secs());
            findings.problem(
                program.check,
                found,
                format!("run `{} check` by hand", program.name),
            );
            return;
        }
    };
    told(program, &output, findings);
}

fn told(program: &Program, output: &Output, findings: &mut Findings) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let lines = text.iter().flat_map(|text| text.lines());
    let mut failed = false;
    let mut others = Vec::new();
    for line in lines.map(str::trim_end).filter(|line| !line.is_empty()) {
        if let Some(what) = line.strip_prefix(OK) {
            findings.ok(program.check, what.trim_start());
        } else if let Some(what) = line.strip_prefix(FAILED) {
            failed = true;
            findings.problem(
                program.check,
                what.trim_start(),
                "mend it, and run doctor again",
            );
        } else {
            others.push(line.trim_start());
        }
    }
    // Wrong settings are told in sentences.
    if !output.status.success() && !failed {
        let found = if others.is_empty() {
            format!("its check ended with {}", output.status)
        } else {
            others.join("; ")
        };
        let mend = format!(
            "set its settings right; `{} settings` lists them",
            program.name
        );
        findings.problem(program.check, found, mend);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::super::finding::Level;
    use super::*;

    fn found(code: i32, stdout: &str, stderr: &str) -> Vec<(Level, String)> {
        let output = Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let mut findings = Findings::default();
        told(&PROGRAMS[1], &output, &mut findings);
        findings.list()
    }

    #[test]
    fn each_line_of_a_check_is_a_finding() {
        let all = found(
            0,
            "ok      settings: read\nok      database: over TLS\n",
            "",
        );
        assert_eq!(
            all,
            [
                (Level::Ok, "settings: read".to_owned()),
                (Level::Ok, "database: over TLS".to_owned())
            ]
        );
        let one = found(1, "", "ok      settings: read\nFAILED  fcm send: refused\n");
        assert_eq!(one[1], (Level::Problem, "fcm send: refused".to_owned()));
    }

    #[test]
    fn wrong_settings_are_one_finding_and_silence_is_one_as_well() {
        let wrong = found(2, "", "2 settings are wrong:\n  A: is missing\n");
        assert_eq!(
            wrong,
            [(
                Level::Problem,
                "2 settings are wrong:; A: is missing".to_owned()
            )]
        );
        assert_eq!(found(101, "", "").len(), 1);
    }
}
