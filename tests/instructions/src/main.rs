//! The hot functions of a notification's way, each by itself. `cargo xtask instructions` runs this under callgrind, which
//! counts what happens in [`counted`] and nothing else.
//!
//! The same input each time, a time that stands still, and everything that is made once made before: so the counts are
//! the same each time, whatever else the machine does.

mod api;
mod samples;
mod worker;

use std::fmt;
use std::io::Write as _;
use std::io::stdout;

/// Calls that are counted. More would not change what one takes, fewer would show what the allocator does now and then.
const CALLS: u32 = 100;
/// Calls before, in which tables are filled and memory is fetched from the system.
const CALLS_BEFORE: u32 = 10;

/// A function, called with what it usually gets.
struct Case {
    name: &'static str,
    /// How many notifications one call is for.
    notifications: u32,
    call: Box<dyn FnMut()>,
}

impl Case {
    /// One whose result is looked at once, so that it is surely the usual one, and dropped then as the programs do.
    fn new<T, E: fmt::Debug>(
        name: &'static str,
        mut call: impl FnMut() -> Result<T, E> + 'static,
    ) -> anyhow::Result<Self> {
        if let Err(why) = call() {
            anyhow::bail!("{name} does not work: {why:?}");
        }
        let call = move || drop(std::hint::black_box(call()));
        Ok(Self {
            name,
            notifications: 1,
            call: Box::new(call),
        })
    }

    fn of_many(self, notifications: u32) -> Self {
        Self {
            notifications,
            ..self
        }
    }
}

/// Calls each and tells, in that order, for how many notifications it was called, and its name. With the word `processor`
/// it tells what that is instead.
fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("processor") {
        return Ok(writeln!(stdout(), "{}", processor())?);
    }
    for mut case in api::cases()?.into_iter().chain(worker::cases()?) {
        (0..CALLS_BEFORE).for_each(|_| (case.call)());
        counted(&mut case.call);
        writeln!(stdout(), "{} {}", CALLS * case.notifications, case.name)?;
    }
    Ok(())
}

/// The processor as it shows itself here: hashes, ciphers and searches choose their instructions by it.
fn processor() -> String {
    [std::env::consts::ARCH]
        .into_iter()
        .chain(abilities())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(target_arch = "x86_64")]
fn abilities() -> Vec<&'static str> {
    let known = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    let there = known.into_iter().filter(|(_, there)| *there);
    there.map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn abilities() -> Vec<&'static str> {
    Vec::new()
}

/// Where callgrind begins, and ends. It finds it by its name.
#[inline(never)]
fn counted(call: &mut dyn FnMut()) {
    (0..CALLS).for_each(|_| call());
}
