//! `cargo xtask sbom`: what the programs are made of, as CycloneDX. The same tree gives the same file.

use crate::process;
use crate::say::say;
use crate::services::checkout;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What is handed out.
const PROGRAMS: [&str; 3] = ["push-api", "push-worker", "pushctl"];

/// Arguments of `cargo xtask sbom`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the list goes
    #[arg(long, default_value = "target/push.cdx.json")]
    to: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = checkout()?;
    let text = process::quiet(Command::new(env!("CARGO")).current_dir(&root).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    let bom = bom(&metadata, &checksums(&lock));
    let path = root.join(&args.to);
    fs::write(&path, format!("{bom:#}\n")).with_context(|| path.display().to_string())?;
    let count = bom["components"].as_array().map_or(0, Vec::len);
    say!("{}: {count} components", path.display());
    Ok(ExitCode::SUCCESS)
}

/// The list: what is linked into the programs, and what needs what.
fn bom(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let needs: BTreeMap<&str, BTreeSet<&str>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, linked(node))))
        .collect();
    let mut shipped = BTreeSet::new();
    let is_program = |package: &&Value| PROGRAMS.iter().any(|name| package["name"] == *name);
    let programs = packages.values().copied().filter(is_program);
    let mut next: Vec<&str> = programs
        .filter_map(|program| program["id"].as_str())
        .collect();
    while let Some(id) = next.pop() {
        if shipped.insert(id) {
            next.extend(needs.get(id).into_iter().flatten());
        }
    }
    let shipped: Vec<(&Value, &BTreeSet<&str>)> = shipped
        .iter()
        .filter_map(|id| Some((*packages.get(id)?, needs.get(id)?)))
        .collect();
    let mut components: Vec<Value> = shipped
        .iter()
        .map(|(package, _)| component(package, checksums))
        .collect();
    let mut dependencies: Vec<Value> = shipped
        .iter()
        .map(|(package, needs)| {
            let mut needs: Vec<String> = needs
                .iter()
                .filter_map(|id| packages.get(id).copied())
                .map(purl)
                .collect();
            needs.sort();
            json!({"ref": purl(package), "dependsOn": needs})
        })
        .collect();
    components.sort_by_key(|component| component["purl"].to_string());
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "push", "bom-ref": "push"}},
        "components": components,
        "dependencies": dependencies,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What ends up in the program: neither what only builds nor what only tests.
fn linked(node: &Value) -> BTreeSet<&str> {
    let is_linked = |dependency: &&Value| {
        list(&dependency["dep_kinds"])
            .iter()
            .any(|kind| kind["kind"].is_null())
    };
    list(&node["deps"])
        .iter()
        .filter(is_linked)
        .filter_map(|dependency| dependency["pkg"].as_str())
        .collect()
}

fn purl(package: &Value) -> String {
    let part = |name: &str| package[name].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", part("name"), part("version"))
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let part = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let program = PROGRAMS.iter().any(|name| package["name"] == *name);
    let mut component = json!({
        "type": if program { "application" } else { "library" },
        "bom-ref": purl(package),
        "name": part("name"),
        "version": part("version"),
        "purl": purl(package),
        // Cargo's older way to say "or".
        "licenses": [{"expression": part("license").replace('/', " OR ")}],
    });
    if let Some(checksum) = checksums.get(&(part("name"), part("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// Name and version → checksum, of what came from the registry.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let prefix = format!("{key} = \"");
        block
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"'))
            .map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            let key = (value(block, "name")?, value(block, "version")?);
            Some((key, value(block, "checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let packages = [
            "push-api", "linked", "deeper", "builder", "tester", "stranger",
        ]
        .map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "push-api", "deps": [
                    needs("linked", Value::Null), needs("builder", json!("build")), needs("tester", json!("dev")),
                ]},
                {"id": "linked", "deps": [needs("deeper", Value::Null)]},
                {"id": "deeper", "deps": []},
                {"id": "builder", "deps": []}, {"id": "tester", "deps": []}, {"id": "stranger", "deps": []},
            ]},
        });
        let lock = "[[package]]\nname = \"deeper\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\n";
        let bom = bom(&metadata, &checksums(lock));
        let names: Vec<&Value> = list(&bom["components"])
            .iter()
            .map(|component| &component["name"])
            .collect();
        assert_eq!(names, ["deeper", "linked", "push-api"]);
        assert_eq!(bom["components"][0]["hashes"][0]["content"], "abc");
        assert_eq!(bom["components"][1]["hashes"], Value::Null);
        assert_eq!(
            bom["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(
            bom["dependencies"][2]["dependsOn"],
            json!(["pkg:cargo/linked@1.0.0"])
        );
    }
}
