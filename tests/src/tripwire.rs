//! A wire that stops at one exact moment, so that a test can kill the program there.
//!
//! Like a [`Link`](crate::Link) it is a TCP proxy, but it understands just enough of what passes: where a frame begins and
//! ends, and what it is for. When the awaited one comes it holds the wire, with this frame on the near side or just through, and tells
//! the test. Nothing of that is in the programs: they cannot tell it from a slow network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::stack::Stack;
use crate::wait::PATIENCE;

/// What is spoken on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Amqp,
    Mysql,
    Http,
}

/// What a program says or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The broker hands out a message.
    Delivery,
    /// A message is published whose exchange and routing key contain this.
    Publish(&'static str),
    /// The broker confirms what was published.
    Confirm,
    /// A message is acknowledged.
    Acknowledgement,
    /// A statement that contains this is executed.
    Statement(&'static str),
    /// A transaction is committed in which such a statement was executed.
    Commit(&'static str),
    /// A provider is asked.
    Request,
}

/// On which side of it the wire is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It does not get through.
    It,
    /// It got through, and its answer does not. (For what is answered on the same connection: not for AMQP.)
    ItsAnswer,
    /// It got through, and nothing after it.
    WhatFollows,
}

/// Where to stop.
#[derive(Clone, Copy, Debug)]
struct Trap {
    moment: Moment,
    hold: Hold,
    /// How many more of these pass before.
    pass: usize,
}

/// What a frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Delivery,
    Publish(String),
    Confirm,
    Acknowledgement,
    Statement(String),
    Commit(Vec<String>),
    Request,
}

impl Moment {
    fn is(self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Delivery, Seen::Delivery)
            | (Self::Confirm, Seen::Confirm)
            | (Self::Acknowledgement, Seen::Acknowledgement)
            | (Self::Request, Seen::Request) => true,
            (Self::Publish(text), Seen::Publish(to)) => to.contains(text),
            (Self::Statement(text), Seen::Statement(sql)) => sql.contains(text),
            (Self::Commit(text), Seen::Commit(all)) => all.iter().any(|sql| sql.contains(text)),
            (
                Self::Delivery
                | Self::Publish(_)
                | Self::Confirm
                | Self::Acknowledgement
                | Self::Statement(_)
                | Self::Commit(_)
                | Self::Request,
                _,
            ) => false,
        }
    }

    const fn language(self) -> Language {
        match self {
            Self::Delivery | Self::Publish(_) | Self::Confirm | Self::Acknowledgement => {
                Language::Amqp
            }
            Self::Statement(_) | Self::Commit(_) => Language::Mysql,
            Self::Request => Language::Http,
        }
    }
}

/// All connections of one wire.
#[derive(Debug)]
struct Wire {
    language: Language,
    trap: Mutex<Option<Trap>>,
    held: watch::Sender<bool>,
    /// How often all connections were ended.
    cuts: watch::Sender<u64>,
}

/// A TCP proxy on loopback.
#[derive(Debug)]
pub struct Tripwire {
    address: String,
    wire: Arc<Wire>,
    acceptor: JoinHandle<()>,
}

impl Tripwire {
    async fn to(target: &str, language: Language) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let wire = Arc::new(Wire {
            language,
            trap: Mutex::default(),
            held: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&wire));
        let acceptor = tokio::spawn(async move {
            // They end with this task: what is held is never let through.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, target.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            address,
            wire,
            acceptor,
        }
    }

    /// Ends all connections; what is held never arrives. Those to come pass.
    fn cut(&self) {
        *locked(&self.wire.trap) = None;
        self.wire.cuts.send_modify(|cuts| *cuts += 1);
        self.wire.held.send_replace(false);
    }

    async fn sprung(&self) {
        let mut held = self.wire.held.subscribe();
        // The sender lives as long as this.
        drop(held.wait_for(|held| *held).await);
    }
}

