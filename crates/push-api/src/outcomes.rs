//! Waiting for outcomes (`Prefer: wait`): one task asks the database for everybody who waits, with
//! one statement for all of them.

use std::collections::HashMap;
use std::time::Duration;

use push_core::id::NotificationId;
use push_core::status::Status;
use push_store::{State, Store, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::in_time;

/// Those who may wait at a time: all of them fit into one statement. Others are answered at once
/// with what is known.
const WAITERS_MAX: usize = 1_000;
/// The first question comes so long after the job was published, a bit more than a quick delivery takes.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Later questions come less often, up to this.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// How much longer than its patience a wait may take: the last look comes when that is over.
pub const LAST_LOOK_MAX: Duration = Duration::from_secs(2);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The notification has ended so.
    Ended(State),
    /// It is still pending.
    StillPending,
    /// Too many wait already, so the wish was not granted.
    NotGranted,
}

/// Tells what became of notifications.
#[derive(Debug)]
pub struct Outcomes {
    places: Semaphore,
    arrivals: mpsc::Sender<Waiter>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Waiter {
    id: NotificationId,
    answer: oneshot::Sender<Waited>,
    pause: Duration,
    due: Instant,
    /// When the last look is due.
    patience_ends: Instant,
}

impl Waiter {
    fn due_after(&mut self, pause: Duration) {
        self.pause = pause;
        self.due = self.patience_ends.min(Instant::now() + pause);
    }
}

impl Outcomes {
    /// Starts the asking task. It ends when this is dropped; after `stop` nobody waits any more.
    #[must_use]
    pub fn start(store: Store, stop: CancellationToken, tasks: &TaskTracker) -> Self {
        Self::with_source(stop, tasks, move |ids: Vec<NotificationId>| {
            let store = store.clone();
            async move { in_time(store.states(&ids)).await }
        })
    }

