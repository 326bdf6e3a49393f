//! Who may import whom. A forbidden import fails here instead of waiting for a reviewer.

use super::Finding;
use crate::{process, programs};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A crate of ours, which of ours it may import, and why it exists: its claim on what is only there.
struct Room {
    name: &'static str,
    ours: &'static [&'static str],
    why: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        name: "push-core",
        ours: &[],
        why: "every rule without IO, testable in microseconds",
    },
    Room {
        name: "push-seal",
        ours: &[],
        why: "one reading of keys and sealed values, for the database and the broker",
    },
    Room {
        name: "push-queue",
        ours: &["push-core", "push-seal"],
        why: "the broker is understood, and changed, from one room",
    },
    Room {
        name: "push-store",
        ours: &["push-core", "push-seal"],
        why: "every query beside its index and its row type",
    },
    Room {
        name: "push-providers",
        ours: &["push-core"],
        why: "the API cannot send by accident",
    },
    Room {
        name: "push-runtime",
        ours: &[],
        why: "how a process starts and stops, whatever it does",
    },
    Room {
        name: "push-trace",
        ours: &["push-core", "push-runtime"],
        why: "what a trace tells, and to whom, is decided once for both programs",
    },
    Room {
        name: "push-api",
        ours: &[
            "push-core",
            "push-seal",
            "push-queue",
            "push-store",
            "push-runtime",
            "push-trace",
        ],
        why: "admit, commit, publish, answer",
    },
    Room {
        name: "push-worker",
        ours: &[
            "push-core",
            "push-seal",
            "push-queue",
            "push-store",
            "push-providers",
            "push-runtime",
            "push-trace",
        ],
        why: "the only place where a notification leaves the house",
    },
    Room {
        name: "pushctl",
        ours: &[],
        why: "proves that the HTTP API is enough for an admin",
    },
    Room {
        name: "push-sim",
        ours: &[],
        why: "a second, independent reading of the providers' pages",
    },
    Room {
        name: "xtask",
        ours: &[],
        why: "compiles before everything else",
    },
    Room {
        name: "push-instructions",
        ours: &[
            "push-core",
            "push-seal",
            "push-queue",
            "push-store",
            "push-providers",
            "push-trace",
            "push-api",
        ],
        why: "what a function costs is counted by calling it, alone",
    },
    Room {
        name: TESTS,
        ours: &["push-sim"],
        why: "promises are seen from outside: sockets, rows, exit codes",
    },
];

/// Looks at everything from outside, so it may bring any client.
const TESTS: &str = "push-tests";

/// Outside crates that are imported in these rooms only.
const ONLY_HERE: &[(&str, &[&str])] = &[
    ("lapin", &["push-queue"]),
    ("sqlx", &["push-store"]),
    ("gcp_auth", &["push-providers"]),
    ("backoff", &["push-providers"]),
    ("reqwest", &["push-providers", "push-trace", "pushctl"]),
    ("opentelemetry", &["push-trace"]),
    ("opentelemetry_sdk", &["push-trace"]),
    ("opentelemetry-otlp", &["push-trace"]),
    ("opentelemetry-http", &["push-trace"]),
    ("indicatif", &["pushctl"]),
    ("console", &["pushctl"]),
    ("comfy-table", &["pushctl"]),
    ("clap_complete", &["pushctl"]),
    ("clap_mangen", &["pushctl"]),
    ("axum", &["push-api", "push-runtime", "push-sim"]),
    ("utoipa", &["push-api"]),
    ("fluent-bundle", &["push-api"]),
    ("fluent-syntax", &["push-api"]),
    ("tracing-subscriber", &["push-runtime", "push-sim"]),
    (
        "anyhow",
        &[
            "push-api",
            "push-worker",
            "pushctl",
            "push-sim",
            "push-instructions",
            "xtask",
        ],
    ),
];

/// What would bring IO or a runtime into the rules.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "tokio-util",
    "futures",
    "lapin",
    "sqlx",
    "reqwest",
    "axum",
    "hyper",
    "tower",
    "tracing",
    "metrics",
];

/// Compares the workspace with the table.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let text = process::quiet(Command::new(programs::cargo()).current_dir(root).args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--offline",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    let mut findings = directions(&metadata);
    for package in packages(&metadata) {
        let Some(manifest) = package["manifest_path"].as_str() else {
            continue;
        };
        let text =
            fs::read_to_string(manifest).with_context(|| format!("cannot read {manifest}"))?;
        findings.extend(lints(name_of(package), &text));
    }
    Ok(findings)
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn name_of(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn directions(metadata: &Value) -> Vec<Finding> {
    let ours: Vec<&str> = packages(metadata).map(name_of).collect();
    packages(metadata)
        .flat_map(|package| {
            let name = name_of(package);
            let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
                return vec![Finding::new(
                    name,
                    "is not in the table of rooms",
                    "add it to ROOMS in crates/xtask/src/tidy/house.rs: what it may import, and why it exists",
                )];
            };
            package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|dependency| {
                    let import = dependency["name"].as_str()?;
                    if ours.contains(&import) {
                        return direction(room, import);
                    }
                    // What only tests import stays out of the programs.
                    (dependency["kind"] != "dev").then(|| outside(room, import))?
                })
                .collect()
        })
        .collect()
}

