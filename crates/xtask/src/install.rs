//! What Debian has and this machine lacks.

use crate::process;
use crate::say::Step;
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that comes from the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// The broker
    RabbitMq,
    /// The database
    MariaDb,
}

impl Package {
    fn debian(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq-server",
            Self::MariaDb => "mariadb-server",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::RabbitMq => "RabbitMQ (3.10 or later)",
            Self::MariaDb => "MariaDB (10.11 or later)",
        }
    }

    /// The variable that names a server to use instead.
    fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq => "AMQP_URL",
            Self::MariaDb => "DATABASE_URL",
        }
    }

    /// Services that the package would start at every boot.
    fn units(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq-server.service epmd.service epmd.socket",
            Self::MariaDb => "mariadb.service",
        }
    }

    fn installed(self) -> bool {
        match self {
            Self::RabbitMq => crate::services::rabbit_installed(),
            Self::MariaDb => crate::services::maria_installed(),
        }
    }
}

/// Installs `package` unless it is there.
pub fn ensure(package: Package, step: &mut Step) -> Result<()> {
    if package.installed() {
        return Ok(());
    }
    let command = how(package)?;
    step.lines();
    step.note(&format!(
        "installing {} from the distribution's packages (about 30 MB, 15 s to 2 min)",
        package.label()
    ));
    let status = process::foreground(Command::new(&command[0]).args(&command[1..]))?;
    if !status.success() || !package.installed() {
        bail!(
            "installing {} did not work ({status}). Install it yourself, or set {} to a server that exists.",
            package.debian(),
            package.variable()
        );
    }
    Ok(())
}

/// The command that installs `package` here, or what the user can do instead.
fn how(package: Package) -> Result<Vec<String>> {
    if !is_debian(&fs::read_to_string("/etc/os-release").unwrap_or_default()) || !finds("apt-get") {
        bail!(
            "{} is missing, and only Debian and its relatives are installed on by this command. Install it with your \
             package manager, or set {} to a server that exists.",
            package.label(),
            package.variable()
        );
    }
    let script = script(package);
    let shell = ["sh".to_owned(), "-c".to_owned(), script];
    let root = process::quiet(Command::new("id").arg("-u"))?.trim() == "0";
    if root {
        return Ok(shell.to_vec());
    }
    if finds("sudo") {
        return Ok([&["sudo".to_owned()][..], &shell].concat());
    }
    bail!(
        "{} is missing, and installing it needs root. As root, type:\n\n    apt-get update && apt-get install -y \
         --no-install-recommends {}\n\nthen try again; or set {} to a server that exists.",
        package.label(),
        package.debian(),
        package.variable()
    )
}

/// Debian starts a server as soon as it is installed, and at every boot. We start our own, private ones, so the
/// packaged ones are kept from starting: `policy-rc.d` is Debian's way to say so.
fn script(package: Package) -> String {
    let (name, units) = (package.debian(), package.units());
    format!(
        "set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy; chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 {name} >/dev/null
if command -v systemctl >/dev/null; then systemctl --quiet disable {units} 2>/dev/null || true; fi
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

/// The program's place: on the path, or where the path of a simple user does not lead.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| Path::is_file(file))
}
