//! A connection's patience: how long its peer may take to say what it wants, and to take what it is told.
//!
//! The library has no limit before it knows which HTTP it is, one for idling and the head together after that, and none
//! for a peer that does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a connection may say nothing between two requests, and before its first one.
pub const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long the head of a request may take from its first byte on.
pub const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a peer may take to take [`TAKEN_MIN`].
pub const STALL_MAX: Duration = Duration::from_secs(60);
/// Less is no progress: a peer that takes single bytes would keep an answer for hours.
pub const TAKEN_MIN: usize = 16 * 1024;

/// What the peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing, since the last answer or from the start.
    Idle,
    /// It has begun to say what it wants.
    Asking,
    /// It has said so, and is sending the rest or being answered.
    Served,
    /// It speaks HTTP/2, whose connections are asked whether they live.
    Multiplexing,
}

/// What the peer is doing, as its stream and its requests see it.
#[derive(Clone, Debug, Default)]
pub struct Talk(Arc<AtomicU8>);

impl Talk {
    const ALL: [Doing; 4] = [
        Doing::Idle,
        Doing::Asking,
        Doing::Served,
        Doing::Multiplexing,
    ];

    fn doing(&self) -> Doing {
        let index = usize::from(self.0.load(Ordering::Relaxed));
        Self::ALL.get(index).copied().unwrap_or(Doing::Idle)
    }

    fn set(&self, doing: Doing) {
        self.0.store(doing as u8, Ordering::Relaxed);
    }

    /// How to speak has been agreed: what is to be said may take its time again.
    pub fn agreed(&self) {
        self.set(Doing::Idle);
    }

    /// A request's head has come.
    pub fn asked(&self, version: Version) {
        self.set(if version == Version::HTTP_2 {
            Doing::Multiplexing
        } else {
            Doing::Served
        });
    }

    /// The answer's body, after which the peer is idle.
    pub fn answer(&self, body: Body) -> Body {
        Body::new(Answer {
            body,
            talk: self.clone(),
        })
    }
}

/// The body of an answer.
struct Answer {
    body: Body,
    talk: Talk,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.talk.doing() == Doing::Served {
            self.talk.set(Doing::Idle);
        }
    }
}

/// A stream that ends when its peer takes too long.
pub struct Patient<S> {
    stream: S,
    talk: Talk,
    /// The patience with what is being said: whose it is, and when it ends.
    listening: Doing,
    until: Pin<Box<Sleep>>,
    /// When the patience with a peer that does not read ends.
    stalled: Option<Pin<Box<Sleep>>>,
    taken: usize,
}

impl<S> Patient<S> {
    /// A connection that has just come.
    pub fn new(stream: S, talk: Talk) -> Self {
        Self {
            stream,
            talk,
            listening: Doing::Idle,
            until: Box::pin(tokio::time::sleep(IDLE_MAX)),
            stalled: None,
            taken: 0,
        }
    }

    /// Fails when the peer has been taking too long to say what it wants.
    fn check_patience(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let doing = self.talk.doing();
        if doing != self.listening {
            self.listening = doing;
            let patience = if doing == Doing::Asking {
                HEAD_MAX
            } else {
                IDLE_MAX
            };
            self.until.as_mut().reset(Instant::now() + patience);
        }
        let limited = matches!(doing, Doing::Idle | Doing::Asking);
        if limited && self.until.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// What a write comes to, unless the peer has not taken anything for too long.
    fn progress(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                let stalled = self
                    .stalled
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_MAX)));
                ready!(stalled.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                if self.taken >= TAKEN_MIN {
                    self.all_taken();
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn all_taken(&mut self) {
        self.stalled = None;
        self.taken = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_patience(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before && self.talk.doing() == Doing::Idle {
            self.talk.set(Doing::Asking);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress(context, written)
    }

    /// The library flushes when it has handed over all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.all_taken();
        Poll::Ready(Ok(()))
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
        self.progress(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Writes an answer to a peer that takes so many bytes every twenty seconds. Says how that ended, and when.
    async fn to_one_who_takes(bytes: usize) -> (io::Result<()>, u64) {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        let started = Instant::now();
        let mut stream = Patient::new(ours, Talk::default());
        let written = stream.write_all(&[b'x'; 8 * TAKEN_MIN]).await;
        (written, started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_an_answer_slowly_gets_it_and_who_takes_crumbs_does_not() {
        let (written, after) = to_one_who_takes(TAKEN_MIN).await;
        written.unwrap();
        assert!(after > 2 * STALL_MAX.as_secs(), "{after}");
        let (written, after) = to_one_who_takes(1_000).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(after, 60);
    }
}