fn direction(room: &Room, import: &str) -> Option<Finding> {
    (!room.ours.contains(&import)).then(|| {
        let may = if room.ours.is_empty() {
            "nothing of ours".to_owned()
        } else {
            format!("only {}", room.ours.join(", "))
        };
        Finding::new(
            room.name,
            format!("imports {import}"),
            format!(
                "it may import {may} ({}): move the code to where both may reach it",
                room.why
            ),
        )
    })
}

fn outside(room: &Room, import: &str) -> Option<Finding> {
    let finding = |mend| Some(Finding::new(room.name, format!("imports {import}"), mend));
    if room.name == "push-core" && NOT_IN_CORE.contains(&import) {
        return finding(format!("{}: take what is needed as a parameter", room.why));
    }
    let (_, rooms) = ONLY_HERE.iter().find(|(outside, _)| *outside == import)?;
    if room.name == TESTS || rooms.contains(&room.name) {
        return None;
    }
    finding(format!(
        "{import} is used in {} only: call that room instead",
        rooms.join(", ")
    ))
}

/// The workspace's lints hold only where they are asked for.
fn lints(name: &str, manifest: &str) -> Option<Finding> {
    let inherits = manifest
        .split_once("[lints]")
        .is_some_and(|(_, rest)| rest.trim_start().starts_with("workspace = true"));
    (!inherits).then(|| {
        Finding::new(
            name,
            "does not take part in the workspace's lints",
            "add `[lints]` with `workspace = true` to its Cargo.toml",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(packages: &[(&str, &[&str])]) -> Value {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, imports)| {
                let dependencies: Vec<Value> = imports
                    .iter()
                    .map(|import| json!({"name": import}))
                    .collect();
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        json!({"packages": packages})
    }

    fn offences(packages: &[(&str, &[&str])]) -> Vec<String> {
        directions(&workspace(packages))
            .iter()
            .map(|finding| format!("{} {}", finding.offender, finding.wrong))
            .collect()
    }

    #[test]
    fn the_house_as_it_is_meant_passes() {
        let house: &[(&str, &[&str])] = &[
            ("push-core", &["serde", "uuid"]),
            ("push-queue", &["push-core", "lapin", "tokio"]),
            ("push-store", &["push-core", "sqlx"]),
            (
                "push-providers",
                &["push-core", "reqwest", "gcp_auth", "backoff"],
            ),
            ("push-runtime", &["axum", "tracing-subscriber"]),
            (
                "push-api",
                &[
                    "push-core",
                    "push-queue",
                    "push-store",
                    "push-runtime",
                    "axum",
                ],
            ),
            (
                "push-worker",
                &["push-core", "push-providers", "push-runtime"],
            ),
            ("push-sim", &["axum"]),
            ("xtask", &["anyhow"]),
            (
                "push-tests",
                &["push-sim", "reqwest", "sqlx", "lapin", "anyhow"],
            ),
        ];
        assert_eq!(offences(house), Vec::<String>::new());
    }

    #[test]
    fn the_api_cannot_import_the_providers() {
        let house: &[(&str, &[&str])] =
            &[("push-api", &["push-providers"]), ("push-providers", &[])];
        assert_eq!(offences(house), ["push-api imports push-providers"]);
    }

    #[test]
    fn the_simulator_shares_nothing_with_the_programs() {
        let house: &[(&str, &[&str])] = &[("push-sim", &["push-core"]), ("push-core", &[])];
        assert_eq!(offences(house), ["push-sim imports push-core"]);
    }

    #[test]
    fn outside_crates_stay_in_their_room() {
        let house: &[(&str, &[&str])] = &[
            ("push-core", &["tokio"]),
            ("push-api", &["lapin", "sqlx"]),
            ("push-worker", &["reqwest"]),
        ];
        assert_eq!(
            offences(house),
            [
                "push-core imports tokio",
                "push-api imports lapin",
                "push-api imports sqlx",
                "push-worker imports reqwest"
            ]
        );
    }

    #[test]
    fn what_only_tests_import_is_free_except_for_our_own() {
        let dev = |name: &str| json!({"name": name, "kind": "dev"});
        let metadata = json!({"packages": [
            {"name": "push-sim", "dependencies": [dev("reqwest"), dev("push-core")]},
            {"name": "push-core", "dependencies": [dev("tokio")]},
        ]});
        let findings = directions(&metadata);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].wrong, "imports push-core");
    }

    #[test]
    fn a_crate_without_a_room_is_reported() {
        assert_eq!(
            offences(&[("push-utils", &[])]),
            ["push-utils is not in the table of rooms"]
        );
    }

    #[test]
    fn lints_are_inherited_by_name() {
        assert_eq!(lints("a", "[package]\n\n[lints]\nworkspace = true\n"), None);
        assert!(lints("a", "[package]\nversion.workspace = true\n").is_some());
    }
}
