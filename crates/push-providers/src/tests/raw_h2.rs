//! A server that speaks HTTP/2 by hand, to refuse as no server library would (RFC 9113, section 6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a request meets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// RST_STREAM with REFUSED_STREAM: not looked at.
    RefuseStream,
    /// GOAWAY with NO_ERROR and no stream processed, then the end of the connection.
    GoAway,
    /// The same, but this stream may have been looked at.
    GoAwayAfter,
    /// RST_STREAM with INTERNAL_ERROR: may have been looked at.
    BreakStream,
    /// The end of the connection, without a word.
    Hangup,
    /// 200 with this body.
    Answer(&'static str),
    /// The same again and again, for as long as the client takes it.
    Flood(Flood),
}

/// What is poured in instead of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flood {
    /// A head without an end, in pieces of nothing.
    Continuations,
    /// The same in large pieces.
    LargeContinuations,
    /// A body without an end, in pieces of nothing.
    EmptyData,
    Pings,
    Settings,
    /// WINDOW_UPDATE.
    Room,
    /// 103, which promises an answer.
    Interim,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A server for one test.
pub(crate) struct Server {
    pub(crate) url: String,
    /// How many requests came.
    pub(crate) requests: Arc<AtomicUsize>,
    /// How many bytes of floods were taken, by a client or on the way to it.
    pub(crate) flooded: Arc<AtomicUsize>,
}

/// Gives each request its turn, across connections; the last turn is everyone's from then on.
pub(crate) async fn start(turns: &'static [Turn]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server {
        url,
        requests: Arc::default(),
        flooded: Arc::default(),
    };
    let (requests, flooded) = (Arc::clone(&server.requests), Arc::clone(&server.flooded));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (requests, flooded) = (Arc::clone(&requests), Arc::clone(&flooded));
            tokio::spawn(async move { serve(stream, turns, &requests, &flooded).await });
        }
    });
    server
}

async fn serve(
    mut stream: TcpStream,
    turns: &[Turn],
    requests: &AtomicUsize,
    flooded: &AtomicUsize,
) -> Option<()> {
    stream.read_exact(&mut [0; 24]).await.ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    loop {
        let (kind, flags, id) = skip_frame(&mut stream).await?;
        if kind == SETTINGS && flags & 1 == 0 {
            stream.write_all(&frame(SETTINGS, 1, 0, &[])).await.ok()?;
        }
        if kind == HEADERS {
            let turn = requests.fetch_add(1, SeqCst).min(turns.len() - 1);
            if let Turn::Flood(flood) = turns[turn] {
                return pour(stream, flood, id, flooded).await;
            }
            stream.write_all(&reply(turns[turn], id)?).await.ok()?;
            if matches!(turns[turn], Turn::GoAway | Turn::GoAwayAfter) {
                stream.shutdown().await.ok()?;
                return None;
            }
        }
    }
}

/// Until the client has enough. What it says meanwhile is taken in.
async fn pour(stream: TcpStream, flood: Flood, id: u32, flooded: &AtomicUsize) -> Option<()> {
    let (mut from, mut to) = stream.into_split();
    tokio::spawn(async move { while matches!(from.read(&mut [0; 4096]).await, Ok(1..)) {} });
    let (first, again) = words(flood, id);
    to.write_all(&first).await.ok()?;
    let again = again.repeat(100);
    loop {
        to.write_all(&again).await.ok()?;
        flooded.fetch_add(again.len(), SeqCst);
    }
}

/// The beginning of a flood, and what goes on and on.
fn words(flood: Flood, id: u32) -> (Vec<u8>, Vec<u8>) {
    // 0x90 is `accept-encoding: gzip, deflate` in the static table of HPACK.
    let large = [0x90; 16_000];
    match flood {
        Flood::Continuations => (
            frame(HEADERS, 0, id, &[0x88]),
            frame(CONTINUATION, 0, id, &[]),
        ),
        Flood::LargeContinuations => (
            frame(HEADERS, 0, id, &[0x88]),
            frame(CONTINUATION, 0, id, &large),
        ),
        Flood::EmptyData => (frame(HEADERS, 4, id, &[0x88]), frame(DATA, 0, id, &[])),
        Flood::Pings => (Vec::new(), frame(PING, 0, 0, &[7; 8])),
        Flood::Settings => (Vec::new(), frame(SETTINGS, 0, 0, &[])),
        Flood::Room => (Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        Flood::Interim => (Vec::new(), frame(HEADERS, 4, id, b"\x08\x03103")),
    }
}

/// `None` ends the connection.
fn reply(turn: Turn, id: u32) -> Option<Vec<u8>> {
    Some(match turn {
        Turn::RefuseStream => frame(RST_STREAM, 0, id, &7_u32.to_be_bytes()),
        Turn::BreakStream => frame(RST_STREAM, 0, id, &2_u32.to_be_bytes()),
        Turn::GoAway => frame(GOAWAY, 0, 0, &[0; 8]),
        Turn::GoAwayAfter => {
            let last_and_no_error = [id.to_be_bytes(), [0; 4]].concat();
            frame(GOAWAY, 0, 0, &last_and_no_error)
        }
        Turn::Hangup | Turn::Flood(_) => return None,
        // 0x88 is `:status: 200` in the static table of HPACK.
        Turn::Answer(body) => [
            frame(HEADERS, 4, id, &[0x88]),
            frame(DATA, 1, id, body.as_bytes()),
        ]
        .concat(),
    })
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

async fn skip_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some((
        head[3],
        head[4],
        u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
    ))
}
