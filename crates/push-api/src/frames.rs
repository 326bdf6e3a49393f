//! HTTP/2 as its frames go by: what the library lets a peer do without an end.
//!
//! It bounds heads, streams, refusals and the small pieces of bodies. It answers any number of frames that ask for nothing,
//! begins what is taken back at once as often as it is asked to, and keeps an answer for as long as the peer lives.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::talk::{IDLE_MAX, STALL_MAX, TAKEN_MIN};

/// How a peer begins who speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames that ask for nothing, and requests that are taken back: so many in [`CALM`]. A peer that gives up all its
/// requests after a fifth of a second stays below.
const ASIDES_MAX: u32 = 5_000;
const CALM: Duration = Duration::from_secs(10);
/// What an honest peer may have to say about a piece of an answer: that it has room again, twice, and a ping.
const ASIDES_PER_PIECE: u32 = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// What both sides of a connection have sent each other, as far as it matters.
#[derive(Debug)]
pub struct Frames {
    protocol: Protocol,
    theirs: Heads,
    ours: Heads,
    asides_left: u32,
    calm_since: Instant,
    /// The newest stream.
    newest: u32,
    /// The requests that have not been answered to the end.
    open: BTreeMap<u32, Option<Begun>>,
    /// Since when there has been none.
    quiet_since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// So much of the preface has come.
    Unknown(usize),
    Http1,
    Http2,
}

/// An answer that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// When the peer last had taken enough of it.
    progress: Instant,
    taken: usize,
}

impl Default for Frames {
    /// Of a connection that has just come.
    fn default() -> Self {
        Self {
            protocol: Protocol::Unknown(0),
            theirs: Heads::default(),
            ours: Heads::default(),
            asides_left: ASIDES_MAX,
            calm_since: Instant::now(),
            newest: 0,
            open: BTreeMap::new(),
            quiet_since: Instant::now(),
        }
    }
}

impl Frames {
    /// The peer has sent this.
    ///
    /// # Errors
    /// When it does nothing but talk.
    pub fn came(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.learn_protocol(&mut bytes);
        if self.protocol != Protocol::Http2 {
            return Ok(());
        }
        while let Some(head) = self.theirs.next(&mut bytes) {
            self.asked(head)?;
        }
        Ok(())
    }

    fn learn_protocol(&mut self, bytes: &mut &[u8]) {
        while let Protocol::Unknown(known) = self.protocol {
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            self.protocol = if *byte != PREFACE[known] {
                Protocol::Http1
            } else if known + 1 == PREFACE.len() {
                Protocol::Http2
            } else {
                Protocol::Unknown(known + 1)
            };
            *bytes = rest;
        }
    }

    fn asked(&mut self, head: Head) -> io::Result<()> {
        if head.kind == HEADERS && head.stream > self.newest {
            self.newest = head.stream;
            self.open.insert(head.stream, None);
        }
        if head.kind == RST_STREAM {
            self.ended(head.stream);
        }
        if matches!(head.kind, DATA | HEADERS | CONTINUATION) {
            return Ok(());
        }
        if self.calm_since.elapsed() >= CALM {
            self.calm_since = Instant::now();
            self.asides_left = ASIDES_MAX;
        }
        let left = self.asides_left.checked_sub(1);
        self.asides_left = left.ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(())
    }

    /// We have sent this.
    pub fn went(&mut self, mut bytes: &[u8]) {
        if self.protocol != Protocol::Http2 {
            return;
        }
        while let Some(head) = self.ours.next(&mut bytes) {
            self.answered(head);
        }
    }

    fn answered(&mut self, head: Head) {
        if head.kind == RST_STREAM {
            self.ended(head.stream);
        }
        if !matches!(head.kind, DATA | HEADERS) {
            return;
        }
        self.asides_left = (self.asides_left + ASIDES_PER_PIECE).min(ASIDES_MAX);
        if head.flags & END_STREAM != 0 {
            self.ended(head.stream);
        }
        // Not there is what the peer took back while this was on its way.
        if let Some(begun) = self.open.get_mut(&head.stream) {
            let now = Instant::now();
            let begun = begun.get_or_insert(Begun {
                progress: now,
                taken: 0,
            });
            begun.taken += head.length;
            if begun.taken >= TAKEN_MIN {
                *begun = Begun {
                    progress: now,
                    taken: 0,
                };
            }
        }
    }

    /// When the patience ends with a peer that asks for nothing more, or does not take more of an answer that has begun.
    pub fn patience(&self) -> Option<Instant> {
        if self.protocol != Protocol::Http2 {
            return None;
        }
        if self.open.is_empty() {
            return Some(self.quiet_since + IDLE_MAX);
        }
        let begun = self.open.values().flatten();
        begun.map(|begun| begun.progress + STALL_MAX).min()
    }

