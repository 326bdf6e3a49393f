//! Questions to the database, so many at a time: accepting notifications must not wait behind those who look at them.
//!
//! Who asks has to find one of these places before a connection. Some connections are left to the writers of
//! [`accept`](crate::accept); and questions that may take long (lists, figures, files) get half of the places at most. A
//! line that is full is told at once.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;

/// Connections that are not for questions: the writers', and one for what goes on beside.
const CONNECTIONS_KEPT: u32 = 4;
/// Who may wait for a place: some tenths of a second of the database's work.
const WAITING_MAX: usize = 256;
/// How long a place is waited for: as long as for a connection.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a question is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// About one thing, by its key.
    Short,
    /// About many things.
    Long,
}

/// Who is asking.
#[derive(Debug)]
pub struct Turns {
    all: Line,
    long: Line,
}

#[derive(Debug)]
struct Line {
    places: Semaphore,
    waiting: Semaphore,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _places: [Option<SemaphorePermit<'a>>; 2],
}

impl Turns {
    /// With so many connections to the database.
    #[must_use]
    pub fn new(connections: u32) -> Self {
        let all = connections.saturating_sub(CONNECTIONS_KEPT).max(1);
        Self {
            all: Line::new(all),
            long: Line::new((all / 2).max(1)),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] at once when too many wait; [`ApiError::DatabaseUnavailable`] when it takes too long.
    pub async fn turn(&self, question: Question) -> Result<Turn<'_>, ApiError> {
        let taking = async {
            let long = match question {
                Question::Long => Some(self.long.place().await?),
                Question::Short => None,
            };
            let place = self.all.place().await?;
            Ok(Turn {
                _places: [long, Some(place)],
            })
        };
        let none = || ApiError::DatabaseUnavailable("no question was answered in time".to_owned());
        tokio::time::timeout(WAIT_MAX, taking)
            .await
            .unwrap_or_else(|_| Err(none()))
    }
}

impl Turns {
    /// A place, if one is free at once.
    #[must_use]
    pub fn try_turn(&self, question: Question) -> Option<Turn<'_>> {
        let long = match question {
            Question::Long => Some(self.long.places.try_acquire().ok()?),
            Question::Short => None,
        };
        let place = self.all.places.try_acquire().ok()?;
        Some(Turn {
            _places: [long, Some(place)],
        })
    }
}

impl Line {
    fn new(places: u32) -> Self {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        Self {
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| ApiError::Overloaded)?;
        self.places
            .acquire()
            .await
            .map_err(|_| ApiError::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_questions_leave_room_for_short_ones() {
        let turns = Turns::new(10);
        let mut long = Vec::new();
        for _ in 0..3 {
            long.push(turns.turn(Question::Long).await.unwrap());
        }
        let refused = turns.turn(Question::Long).await.unwrap_err();
        assert!(matches!(refused, ApiError::DatabaseUnavailable(_)));
        let mut short = Vec::new();
        for _ in 0..3 {
            short.push(turns.turn(Question::Short).await.unwrap());
        }
        let refused = turns.turn(Question::Short).await.unwrap_err();
        assert!(matches!(refused, ApiError::DatabaseUnavailable(_)));
        long.clear();
        assert!(turns.turn(Question::Short).await.is_ok());
    }

    #[test]
    fn who_can_do_without_waits_for_no_place() {
        let turns = Turns::new(10);
        let long: Vec<_> = (0..3)
            .map_while(|_| turns.try_turn(Question::Long))
            .collect();
        assert_eq!(long.len(), 3);
        assert!(turns.try_turn(Question::Long).is_none());
        let short: Vec<_> = (0..3)
            .map_while(|_| turns.try_turn(Question::Short))
            .collect();
        assert_eq!(short.len(), 3);
        assert!(turns.try_turn(Question::Short).is_none());
        drop(long);
        assert!(turns.try_turn(Question::Long).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_too_many_waiting_is_told_at_once() {
        let turns = Turns::new(1);
        let _taken = turns.turn(Question::Short).await.unwrap();
        let started = tokio::time::Instant::now();
        let ask = |_| async {
            let refused = turns.turn(Question::Short).await.unwrap_err();
            (refused, started.elapsed())
        };
        let mut told = futures::future::join_all((0..=WAITING_MAX).map(ask)).await;
        assert_eq!(told.pop(), Some((ApiError::Overloaded, Duration::ZERO)));
        for (refused, after) in told {
            assert!(matches!(refused, ApiError::DatabaseUnavailable(_)));
            assert_eq!(after, WAIT_MAX);
        }
    }
}
