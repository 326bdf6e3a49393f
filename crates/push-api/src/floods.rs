//! HTTP/2 as an attacker speaks it: frames by hand, on real sockets. Whatever is poured in, the connection ends, and
//! another caller is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, routing};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::limits::address::Proxies;
use crate::listen::serve;
use crate::live::Live;
use crate::talk::{IDLE_MAX, STALL_MAX};
use crate::tls::{Identity, Tls, anyone};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// None that anybody knows.
const UNKNOWN: u8 = 0xfa;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://x/`, from the static table of HPACK.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'x'];
/// The same with `POST`.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];
/// How much of a flood may go out, most of it into the sockets' buffers.
const SENT_MAX: usize = 64 * 1024 * 1024;
/// For the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The streams that a client opens.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

async fn serving(app: Router) -> SocketAddr {
    serving_over(None, app).await
}

async fn serving_over(tls: Option<Tls>, app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(async move { serve(listener, app, 100, Proxies::default(), tls, &stop).await });
    address
}

fn greeting() -> Router {
    let greet = routing::get(async || "hello");
    Router::new().route("/", greet.post(async |body: String| body))
}

async fn is_served(address: SocketAddr) {
    let mut caller = TcpStream::connect(address).await.unwrap();
    let words = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    caller.write_all(words).await.unwrap();
    let mut told = String::new();
    caller.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
}

/// What was seen of a frame.
#[derive(Clone, Debug)]
struct Seen {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// An attacker: what it says, and what it hears.
struct Attacker {
    out: Box<dyn AsyncWrite + Send + Unpin>,
    heard: mpsc::UnboundedReceiver<Seen>,
}

impl Attacker {
    /// Has said what both sides say first, with these settings.
    async fn on(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // Else a second small word waits for the answer to the first, for as long as the network takes.
        stream.set_nodelay(true).unwrap();
        Self::through(stream, settings).await
    }

    async fn through<S>(stream: S, settings: &[u8]) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (from, out) = tokio::io::split(stream);
        let mut out = Box::new(out);
        let first = frame(SETTINGS, 0, 0, settings);
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &first].concat();
        out.write_all(&preface).await.unwrap();
        out.flush().await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(listen(from, tell));
        Self { out, heard }
    }

    /// One that has asked once and was answered: the patience with a first request is not what ends it.
    async fn known_on(address: SocketAddr) -> Self {
        let mut attacker = Self::on(address, &[]).await;
        attacker.out.write_all(&get(1)).await.unwrap();
        attacker.hear(DATA).await;
        attacker
    }

    /// Waits for a frame of this kind.
    async fn hear(&mut self, kind: u8) -> Seen {
        loop {
            let seen = self.heard.recv().await.expect("the connection is alive");
            if seen.kind == kind {
                return seen;
            }
        }
    }

    /// Says the same again and again, until the connection has ended. The reason, if one was told.
    async fn pour(self, words: &[u8]) -> Option<u32> {
        let words = words.repeat(100);
        self.pour_all(std::iter::repeat(words)).await
    }

    async fn pour_all(mut self, words: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
        let pouring = async {
            let mut sent = 0;
            for words in words {
                if self.out.write_all(&words).await.is_err() {
                    break;
                }
                sent += words.len();
                assert!(sent < SENT_MAX, "{sent} bytes, and no end");
            }
            self.reason().await
        };
        let ended = tokio::time::timeout(PATIENCE, pouring).await;
        ended.expect("it ends")
    }

    /// Why the connection has ended, once it has.
    async fn reason(mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(seen) = self.heard.recv().await {
            if seen.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(seen.payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }
}

/// Waits until the connection has ended.
async fn is_over(mut heard: mpsc::UnboundedReceiver<Seen>) {
    while heard.recv().await.is_some() {}
}

/// Tells the frames until the connection has ended.
async fn listen<S: AsyncRead>(
    mut from: ReadHalf<S>,
    tell: mpsc::UnboundedSender<Seen>,
) -> Option<()> {
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        from.read_exact(&mut payload).await.ok()?;
        let seen = Seen {
            kind,
            flags,
            payload,
        };
        tell.send(seen).ok()?;
    }
}

/// The library's "calm down", where it says so at all before it hangs up: what it had not read yet may take that along.
fn is_calm_down(reason: Option<u32>) -> bool {
    matches!(reason, None | Some(0xb))
}

