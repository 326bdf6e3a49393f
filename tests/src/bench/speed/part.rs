//! Parts of the bench that are processes of their own, so that their CPU is known by itself: the callers, and each raw part
//! of the limit.
//!
//! A part is told what to do as JSON on its standard input, and answers with one line of JSON on its standard output.

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::meter::{Meter, Role, cast_of, spent_json};
use super::{limits, load};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Callers of the API.
    Load,
    /// The least that accepting can be: reads a body, answers.
    Accept,
    /// Publishing, consuming and acknowledging.
    Broker,
    /// Writing the rows.
    Database,
    /// Requests to FCM.
    Fcm,
    /// Requests to Expo.
    Expo,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Load,
        Self::Accept,
        Self::Broker,
        Self::Database,
        Self::Fcm,
        Self::Expo,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Accept => "accept",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::Fcm => "fcm",
            Self::Expo => "expo",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// Is this part, in a process of its own, until it has done what it is told on standard input.
    ///
    /// # Panics
    /// When it cannot do that: who started it says so.
    pub fn be(self) {
        let mut line = String::new();
        let told = std::io::stdin().lock().read_line(&mut line);
        told.expect("what to do on standard input");
        let told = serde_json::from_str(&line).expect("JSON on standard input");
        let mut runtime = match self {
            // The cheapest: no other thread has to be woken.
            Self::Load => tokio::runtime::Builder::new_current_thread(),
            // As a program must be that shall use the whole machine.
            Self::Accept | Self::Broker | Self::Database | Self::Fcm | Self::Expo => {
                tokio::runtime::Builder::new_multi_thread()
            }
        };
        let runtime = runtime.enable_all().build();
        let runtime = runtime.expect("a runtime");
        match self {
            Self::Load => answer(&runtime.block_on(load::run(&told))),
            Self::Accept => runtime.block_on(limits::accept::serve()),
            Self::Broker => answer(&runtime.block_on(limits::broker::run(&told))),
            Self::Database => answer(&runtime.block_on(limits::database::run(&told))),
            Self::Fcm => answer(&runtime.block_on(limits::providers::fcm(&told))),
            Self::Expo => answer(&runtime.block_on(limits::providers::expo(&told))),
        }
    }

    /// Starts it and tells it what to do; its answers follow on its standard output.
    pub(super) async fn start(self, told: &Value) -> Started {
        let me = std::env::current_exe().expect("a path to ourselves");
        let mut child = Command::new(me)
            .args(["part", self.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a part can be started");
        let mut input = child.stdin.take().expect("piped");
        input
            .write_all(format!("{told}\n").as_bytes())
            .await
            .expect("a part reads what it is told");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Started {
            part: self,
            child,
            input,
            output,
        }
    }

    /// Has it done, and gives its answer.
    pub(super) async fn done(self, told: &Value) -> Value {
        let mut started = self.start(told).await;
        let answer = started.answer().await;
        started.end().await;
        answer
    }
}

/// A part that runs.
#[derive(Debug)]
pub(super) struct Started {
    part: Part,
    child: Child,
    input: tokio::process::ChildStdin,
    output: BufReader<tokio::process::ChildStdout>,
}

impl Started {
    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Its next answer.
    pub(super) async fn answer(&mut self) -> Value {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).await;
        let answer = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        answer.unwrap_or_else(|| panic!("the part {} failed: see above", self.part.name()))
    }

    /// Lets it end: it sees the end of its input, if it is still there.
    pub(super) async fn end(mut self) {
        drop(self.input);
        drop(self.child.wait().await);
    }
}

/// The answer of a part, for whoever started it.
pub(super) fn answer(answer: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}").expect("somebody reads the answer");
    out.flush().expect("somebody reads the answer");
}

/// The meter of a part: its own CPU, in the role `own`, and that of the servers that it was told of.
pub(super) fn meter(own: Role, told: &Value) -> Meter {
    let mut cast = cast_of(&told["cast"]);
    cast.push((own, std::process::id()));
    Meter::start(&cast)
}

/// What a part came to.
pub(super) fn measured(meter: Meter, items: usize) -> Value {
    let (elapsed, spent) = meter.stop();
    json!({"items": items, "seconds": elapsed.as_secs_f64(), "spent": spent_json(&spent)})
}