impl Drop for Tripwire {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn connect(client: TcpStream, target: String, wire: Arc<Wire>) {
    let mut cuts = wire.cuts.subscribe();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let line = Mutex::new(Line::default());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let pumps = async {
        tokio::join!(
            pump(Side::Client, from_client, to_server, &line, &wire),
            pump(Side::Server, from_server, to_client, &line, &wire),
        );
    };
    tokio::select! {
        () = pumps => {}
        _ = cuts.changed() => {}
    }
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Keep,
    PassAsTheLast,
}

async fn pump(
    side: Side,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    line: &Mutex<Line>,
    wire: &Wire,
) {
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        while let Some(frame) = take_frame(&mut waiting, side, line, wire) {
            if *wire.held.borrow() {
                return std::future::pending().await;
            }
            let verdict = wire.judge(&mut locked(line), side, &frame);
            if verdict != Verdict::Keep && to.write_all(&frame).await.is_err() {
                return;
            }
            if verdict != Verdict::Pass {
                wire.held.send_replace(true);
            }
        }
        match from.read_buf(&mut waiting).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn take_frame(
    waiting: &mut Vec<u8>,
    side: Side,
    line: &Mutex<Line>,
    wire: &Wire,
) -> Option<Vec<u8>> {
    let length = locked(line).frame(wire.language, side, waiting)?;
    let rest = waiting.split_off(length);
    Some(std::mem::replace(waiting, rest))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    fn judge(&self, line: &mut Line, side: Side, frame: &[u8]) -> Verdict {
        if side == Side::Server && line.answer_is_awaited && line.is_answer(self.language, frame) {
            return Verdict::Keep;
        }
        let Some(seen) = line.read(self.language, side, frame) else {
            return Verdict::Pass;
        };
        let mut trap = locked(&self.trap);
        let Some(set) = trap.as_mut().filter(|trap| trap.moment.is(&seen)) else {
            return Verdict::Pass;
        };
        if set.pass > 0 {
            set.pass -= 1;
            return Verdict::Pass;
        }
        let hold = set.hold;
        *trap = None;
        match hold {
            Hold::It => Verdict::Keep,
            Hold::WhatFollows => Verdict::PassAsTheLast,
            Hold::ItsAnswer => {
                line.answer_is_awaited = true;
                Verdict::Pass
            }
        }
    }
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Line {
    answer_is_awaited: bool,
    /// AMQP, HTTP/2: the client has said which protocol it speaks.
    is_greeted: bool,
    /// HTTP: whether it is HTTP/2.
    is_http2: bool,
    /// HTTP/1.1: a request is under way.
    is_asking: bool,
    /// MySQL: the statement that is being prepared, and those that are.
    preparing: Option<String>,
    prepared: HashMap<u32, String>,
    /// MySQL: what has been executed since the transaction began.
    transaction: Vec<String>,
}

const AMQP_GREETING: usize = 8;
const HTTP2_GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Line {
    /// The length of the first frame, when it is there as a whole.
    fn frame(&mut self, language: Language, side: Side, bytes: &[u8]) -> Option<usize> {
        let length = match language {
            Language::Amqp if side == Side::Client && !self.is_greeted => {
                self.is_greeted = bytes.len() >= AMQP_GREETING;
                AMQP_GREETING
            }
            // Kind, channel, size, payload, end.
            Language::Amqp => 7 + number(bytes.get(3..7)?) + 1,
            // Size (the other way round), sequence, payload.
            Language::Mysql => {
                let [low, middle, high] = *bytes.first_chunk()?;
                4 + usize::from(low) + (usize::from(middle) << 8) + (usize::from(high) << 16)
            }
            Language::Http if side == Side::Client && !self.is_greeted => {
                let start = bytes.get(..4)?;
                self.is_http2 = start == &HTTP2_GREETING[..4];
                let length = if self.is_http2 {
                    HTTP2_GREETING.len()
                } else {
                    bytes.len()
                };
                self.is_greeted = bytes.len() >= length;
                length
            }
            // Size, kind, flags, stream, payload.
            Language::Http if self.is_http2 => 9 + number(bytes.get(..3)?),
            Language::Http if bytes.is_empty() => return None,
            Language::Http => bytes.len(),
        };
        (bytes.len() >= length).then_some(length)
    }

    fn read(&mut self, language: Language, side: Side, frame: &[u8]) -> Option<Seen> {
        match (language, side) {
            (Language::Amqp, _) => amqp(side, frame),
            (Language::Mysql, Side::Client) => self.command(frame.get(4..)?, frame[3]),
            (Language::Mysql, Side::Server) => {
                self.prepared(frame.get(4..)?);
                None
            }
            (Language::Http, Side::Client) if self.is_http2 => {
                (!frame.starts_with(b"PRI ") && is_headers(frame)).then_some(Seen::Request)
            }
            (Language::Http, Side::Client) => {
                (!std::mem::replace(&mut self.is_asking, true)).then_some(Seen::Request)
            }
            (Language::Http, Side::Server) => {
                self.is_asking = false;
                None
            }
        }
    }

    fn is_answer(&self, language: Language, frame: &[u8]) -> bool {
        match language {
            Language::Amqp | Language::Mysql => true,
            Language::Http => !self.is_http2 || is_headers(frame),
        }
    }

    fn command(&mut self, payload: &[u8], sequence: u8) -> Option<Seen> {
        const QUERY: u8 = 0x03;
        const PREPARE: u8 = 0x16;
        const EXECUTE: u8 = 0x17;
        let (command, rest) = payload.split_first().filter(|_| sequence == 0)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        match *command {
            QUERY if text() == "COMMIT" => {
                Some(Seen::Commit(std::mem::take(&mut self.transaction)))
            }
            QUERY if text() == "BEGIN" => {
                self.transaction.clear();
                None
            }
            QUERY => Some(self.executed(text())),
            PREPARE => {
                self.preparing = Some(text());
                None
            }
            EXECUTE => {
                let id = u32::from_le_bytes(*rest.first_chunk()?);
                let sql = self.prepared.get(&id)?.clone();
                Some(self.executed(sql))
            }
            _ => None,
        }
    }

    fn executed(&mut self, sql: String) -> Seen {
        self.transaction.push(sql.clone());
        Seen::Statement(sql)
    }

    /// The first answer after a statement was prepared names it.
    fn prepared(&mut self, payload: &[u8]) {
        if let Some(sql) = self.preparing.take()
            && let Some((0, rest)) = payload.split_first()
            && let Some(id) = rest.first_chunk()
        {
            self.prepared.insert(u32::from_le_bytes(*id), sql);
        }
    }
}

fn is_headers(frame: &[u8]) -> bool {
    frame.get(3) == Some(&1)
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn amqp(side: Side, frame: &[u8]) -> Option<Seen> {
    const METHOD: u8 = 1;
    const BASIC: usize = 60;
    let payload = frame.get(7..).filter(|_| frame[0] == METHOD)?;
    let (class, method) = (number(payload.get(..2)?), number(payload.get(2..4)?));
    match (side, class, method) {
        (Side::Client, BASIC, 40) => {
            let exchange = short_text(payload.get(6..)?)?;
            let key = short_text(payload.get(6 + 1 + exchange.len()..)?)?;
            Some(Seen::Publish(format!("{exchange} {key}")))
        }
        (Side::Server, BASIC, 60) => Some(Seen::Delivery),
        (Side::Server, BASIC, 80) => Some(Seen::Confirm),
        (Side::Client, BASIC, 80) => Some(Seen::Acknowledgement),
        _ => None,
    }
}

fn short_text(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first()?;
    Some(String::from_utf8_lossy(rest.get(..usize::from(*length))?).into_owned())
}

/// The wires of one program.
#[derive(Debug)]
pub struct Tripwires {
    database: Tripwire,
    broker: Tripwire,
    fcm: Tripwire,
    expo: Tripwire,
    held: Option<Moment>,
}

impl Tripwires {
    fn all(&self) -> [&Tripwire; 4] {
        [&self.database, &self.broker, &self.fcm, &self.expo]
    }

    /// The next of these, after `pass` others, is where the program comes to a stop.
    pub fn set(&mut self, moment: Moment, hold: Hold, pass: usize) {
        self.held = Some(moment);
        for wire in self.all() {
            if wire.wire.language == moment.language() {
                *locked(&wire.wire.trap) = Some(Trap { moment, hold, pass });
            }
        }
    }

    /// Ends all connections there and then; the program finds its way back over new ones.
    pub fn cut(&mut self) {
        self.held = None;
        self.all().into_iter().for_each(Tripwire::cut);
    }

    /// Waits until the program is there.
    ///
    /// # Panics
    /// When it does not come there.
    pub async fn sprung(&self) {
        let any = async {
            tokio::select! {
                () = self.database.sprung() => {}
                () = self.broker.sprung() => {}
                () = self.fcm.sprung() => {}
                () = self.expo.sprung() => {}
            }
        };
        if timeout(PATIENCE, any).await.is_err() {
            panic!("it never came to {:?}", self.held);
        }
    }
}

impl Stack {
    /// Starts one more worker, which can be stopped at any moment of its work.
    pub async fn start_worker_on_tripwires(&mut self) -> Tripwires {
        let (wires, settings) = self.tripwires(self.worker_settings()).await;
        self.start_worker_with(settings).await;
        wires
    }

    /// Starts one more replica of the API, which can be stopped at any moment of its work.
    pub async fn start_api_on_tripwires(&mut self) -> Tripwires {
        let (wires, settings) = self.tripwires(self.api_settings()).await;
        self.start_api_with(settings).await;
        self.api_outlives_its_wires = true;
        wires
    }

    /// Wires to all servers, and the settings of a program that uses them.
    async fn tripwires(
        &self,
        settings: Vec<(String, String)>,
    ) -> (Tripwires, Vec<(String, String)>) {
        let simulator = self.simulator_address();
        let (database, broker, fcm, expo) = tokio::join!(
            Tripwire::to(self.database.address(), Language::Mysql),
            Tripwire::to(self.broker.address(), Language::Amqp),
            Tripwire::to(simulator, Language::Http),
            Tripwire::to(simulator, Language::Http),
        );
        // In plain, to be read.
        let database_url = self.database.url_through(Some(&database.address));
        let through = [
            ("DATABASE_URL", format!("{database_url}?ssl-mode=DISABLED")),
            ("AMQP_URL", self.broker.url_through(Some(&broker.address))),
            ("FCM_BASE_URL", format!("http://{}", fcm.address)),
            (
                "EXPO_BASE_URL",
                format!("http://{}", expo.address.replace("127.0.0.1", "localhost")),
            ),
        ];
        let replaced = |(name, value): (String, String)| {
            let other = through.iter().find(|(through, _)| *through == name);
            let value = other.map_or(value, |(_, other)| other.clone());
            (name, value)
        };
        let settings = settings.into_iter().map(replaced).collect();
        let wires = Tripwires {
            database,
            broker,
            fcm,
            expo,
            held: None,
        };
        (wires, settings)
    }
}
