//! Where there is no connection yet, one request goes first and opens it for all.
//!
//! hyper-util keeps requests from opening a connection each only where HTTP/2 is a foregone
//! conclusion. Where TLS negotiates it, a hundred requests on a fresh client would be a hundred
//! handshakes, of which one connection stays.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::http::CONNECT_TIMEOUT;
use crate::transport::{Connection, Failure};

/// A connection that was silent for so long may be gone: reqwest gives one up after 90 s, and a
/// server may before.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Who opens a client's connection.
#[derive(Debug, Default)]
pub(crate) struct First {
    state: Mutex<State>,
    /// Held by the one that goes first.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
enum State {
    /// There is no connection.
    #[default]
    Closed,
    /// The last one who tried got none.
    Failed { at: Instant, failure: Failure },
    /// It answered.
    Open { at: Instant },
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open { at } if at.elapsed() < SILENT_MAX)
    }
}

impl First {
    /// Waits for whoever goes first, but not for ever: after the time that a connection may take it
    /// is there, and what takes so long is the answer. Whoever gives up waiting, or going first,
    /// leaves it to the next.
    ///
    /// # Errors
    /// How it failed for the one that went first while this one waited.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        let goes = |opening| Turn {
            first: self,
            _opening: opening,
        };
        if self.state().is_open() {
            return Ok(goes(None));
        }
        let since = Instant::now();
        let Ok(opening) = timeout(CONNECT_TIMEOUT, self.opening.lock()).await else {
            return Ok(goes(None));
        };
        match &*self.state() {
            State::Failed { at, failure } if *at >= since => Err(failure.clone()),
            state if state.is_open() => Ok(goes(None)),
            State::Closed | State::Failed { .. } | State::Open { .. } => Ok(goes(Some(opening))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to send one request now.
pub(crate) struct Turn<'a> {
    first: &'a First,
    _opening: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Turn<'_> {
    /// Tells how it went.
    pub(crate) fn ended<T>(self, result: &Result<T, Failure>) {
        let at = Instant::now();
        let state = match result {
            Ok(_) => State::Open { at },
            Err(failure) => match failure.connection {
                Connection::Failed => State::Failed {
                    at,
                    failure: failure.clone(),
                },
                Connection::Lost => State::Closed,
                Connection::Kept => return,
            },
        };
        *self.first.state() = state;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn no_connection() -> Failure {
        Failure {
            connection: Connection::Failed,
            ..Failure::not_sent("connect_failed", "No connection could be established.")
        }
    }

    fn lost() -> Failure {
        Failure {
            connection: Connection::Lost,
            ..Failure::maybe_sent("connection_lost", "The connection broke.")
        }
    }

    fn may_go(first: &First) -> bool {
        first.turn().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn one_goes_first_and_the_others_follow_its_answer() {
        let first = First::default();
        let turn = first.turn().await.unwrap();
        assert!(!may_go(&first));
        turn.ended(&Ok(()));
        let _many: Vec<_> = join_all((0..100).map(|_| first.turn())).await;
        assert!(may_go(&first), "nobody waits for anybody any more");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_share_its_failure_and_the_next_goes_first() {
        let first = First::default();
        let turn = first.turn().await.unwrap();
        let mut waiting = Box::pin(join_all((0..3).map(|_| first.turn())));
        assert!(waiting.as_mut().now_or_never().is_none());
        turn.ended(&Err::<(), _>(no_connection()));
        assert!(waiting.await.iter().all(Result::is_err));
        tokio::time::advance(Duration::from_millis(1)).await;
        let _turn = first.turn().await.unwrap();
        assert!(!may_go(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_leaves_it_to_the_next() {
        let first = First::default();
        let turn = first.turn().await.unwrap();
        let mut second = Box::pin(first.turn());
        assert!(second.as_mut().now_or_never().is_none());
        drop(turn);
        let _turn = second.await.unwrap();
        assert!(!may_go(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_connection_may_take() {
        let first = First::default();
        let _never_ends = first.turn().await.unwrap();
        let before = Instant::now();
        assert!(first.turn().await.is_ok());
        assert_eq!(before.elapsed(), CONNECT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_lost_or_was_silent_for_long_is_opened_by_one() {
        let first = First::default();
        first.turn().await.unwrap().ended(&Ok(()));
        first.turn().await.unwrap().ended(&Err::<(), _>(lost()));
        let turn = first.turn().await.unwrap();
        assert!(!may_go(&first));
        turn.ended(&Ok(()));
        tokio::time::advance(SILENT_MAX).await;
        let _turn = first.turn().await.unwrap();
        assert!(!may_go(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_says_nothing_about_the_connection() {
        let first = First::default();
        first.turn().await.unwrap().ended(&Ok(()));
        let late = Failure::maybe_sent("timeout", "No answer came in time.");
        first.turn().await.unwrap().ended(&Err::<(), _>(late));
        let _one = first.turn().await.unwrap();
        assert!(may_go(&first));
    }
}
