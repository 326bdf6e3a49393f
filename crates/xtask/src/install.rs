//! What Debian has and this machine lacks.

use crate::say::Step;
use crate::{interrupt, process};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What comes from the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// The broker
    RabbitMq,
    /// The database
    MariaDb,
    /// Runs a snippet for callers
    Node,
    /// Runs a snippet for callers
    Php,
    /// Runs a snippet for callers, and what comes from Python's own registry
    Python,
    /// What the shell's snippet calls with
    Curl,
    /// Counts instructions
    Valgrind,
    /// Builds the programs' memory allocator
    Make,
    /// Shows the console as people see it, and what moves it
    Chromium,
}

impl Package {
    /// What has to run
    pub const SERVERS: [Self; 2] = [Self::RabbitMq, Self::MariaDb];
    /// What the snippets are run with
    pub const CALLERS: [Self; 4] = [Self::Node, Self::Php, Self::Python, Self::Curl];

    fn debian(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq-server",
            Self::MariaDb => "mariadb-server",
            Self::Node => "nodejs",
            Self::Php => "php-cli",
            Self::Python => "python3-venv",
            Self::Curl => "curl",
            Self::Valgrind => "valgrind",
            Self::Make => "make",
            Self::Chromium => "chromium-driver",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::RabbitMq => "RabbitMQ (3.10 or later)",
            Self::MariaDb => "MariaDB (10.11 or later)",
            Self::Node => "Node (18 or later)",
            Self::Php => "PHP (7.4 or later)",
            Self::Python => "Python (3.8 or later) with venv",
            Self::Curl => "curl (7.84 or later)",
            Self::Valgrind => "Valgrind (3.19 or later)",
            Self::Make => "make",
            Self::Chromium => "Chromium (120 or later) with its driver",
        }
    }

    /// The variable that names a server to use instead.
    fn variable(self) -> Option<&'static str> {
        match self {
            Self::RabbitMq => Some("AMQP_URL"),
            Self::MariaDb => Some("DATABASE_URL"),
            Self::Node
            | Self::Php
            | Self::Python
            | Self::Curl
            | Self::Valgrind
            | Self::Make
            | Self::Chromium => None,
        }
    }

    /// Services that the package would start at every boot.
    fn units(self) -> Option<&'static str> {
        match self {
            Self::RabbitMq => Some("rabbitmq-server.service epmd.service epmd.socket"),
            Self::MariaDb => Some("mariadb.service"),
            Self::Node
            | Self::Php
            | Self::Python
            | Self::Curl
            | Self::Valgrind
            | Self::Make
            | Self::Chromium => None,
        }
    }

    fn installed(self) -> bool {
        match self {
            Self::RabbitMq => crate::services::rabbit_installed(),
            Self::MariaDb => crate::services::maria_installed(),
            Self::Node => finds("node"),
            Self::Php => finds("php"),
            // Debian keeps what a virtual environment begins with in a package of its own.
            Self::Python => runs("python3", &["-c", "import ensurepip"]),
            Self::Curl => finds("curl"),
            Self::Valgrind => finds("valgrind"),
            Self::Make => finds("make"),
            Self::Chromium => finds("chromedriver"),
        }
    }
}

/// Installs those of `packages` that are not there. What the package manager says besides its progress goes to `log`.
pub fn ensure(packages: &[Package], log: &Path, step: &mut Step) -> Result<()> {
    let missing: Vec<Package> = packages
        .iter()
        .copied()
        .filter(|package| !package.installed())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = how(&missing)?;
    step.lines();
    step.note(&format!(
        "installing {} (30 to 100 MB each, 20 s to 3 min)",
        list(&missing, Package::debian, " and ")
    ));
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::piped())
        .stderr(File::create(log).with_context(|| format!("cannot write {}", log.display()))?)
        .spawn()
        .with_context(|| format!("cannot start {}", command[0]))?;
    let output = child.stdout.take().context("apt-get has no output")?;
    for line in BufReader::new(output).lines() {
        if let Some(now) = progress(&line.context("cannot read what apt-get says")?) {
            step.progress(&now);
        }
    }
    let status = child.wait().context("cannot wait for apt-get")?;
    interrupt::check()?;
    if !status.success() || missing.iter().any(|package| !package.installed()) {
        bail!(
            "installing {} did not work ({status}). Install it yourself{}. The end of {}:\n{}",
            list(&missing, Package::debian, " and "),
            or_existing(&missing),
            log.display(),
            process::tail(log, 15)
        );
    }
    Ok(())
}