#[tokio::test]
async fn a_head_without_an_end_is_not_collected() {
    let address = serving(greeting()).await;
    for piece in [[0_u8; 0].as_slice(), &[0x40], &[0x90; 16_000]] {
        let mut attacker = Attacker::known_on(address).await;
        let begun = frame(HEADERS, END_STREAM, 3, GET);
        attacker.out.write_all(&begun).await.unwrap();
        attacker.pour(&frame(CONTINUATION, 0, 3, piece)).await;
        is_served(address).await;
    }
}

#[tokio::test]
async fn who_sends_nothing_but_asides_is_not_kept() {
    let address = serving(greeting()).await;
    let much = [0, 4, 0, 0, 0xff, 0xff].repeat(100);
    for (what, words) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("pongs", frame(PING, ACK, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &much)),
        ("no settings", frame(SETTINGS, 0, 0, &[])),
        ("room", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        (
            "room of an answer",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        ("priorities", frame(PRIORITY, 0, 5, &[0; 5])),
        ("what nobody knows", frame(UNKNOWN, 0, 0, &[7; 8])),
    ] {
        let attacker = Attacker::known_on(address).await;
        let reason = attacker.pour(&words).await;
        assert_eq!(reason, None, "{what}: the library would go on");
        is_served(address).await;
    }
}

/// The same within TLS, where it looks like any other bytes from without.
#[tokio::test]
async fn who_sends_nothing_but_asides_over_tls_is_not_kept() {
    let (certificate, key) = crate::tls::tests::pem();
    let identity = Identity::parse(&(certificate + &key)).unwrap();
    let tls = Tls::new(Live::new(identity), None).unwrap();
    let address = serving_over(Some(tls), greeting()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = anyone::speak(stream).await.unwrap();
    let mut attacker = Attacker::through(stream, &[]).await;
    attacker.out.write_all(&get(1)).await.unwrap();
    attacker.hear(DATA).await;
    attacker.pour(&frame(PING, ACK, 0, &[7; 8])).await;
}

/// `GET http://x/slow`.
fn slow(stream: u32) -> Vec<u8> {
    let path = [
        &[0x82, 0x86, 0x04, 5],
        b"/slow".as_slice(),
        &[0x41, 1, b'x'],
    ]
    .concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &path)
}

/// The greeting, and `/slow`, which never answers; how often that has begun.
fn with_slow() -> (Router, Arc<Semaphore>) {
    let begun = Arc::new(Semaphore::new(0));
    let entered = Arc::clone(&begun);
    let handler = routing::any(async move || {
        entered.add_permits(1);
        std::future::pending::<()>().await;
    });
    (greeting().route("/slow", handler), begun)
}

/// CVE-2023-44487, as fast as can be: the library counts those that it had not handed out yet.
#[tokio::test]
async fn who_takes_back_what_was_not_looked_at_is_not_kept() {
    let (app, begun) = with_slow();
    let address = serving(app).await;
    let attacker = Attacker::known_on(address).await;
    let pair = |stream| [slow(stream), reset(stream)].concat();
    let all: Vec<u32> = streams().skip(1).take(500_000).collect();
    let packets = all.chunks(1_000);
    let packets = packets.map(|streams| streams.iter().copied().flat_map(pair).collect());
    assert!(is_calm_down(attacker.pour_all(packets).await));
    assert!(begun.available_permits() < 5_000);
    is_served(address).await;
}

/// The same, when each was begun before it was taken back.
#[tokio::test]
async fn who_takes_back_what_was_begun_is_not_kept() {
    let (app, begun) = with_slow();
    let address = serving(app).await;
    let Attacker { mut out, heard } = Attacker::known_on(address).await;
    let attack = async {
        for stream in streams().skip(1).take(20_000) {
            if out.write_all(&slow(stream)).await.is_err() {
                return;
            }
            begun.acquire().await.unwrap().forget();
            let _ended = out.write_all(&reset(stream)).await;
        }
        panic!("no end");
    };
    tokio::select! {
        () = attack => {}
        () = is_over(heard) => {}
    }
    is_served(address).await;
}

#[tokio::test]
async fn who_asks_for_more_at_a_time_than_is_allowed_is_not_kept() {
    let (app, begun) = with_slow();
    let address = serving(app).await;
    let attacker = Attacker::known_on(address).await;
    let reason = attacker
        .pour_all(streams().skip(1).take(10_000).map(slow))
        .await;
    assert!(is_calm_down(reason), "{reason:?}");
    assert!(begun.available_permits() <= 100);
    is_served(address).await;
}

#[tokio::test]
async fn a_body_of_nothing_without_an_end_is_not_collected() {
    let (app, _begun) = with_slow();
    let address = serving(app).await;
    // Of nothing at all, and of next to nothing that nobody reads.
    for (head, piece) in [
        (POST.to_vec(), b"".as_slice()),
        (slow(3).split_off(9), b"x"),
    ] {
        let mut attacker = Attacker::known_on(address).await;
        let begun = frame(HEADERS, END_HEADERS, 3, &head);
        attacker.out.write_all(&begun).await.unwrap();
        let reason = attacker.pour(&frame(DATA, 0, 3, piece)).await;
        assert!(is_calm_down(reason), "{reason:?}");
        is_served(address).await;
    }
}

/// More than the first window of a stream.
const LARGE: usize = 100_000;

/// A hundred large answers, of which the attacker has only room for `room` bytes each; it lives, and says so.
async fn leaves_lying(room: u32) -> Duration {
    let large = routing::get(async || vec![b'x'; LARGE]);
    let address = serving(greeting().route("/slow", large)).await;
    let settings = [[0, 4].as_slice(), &room.to_be_bytes()].concat();
    let Attacker { mut out, mut heard } = Attacker::on(address, &settings).await;
    let asked = streams().take(100).flat_map(slow).collect::<Vec<u8>>();
    out.write_all(&asked).await.unwrap();
    let started = Instant::now();
    while let Some(seen) = heard.recv().await {
        if seen.kind == PING && seen.flags & ACK == 0 {
            let pong = frame(PING, ACK, 0, &seen.payload);
            let _ended = out.write_all(&pong).await;
        }
    }
    let after = started.elapsed();
    is_served(address).await;
    after
}

/// Time passes in small steps, so that what is on its way arrives before the next thing is due.
fn small_steps() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn who_leaves_answers_lying_is_not_kept() {
    small_steps();
    for room in [0, 1, 60_000] {
        let after = tokio::time::timeout(IDLE_MAX * 3, leaves_lying(room)).await;
        let after = after.unwrap_or_else(|_| panic!("room for {room}, and no end"));
        assert!(after >= STALL_MAX, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_now_and_then_may_stay_and_who_only_lives_may_not() {
    small_steps();
    let address = serving(greeting()).await;
    let mut caller = Attacker::known_on(address).await;
    for stream in [3, 5, 7, 9] {
        let ping = caller.hear(PING).await;
        let pong = frame(PING, ACK, 0, &ping.payload);
        caller.out.write_all(&pong).await.unwrap();
        caller.out.write_all(&get(stream)).await.unwrap();
        assert_eq!(caller.hear(DATA).await.payload, b"hello");
    }
    let asked = Instant::now();
    let Attacker { mut out, mut heard } = caller;
    let living = async {
        while let Some(seen) = heard.recv().await {
            if seen.kind == PING && seen.flags & ACK == 0 {
                let _ended = out.write_all(&frame(PING, ACK, 0, &seen.payload)).await;
            }
        }
    };
    let ended = tokio::time::timeout(IDLE_MAX * 3, living).await;
    ended.expect("who asks for nothing is not kept");
    assert!(asked.elapsed() >= IDLE_MAX, "{:?}", asked.elapsed());
}

/// Who does not even read what comes: neither answers nor pongs pile up.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_at_all_is_not_kept() {
    let large = routing::get(async || vec![b'x'; LARGE]);
    let address = serving(greeting().route("/slow", large)).await;
    let mut caller = TcpStream::connect(address).await.unwrap();
    let room = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let first = frame(SETTINGS, 0, 0, &room);
    let more = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]);
    let asked: Vec<u8> = streams().take(100).flat_map(slow).collect();
    let words = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &first,
        &more,
        &asked,
    ]
    .concat();
    caller.write_all(&words).await.unwrap();
    tokio::time::sleep(STALL_MAX + Duration::from_secs(1)).await;
    let mut told = Vec::new();
    let _reset = caller.read_to_end(&mut told).await;
    assert!(told.len() < 100 * LARGE, "{}", told.len());
    is_served(address).await;
}