    fn ended(&mut self, stream: u32) {
        if self.open.remove(&stream).is_some() && self.open.is_empty() {
            self.quiet_since = Instant::now();
        }
    }
}

/// How a frame begins (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the heads in a stream of frames, however it is cut.
#[derive(Debug, Default)]
struct Heads {
    head: [u8; 9],
    /// Of the head.
    known: usize,
    /// Of what follows the last head.
    rest: usize,
}

impl Heads {
    /// The next head that ends in these bytes, which are taken up to there.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            *bytes = &bytes[skipped..];
            let more = (self.head.len() - self.known).min(bytes.len());
            let (new, others) = bytes.split_at(more);
            self.head[self.known..self.known + more].copy_from_slice(new);
            self.known += more;
            *bytes = others;
            if self.known == self.head.len() {
                return Some(self.complete());
            }
        }
        None
    }

    fn complete(&mut self) -> Head {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.known = 0;
        self.rest = length;
        Head {
            length,
            kind,
            flags,
            // The first bit has no meaning.
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }
}

/// A stream that ends when its peer only talks, is silent, or leaves an answer lying.
pub struct Framed<S> {
    stream: S,
    frames: Frames,
    until: Pin<Box<Sleep>>,
}

impl<S> Framed<S> {
    /// A connection that has just come, as its peer means it: within TLS, where there is TLS.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            until: Box::pin(tokio::time::sleep(STALL_MAX)),
        }
    }

    /// Looks at what of these was written.
    fn went(&mut self, slices: &[io::IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(mut left)) = *written else {
            return;
        };
        for slice in slices {
            let went = &slice[..slice.len().min(left)];
            left -= went.len();
            self.frames.went(went);
        }
    }

    /// Fails when the peer has been leaving an answer lying for too long, or asks for nothing any more.
    fn check_patience(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(until) = self.frames.patience() else {
            return Ok(());
        };
        if self.until.deadline() != until {
            self.until.as_mut().reset(until);
        }
        if self.until.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_patience(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.frames.came(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.went(&[io::IoSlice::new(bytes)], &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(self.check_patience(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.went(slices, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.resize(9 + usize::from(length), 0xff);
        frame
    }

    fn spoken(frames: &[Vec<u8>]) -> Frames {
        let mut spoken = Frames::default();
        let bytes = [PREFACE.to_vec(), frames.concat()].concat();
        // Cut as badly as can be.
        for byte in bytes.chunks(1) {
            spoken.came(byte).unwrap();
        }
        spoken
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_from_its_head_to_its_end() {
        let mut frames = spoken(&[frame(HEADERS, 5, 1, 20), frame(HEADERS, 5, 3, 20)]);
        assert_eq!(frames.patience(), None);
        let begun = Instant::now();
        frames.went(&frame(HEADERS, 4, 1, 10));
        tokio::time::advance(CALM).await;
        frames.went(&[frame(HEADERS, 4, 3, 10), frame(DATA, 0, 1, 200)].concat());
        assert_eq!(
            frames.patience(),
            Some(begun + STALL_MAX),
            "that is too little"
        );
        frames.went(&frame(DATA, END_STREAM, 1, 0));
        assert_eq!(frames.patience(), Some(Instant::now() + STALL_MAX));
        tokio::time::advance(CALM).await;
        for _ in 0..=TAKEN_MIN / 200 {
            frames.went(&frame(DATA, 0, 3, 200));
        }
        assert_eq!(frames.patience(), Some(Instant::now() + STALL_MAX));
        frames.came(&frame(RST_STREAM, 0, 3, 4)).unwrap();
        let idle = Some(Instant::now() + IDLE_MAX);
        assert_eq!(frames.patience(), idle);
        // On its way when it was taken back.
        frames.went(&frame(HEADERS, 4, 3, 10));
        assert_eq!(frames.patience(), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn asides_are_counted_and_answers_and_time_make_up_for_them() {
        let mut frames = spoken(&[frame(HEADERS, 5, 1, 20)]);
        let ping = frame(PING, 0, 0, 8);
        for _ in 0..ASIDES_MAX {
            frames.came(&ping).unwrap();
        }
        frames.went(&frame(HEADERS, 5, 1, 1));
        for _ in 0..ASIDES_PER_PIECE {
            frames.came(&ping).unwrap();
        }
        let refused = frames.came(&ping).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        tokio::time::advance(CALM).await;
        frames.came(&ping).unwrap();
    }

    #[tokio::test]
    async fn another_protocol_has_no_frames() {
        let mut frames = Frames::default();
        frames.came(b"PRI * HTTP/1.1\r\n\r\n").unwrap();
        frames.came(&frame(HEADERS, 5, 1, 20)).unwrap();
        frames.went(&frame(HEADERS, 4, 1, 20));
        assert_eq!(frames.patience(), None);
    }
}