fn list<P: Into<Option<&'static str>>>(
    packages: &[Package],
    part: fn(Package) -> P,
    between: &str,
) -> String {
    let parts = packages.iter().filter_map(|package| part(*package).into());
    parts.collect::<Vec<&str>>().join(between)
}

/// What can be used instead of the servers among them.
fn or_existing(packages: &[Package]) -> String {
    match list(packages, Package::variable, " and ") {
        none if none.is_empty() => none,
        variables => format!(", or set {variables} to servers that exist"),
    }
}

/// What a line of apt's status output tells: `dlstatus:1:20.5:Retrieving file 3 of 20`, `pmstatus:erlang:60:Unpacking`.
fn progress(line: &str) -> Option<String> {
    let mut parts = line.splitn(4, ':');
    let what = match parts.next()? {
        "dlstatus" => "downloading",
        "pmstatus" => "unpacking and setting up",
        _ => return None,
    };
    let percent: f32 = parts.nth(1)?.parse().ok()?;
    Some(format!("{what}: {percent:.0} %"))
}

/// The command that installs `packages` here, or what the user can do instead.
fn how(packages: &[Package]) -> Result<Vec<String>> {
    let labels = list(packages, Package::label, " and ");
    let or_existing = or_existing(packages);
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&os_release) || !finds("apt-get") {
        bail!(
            "missing: {labels}. This command installs on Debian and its relatives only. Install with your package \
             manager{or_existing}."
        );
    }
    let shell = ["sh".to_owned(), "-c".to_owned(), script(packages)];
    let root = process::quiet(Command::new("id").arg("-u"))?.trim() == "0";
    if root {
        return Ok(shell.to_vec());
    }
    if finds("sudo") {
        return Ok([&["sudo".to_owned()][..], &shell].concat());
    }
    bail!(
        "missing: {labels}. Installing needs root. As root, type:\n\n    apt-get update && apt-get install -y \
         --no-install-recommends {}\n\nthen try again{or_existing}.",
        list(packages, Package::debian, " ")
    )
}