    fn with_source<A, F>(stop: CancellationToken, tasks: &TaskTracker, ask: A) -> Self
    where
        A: Fn(Vec<NotificationId>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<HashMap<NotificationId, State>, StoreError>> + Send + 'static,
    {
        let (arrivals, queue) = mpsc::channel(WAITERS_MAX);
        tasks.spawn(answer_all(queue, ask));
        Self {
            places: Semaphore::new(WAITERS_MAX),
            arrivals,
            stop,
        }
    }

    /// Waits until the notification is no longer pending, `patience` at most; then looks once more.
    pub async fn wait(&self, id: NotificationId, patience: Duration) -> Waited {
        let Ok(_place) = self.places.try_acquire() else {
            return Waited::NotGranted;
        };
        let (answer, answered) = oneshot::channel();
        let patience_ends = Instant::now() + patience;
        let mut waiter = Waiter {
            id,
            answer,
            pause: PAUSE_MIN,
            due: patience_ends,
            patience_ends,
        };
        waiter.due_after(PAUSE_MIN);
        if self.arrivals.try_send(waiter).is_err() {
            return Waited::NotGranted;
        }
        tokio::select! {
            Ok(waited) = answered => waited,
            () = tokio::time::sleep_until(patience_ends + LAST_LOOK_MAX) => Waited::StillPending,
            () = self.stop.cancelled() => Waited::StillPending,
        }
    }
}

async fn answer_all<A, F>(mut arrivals: mpsc::Receiver<Waiter>, ask: A)
where
    A: Fn(Vec<NotificationId>) -> F,
    F: Future<Output = Result<HashMap<NotificationId, State>, StoreError>>,
{
    let mut waiters: Vec<Waiter> = Vec::new();
    loop {
        let due = waiters.iter().map(|waiter| waiter.due).min();
        tokio::select! {
            arrived = arrivals.recv_many(&mut waiters, WAITERS_MAX) => {
                if arrived == 0 {
                    return;
                }
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                waiters = answer_due(waiters, &ask).await;
            }
        }
    }
}

/// Asks for those whose turn it is. Returns who waits on.
async fn answer_due<A, F>(waiters: Vec<Waiter>, ask: &A) -> Vec<Waiter>
where
    A: Fn(Vec<NotificationId>) -> F,
    F: Future<Output = Result<HashMap<NotificationId, State>, StoreError>>,
{
    // Whose turn comes within the shortest pause shares the statement.
    let now = Instant::now();
    let horizon = now + PAUSE_MIN / 2;
    let (due, mut later): (Vec<Waiter>, Vec<Waiter>) = waiters
        .into_iter()
        .filter(|waiter| !waiter.answer.is_closed())
        .partition(|waiter| waiter.due <= horizon);
    if due.is_empty() {
        return later;
    }
    let states = ask(due.iter().map(|waiter| waiter.id).collect()).await;
    let states = states.unwrap_or_else(|error| {
        tracing::debug!(%error, "outcomes cannot be asked for; trying again");
        HashMap::new()
    });
    for mut waiter in due {
        match states.get(&waiter.id) {
            Some(state) if state.status != Status::Pending => {
                // Whoever waited may be gone.
                let _gone = waiter.answer.send(Waited::Ended(*state));
            }
            Some(_) | None if waiter.patience_ends <= now => {
                let _gone = waiter.answer.send(Waited::StillPending);
            }
            Some(_) | None => {
                waiter.due_after((waiter.pause * 3 / 2).min(PAUSE_MAX));
                later.push(waiter);
            }
        }
    }
    later
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use push_core::status::ProviderResult;
    use push_store::Unavailable;

    use super::*;

    const SENT: State = State {
        status: Status::Sent,
        fcm: ProviderResult::Success,
        expo: ProviderResult::NotSent,
        reason: None,
        attempts: 1,
    };
    const PENDING: State = State {
        status: Status::Pending,
        fcm: ProviderResult::Queued,
        expo: ProviderResult::Queued,
        reason: None,
        attempts: 0,
    };

    /// A database that first is away, then answers `pending`, and from the third question on `sent`.
    fn outcomes(stop: &CancellationToken) -> (Outcomes, Arc<Mutex<Vec<usize>>>) {
        let questions = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&questions);
        let outcomes = Outcomes::with_source(stop.clone(), &TaskTracker::new(), move |ids| {
            let mut questions = seen.lock().unwrap();
            questions.push(ids.len());
            let answer = match questions.len() {
                1 => Err(StoreError::Unavailable(Unavailable::TimedOut)),
                2 => Ok(ids.into_iter().map(|id| (id, PENDING)).collect()),
                _ => Ok(ids.into_iter().map(|id| (id, SENT)).collect()),
            };
            async move { answer }
        });
        (outcomes, questions)
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_each_question() {
        let (outcomes, questions) = outcomes(&CancellationToken::new());
        let outcomes = Arc::new(outcomes);
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let outcomes = Arc::clone(&outcomes);
            let patience = Duration::from_secs(30);
            waiting.spawn(async move { outcomes.wait(NotificationId::generate(), patience).await });
        }
        for waited in waiting.join_all().await {
            assert_eq!(waited, Waited::Ended(SENT));
        }
        assert_eq!(*questions.lock().unwrap(), [50, 50, 50]);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_so_does_the_program() {
        let stop = CancellationToken::new();
        let (outcomes, _) = outcomes(&stop);
        let short = outcomes.wait(NotificationId::generate(), PAUSE_MIN).await;
        assert_eq!(short, Waited::StillPending);
        stop.cancel();
        let stopped = outcomes
            .wait(NotificationId::generate(), Duration::from_secs(30))
            .await;
        assert_eq!(stopped, Waited::StillPending);
    }

    /// What ends shortly before the patience does is told, however long the pauses have become.
    #[tokio::test(start_paused = true)]
    async fn the_last_look_comes_when_the_patience_ends() {
        for (settled_after, expected) in [(940, Waited::Ended(SENT)), (1_060, Waited::StillPending)]
        {
            let started = Instant::now();
            let settled = started + Duration::from_millis(settled_after);
            let ask = move |ids: Vec<NotificationId>| async move {
                let state = if Instant::now() >= settled {
                    SENT
                } else {
                    PENDING
                };
                Ok(ids.into_iter().map(|id| (id, state)).collect())
            };
            let outcomes =
                Outcomes::with_source(CancellationToken::new(), &TaskTracker::new(), ask);
            let patience = Duration::from_secs(1);
            let waited = outcomes.wait(NotificationId::generate(), patience).await;
            assert_eq!(waited, expected);
            assert_eq!(started.elapsed().as_secs(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_find_no_place_are_told_so_at_once() {
        let outcomes = Arc::new(Outcomes::with_source(
            CancellationToken::new(),
            &TaskTracker::new(),
            |_| std::future::pending(),
        ));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITERS_MAX {
            let outcomes = Arc::clone(&outcomes);
            let patience = Duration::from_secs(30);
            waiting.spawn(async move { outcomes.wait(NotificationId::generate(), patience).await });
            tokio::task::yield_now().await;
        }
        let id = NotificationId::generate();
        assert_eq!(
            outcomes.wait(id, Duration::from_secs(30)).await,
            Waited::NotGranted
        );
        for waited in waiting.join_all().await {
            assert_eq!(waited, Waited::StillPending);
        }
        assert_eq!(
            outcomes.wait(id, Duration::from_secs(1)).await,
            Waited::StillPending
        );
    }
}
