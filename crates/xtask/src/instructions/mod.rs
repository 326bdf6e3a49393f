//! `cargo xtask instructions`: how many instructions each hot function takes for a notification, compared with what is
//! kept in the repository.
//!
//! Instructions are counted by Valgrind's callgrind, not timed: what else the machine does changes nothing, so that a few
//! per cent can be told from noise. Its files stay, and `callgrind_annotate` tells from them where a count comes from.
//!
//! The functions are called by a program of the tests. It tells their names; what is counted of it is one function of
//! its own, and callgrind writes a file whenever that one ends.

mod figures;

use crate::install::{self, Package};
use crate::process;
use crate::programs;
use crate::say::{Steps, say};
use crate::services::checkout;
use anyhow::{Context as _, Result, bail};
use figures::{Figures, Function};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Who calls them.
const PROGRAM: &str = "push-instructions";
/// What of it is counted, as callgrind spells it.
const COUNTED: &str = "push_instructions::counted";
/// What is kept.
const KEPT: &str = "tests/instructions/kept.json";

/// Arguments of `cargo xtask instructions`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep the counts of this run, to compare others with
    #[arg(long)]
    keep: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = programs::folder(true)?.with_file_name("instructions");
    let kept = checkout()?.join(KEPT);
    let mut steps = Steps::new(3);

    let mut step = steps.next("Valgrind, and make: installed");
    anew(&folder)?;
    install::ensure(
        &[Package::Valgrind, Package::Make],
        &folder.join("apt.log"),
        &mut step,
    )?;
    step.done("yes");

    let mut step = steps.next("Building what is counted (the first time takes some minutes)");
    step.lines();
    build()?;
    step.done("built");

    let step = steps.next("Counting");
    let counted = Figures {
        of: here()?,
        functions: count(&folder)?,
    };
    counted.write(&folder.join("instructions.json"))?;
    step.done(&format!("{} functions", counted.functions.len()));

    if args.keep {
        counted.write(&kept)?;
        say!("\n{}\nkept in {KEPT}", figures::table(&counted, None));
        return Ok(ExitCode::SUCCESS);
    }
    compare(&counted, &Figures::read(&kept)?, &folder)
}

fn compare(counted: &Figures, kept: &Figures, folder: &Path) -> Result<ExitCode> {
    let strangers = counted.strangers(kept);
    if !strangers.is_empty() {
        bail!(
            "{KEPT} is not about the functions that are counted: {}. Keep the new counts: cargo xtask instructions --keep",
            strangers.join(", ")
        );
    }
    let foreign = counted.foreign(kept);
    if !foreign.is_empty() {
        say!("\n{}", figures::table(counted, None));
        say!("NOT COMPARED, for other instructions are counted here than what is kept is of:");
        foreign.iter().for_each(|difference| say!("  {difference}"));
        return Ok(ExitCode::SUCCESS);
    }
    say!("\n{}", figures::table(counted, Some(kept)));
    let off = counted.off(kept);
    let Some(first) = off.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    say!(
        "FAILED: more than {} % off what is kept: {}.",
        figures::TOLERANCE_PERCENT,
        off.join(", ")
    );
    let written = folder.join(file(first));
    say!(
        "Where they go: callgrind_annotate --threshold=100 {}",
        written.display()
    );
    say!(
        "If that is meant, or a gain, keep the new counts, and say why in the commit message: cargo xtask instructions --keep"
    );
    Ok(ExitCode::FAILURE)
}

/// Without what an earlier run left.
fn anew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn build() -> Result<()> {
    let mut cargo = programs::cargo_of(None);
    let status =
        process::foreground(cargo.args(["build", "--locked", "--release", "-p", PROGRAM]))?;
    if !status.success() {
        bail!("the build failed: see above");
    }
    Ok(())
}

/// What counts depend on besides the source: whoever has something else counts something else.
fn here() -> Result<BTreeMap<String, String>> {
    let rustc = process::quiet(Command::new("rustc").arg("--version"))?;
    // Some functions choose their instructions by what the processor can do, as far as Valgrind can do it, too.
    let processor = process::quiet(valgrind(&["--tool=none"])?.arg("processor"))?;
    // Copying and allocating are the C library's.
    let libc = process::quiet(Command::new("ldd").arg("--version")).unwrap_or_default();
    let first_line = |text: String| text.lines().next().unwrap_or("unknown").to_owned();
    let of = [("rustc", rustc), ("processor", processor), ("libc", libc)];
    Ok(of
        .map(|(what, told)| (what.to_owned(), first_line(told)))
        .into())
}

/// Calls each function and counts. Leaves what callgrind wrote about it in `folder`, under its name.
fn count(folder: &Path) -> Result<Vec<Function>> {
    let out = folder.join("out");
    let mut command = valgrind(&[
        "--tool=callgrind",
        &format!("--toggle-collect={COUNTED}"),
        &format!("--dump-after={COUNTED}"),
        &format!("--callgrind-out-file={}", out.display()),
    ])?;
    let called = process::quiet(&mut command)?;
    let called = called.lines().enumerate();
    called
        .map(|(index, line)| function(line, &out.with_extension((index + 1).to_string())))
        .collect()
}

/// A line of the program, `100 api: body`, and the file that was written when it was done.
fn function(line: &str, written: &Path) -> Result<Function> {
    let (notifications, name) = line
        .split_once(' ')
        .and_then(|(number, name)| Some((number.parse::<u64>().ok()?, name)))
        .with_context(|| format!("{PROGRAM} says {line:?}"))?;
    let text = fs::read_to_string(written)
        .with_context(|| format!("callgrind has not seen {COUNTED} end for {name:?}"))?;
    let all: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok())
        .with_context(|| format!("no sum in {}", written.display()))?;
    fs::rename(written, written.with_file_name(file(name)))
        .with_context(|| format!("cannot rename {}", written.display()))?;
    Ok(Function {
        name: name.to_owned(),
        instructions: all / notifications.max(1),
    })
}

/// What callgrind wrote about a function.
fn file(name: &str) -> String {
    let words: Vec<&str> = name
        .split([':', ' '])
        .filter(|word| !word.is_empty())
        .collect();
    format!("{}.callgrind", words.join("-"))
}

fn valgrind(options: &[&str]) -> Result<Command> {
    let mut command = Command::new("valgrind");
    command.arg("-q").args(options);
    command.arg(programs::folder(true)?.join(PROGRAM));
    Ok(command)
}