/// Debian starts a server as soon as it is installed, and at every boot. We start our own, private ones, so the
/// packaged ones are kept from starting: `policy-rc.d` is Debian's way to say so. It goes again on every way out; dash
/// runs no EXIT trap after a signal that has no trap of its own.
///
/// Interruptions end the download. What comes after it takes seconds and must not be left half done, so there they are
/// ignored, as is the end of whoever reads the progress. What somebody else has left half done is completed first; if
/// that fails, apt says why better than we could.
///
/// The progress has a pipe of its own: apt makes it non-blocking, and a package's script that shared it would fail as
/// soon as it is full.
fn script(packages: &[Package]) -> String {
    let names = list(packages, Package::debian, " ");
    let units = list(packages, Package::units, " ");
    format!(
        "set -e
policy=/usr/sbin/policy-rc.d
trap 'exit 130' HUP INT TERM
if [ ! -e $policy ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy; chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
dpkg --force-confdef --force-confold --configure -a >&2 || true
apt_get() {{
  apt-get -qq -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
    -o APT::Status-Fd=3 \"$@\" 3>&1 >&2
}}
apt_get update
apt_get --download-only install {names}
trap '' HUP INT TERM PIPE
apt_get install {names}
units='{units}'
if [ \"$units\" ] && command -v systemctl >/dev/null; then systemctl --quiet disable $units 2>/dev/null || true; fi
"
    )
}

fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .any(|value| {
            value
                .trim_matches('"')
                .split_whitespace()
                .any(|id| id == "debian")
        })
}

/// Is there such a program?
pub fn finds(name: &str) -> bool {
    find(name).is_some()
}

/// Does it run, and without complaint?
fn runs(program: &str, arguments: &[&str]) -> bool {
    process::quiet(Command::new(program).args(arguments)).is_ok()
}

/// The program's place: on the path, or where the path of a simple user does not lead.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_says_how_far_it_is() {
        let says = |line| progress(line);
        assert_eq!(
            says("dlstatus:3:20.5:Retrieving file 3 of 20").as_deref(),
            Some("downloading: 20 %")
        );
        assert_eq!(
            says("pmstatus:erlang-base:60.9:Unpacking erlang-base (amd64)").as_deref(),
            Some("unpacking and setting up: 61 %")
        );
        assert_eq!(says("Setting up erlang-base …"), None);
        assert_eq!(says("dlstatus:3"), None);
    }

    #[test]
    fn relatives_of_debian_are_recognised() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=mint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\n"));
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let script = script(&[Package::MariaDb]);
        assert!(script.contains("\napt_get install mariadb-server\n"));
        assert!(!script.contains("rabbitmq"));
        let script = super::script(&[Package::Php, Package::Curl]);
        assert!(script.contains("\napt_get install php-cli curl\n"));
        assert!(script.contains("\nunits=''\n"));
    }

    /// Runs the script with stand-ins for the system's tools, which write down that they were called; `apt` is the body
    /// of the stand-in for `apt-get`. Returns how it ended, what was called, and whether the policy is still there.
    fn rehearse(name: &str, apt: &str) -> (std::process::ExitStatus, String, bool) {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("push-install-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let calls = dir.join("calls");
        for (tool, body) in [("dpkg", "exit 2"), ("apt-get", apt), ("systemctl", "")] {
            let path = dir.join(tool);
            let body = format!(
                "#!/bin/sh\necho {tool} \"$@\" >>'{}'\n{body}\n",
                calls.display()
            );
            fs::write(&path, body).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let policy = dir.join("policy-rc.d");
        let script = script(&[Package::MariaDb])
            .replace("/usr/sbin/policy-rc.d", &policy.display().to_string());
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
        let status = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let result = (status, fs::read_to_string(calls).unwrap(), policy.exists());
        fs::remove_dir_all(dir).unwrap();
        result
    }

    #[test]
    fn an_interrupted_download_leaves_no_policy_and_installs_nothing() {
        for signal in ["HUP", "INT", "TERM"] {
            let apt = format!("case \"$*\" in *--download-only*) kill -{signal} $PPID;; esac");
            let (status, calls, policy) = rehearse(signal, &apt);
            assert_eq!(status.code(), Some(130), "{signal}");
            assert!(!policy, "{signal}");
            assert_eq!(calls.matches(" install ").count(), 1, "{calls}");
        }
    }

    #[test]
    fn once_it_installs_it_is_not_interrupted() {
        let apt = "case \"$*\" in *--download-only*) ;; *' install '*) kill -INT $$ $PPID; echo installed >>\"${0%/*}/calls\";; esac";
        let (status, calls, policy) = rehearse("whole", apt);
        assert!(status.success(), "{status}: {calls}");
        assert!(!policy);
        let order = [
            "dpkg ",
            "update",
            "--download-only",
            "installed",
            "systemctl",
        ];
        let places = order.map(|what| {
            calls
                .find(what)
                .unwrap_or_else(|| panic!("{what}: {calls}"))
        });
        assert!(places.is_sorted(), "{calls}");
        let (_, real) = calls.rsplit_once("apt-get ").unwrap();
        assert!(real.contains("--no-remove") && real.contains("Lock::Timeout=600"));
    }
}
