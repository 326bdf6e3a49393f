//! Accepting: from the commit on a notification is never lost (P1).
//!
//! Many requests share a transaction: handlers put their notification into a bounded channel, and a
//! few writers take what waits there, without waiting for more. A lone request is written at once; under load
//! the batches grow by themselves. A full channel refuses at once instead of piling up.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::notification::Notification;
use push_store::{Acceptance, KeptAnswer, Keyed, Store, StoreError, ToAccept, UnknownCustomer};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::database::in_time;
use crate::error::ApiError;
use crate::metrics;
use crate::publish::Publisher;

/// Notifications that may wait for a writer: about a tenth of a second of the database's work.
const WAITING_MAX: usize = 1_024;
/// Notifications of one transaction: beyond some hundred a larger one gains nothing.
const BATCH_MAX: usize = 256;
/// Transactions at a time: one is being committed while the next is filled.
const WRITERS: usize = 2;

/// Writes notifications in batches.
#[derive(Clone, Debug)]
pub struct Acceptor {
    waiting: mpsc::Sender<Waiting>,
}

/// A notification that somebody asks for.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The notification.
    pub notification: Notification,
    /// The key of the request, if its caller gave it one.
    pub keyed: Option<Keyed>,
}

impl<'a> From<&'a Submission> for ToAccept<'a> {
    fn from(submission: &'a Submission) -> Self {
        Self {
            notification: &submission.notification,
            keyed: submission.keyed.as_ref(),
        }
    }
}

/// What became of a [`Submission`].
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The notification is committed.
    Now,
    /// The request came before, and was answered so. The notification is not, and never will be.
    Before(KeptAnswer),
}

/// A notification on its way into the database, and who wants to know.
#[derive(Debug)]
struct Waiting {
    submission: Submission,
    answer: oneshot::Sender<Result<Acceptance, StoreError>>,
}

impl Acceptor {
    /// Starts the writers. They end, all work done, when the last clone is dropped. A notification
    /// that is still pending and had no round `due_after` its acceptance was hardly published: then
    /// the reconciler looks at it. Where a commit's answer is lost, `publisher` sees to what was committed.
    #[must_use]
    pub fn start(
        store: Store,
        unknown: UnknownCustomer,
        due_after: Duration,
        publisher: Publisher,
        tasks: &TaskTracker,
    ) -> Self {
        Self::with_writers(tasks, move |batch| {
            let (store, publisher) = (store.clone(), publisher.clone());
            let due_at = newest(&batch) + due_after;
            async move {
                let written = in_time(store.accept(&batch, unknown, due_at)).await;
                if written
                    .as_ref()
                    .is_err_and(StoreError::leaves_commit_unknown)
                {
                    publisher
                        .unpublished_if_committed(batch.iter().map(|asked| asked.notification.id));
                }
                written
            }
        })
    }

    fn with_writers<W, F>(tasks: &TaskTracker, write: W) -> Self
    where
        W: Fn(Arc<[Submission]>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Acceptance>, StoreError>> + Send + 'static,
    {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..WRITERS {
            tasks.spawn(write_batches(Arc::clone(&queue), write.clone()));
        }
        Self { waiting }
    }

    /// Commits a notification, or tells how it was answered before. Once called, it is committed even if the caller does not wait.
    ///
    /// # Errors
    /// [`ApiError::UnknownCustomer`], [`ApiError::IdempotencyKeyReused`], [`ApiError::Overloaded`] at once when too many wait, or what the
    /// database says. Unless the connection broke during the commit, nothing was stored then.
    pub async fn accept(&self, submission: Submission) -> Result<Accepted, ApiError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { submission, answer };
        self.waiting
            .try_send(waiting)
            .map_err(|_| ApiError::Overloaded)?;
        let lost = |_| ApiError::Internal("a batch writer ended without an answer".to_owned());
        match answered.await.map_err(lost)?? {
            Acceptance::Accepted => Ok(Accepted::Now),
            Acceptance::Before(answer) => Ok(Accepted::Before(answer)),
            Acceptance::KeyReused => Err(ApiError::IdempotencyKeyReused),
            Acceptance::UnknownCustomer => Err(ApiError::UnknownCustomer),
        }
    }
}

fn newest(batch: &[Submission]) -> DateTime<Utc> {
    let newest = batch
        .iter()
        .map(|submission| submission.notification.created_at)
        .max();
    newest.unwrap_or_default()
}

async fn write_batches<W, F>(queue: Arc<Mutex<mpsc::Receiver<Waiting>>>, write: W)
where
    W: Fn(Arc<[Submission]>) -> F,
    F: Future<Output = Result<Vec<Acceptance>, StoreError>>,
{
    loop {
        let mut batch = Vec::new();
        let taken = queue.lock().await.recv_many(&mut batch, BATCH_MAX).await;
        if taken == 0 {
            return;
        }
        write_batch(batch, &write).await;
    }
}

async fn write_batch<W, F>(batch: Vec<Waiting>, write: &W)
where
    W: Fn(Arc<[Submission]>) -> F,
    F: Future<Output = Result<Vec<Acceptance>, StoreError>>,
{
    let (submissions, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.submission, waiting.answer))
        .unzip();
    let submissions: Arc<[Submission]> = submissions.into();
    let results = match write(Arc::clone(&submissions)).await {
        // One that the database does not take, or that waits for another's lock, must not take the others with it.
        Err(error) if (!error.is_unavailable() || error.is_locked()) && submissions.len() > 1 => {
            let mut results = Vec::with_capacity(submissions.len());
            for submission in submissions.iter() {
                let alone = write(Arc::new([submission.clone()])).await;
                results.push(alone.and_then(|answers| each(answers, 1).remove(0)));
            }
            results
        }
        Err(error) => vec![Err(error); submissions.len()],
        Ok(answers) => each(answers, submissions.len()),
    };
    measure(&results);
    for (answer, result) in answers.into_iter().zip(results) {
        // Whoever asked may be gone; the notification is committed all the same.
        drop(answer.send(result));
    }
}

fn measure(results: &[Result<Acceptance, StoreError>]) {
    let count = |wanted: fn(&Acceptance) -> bool| {
        let answers = results.iter().filter_map(|result| result.as_ref().ok());
        answers.filter(|answer| wanted(answer)).count()
    };
    let accepted = count(|answer| matches!(answer, Acceptance::Accepted));
    if accepted > 0 {
        metrics::accepted(accepted);
    }
    metrics::replayed(count(|answer| matches!(answer, Acceptance::Before(_))));
}

/// An answer for each of `expected` submissions.
fn each(answers: Vec<Acceptance>, expected: usize) -> Vec<Result<Acceptance, StoreError>> {
    if answers.len() == expected {
        answers.into_iter().map(Ok).collect()
    } else {
        vec![Err(StoreError::Unusable("the store answered for another batch")); expected]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use push_core::id::{CustomerId, NotificationId};
    use push_core::notification::{Body, Content, Data, NotificationType, Priority, Title, Ttl};
    use push_store::Unavailable;
    use tokio::sync::Semaphore;

    use super::*;

    fn submission(customer: i64) -> Submission {
        let created_at = DateTime::UNIX_EPOCH;
        let notification = Notification {
            id: NotificationId::generate(),
            customer: CustomerId::try_from(customer).unwrap(),
            kind: NotificationType::service_update(),
            content: Content {
                title: Title::parse("t").unwrap(),
                body: Body::parse("b").unwrap(),
                data: Data::default(),
                image_url: None,
            },
            priority: Priority::High,
            collapse_key: None,
            created_at,
            expires_at: created_at + Ttl::DEFAULT.as_duration(),
        };
        Submission {
            notification,
            keyed: None,
        }
    }

    /// Customer 1 is known, 2 is not, 3 makes the database refuse its statement, 4 makes it go away, 5 is locked by
    /// somebody.
    fn judge(batch: &[Submission]) -> Result<Vec<Acceptance>, StoreError> {
        let answer = |submission: &Submission| match submission.notification.customer.get() {
            1 => Ok(Acceptance::Accepted),
            2 => Ok(Acceptance::UnknownCustomer),
            3 => Err(StoreError::Unusable("odd")),
            5 => Err(LOCKED),
            _ => Err(StoreError::Unavailable(Unavailable::TimedOut)),
        };
        batch.iter().map(answer).collect()
    }

    const LOCKED: StoreError = StoreError::Unavailable(Unavailable::Locked);

    /// A database that writes one batch for each permit, and remembers their sizes.
    fn paced() -> (
        Acceptor,
        Arc<Semaphore>,
        Arc<StdMutex<Vec<usize>>>,
        TaskTracker,
    ) {
        let (permits, sizes) = (
            Arc::new(Semaphore::new(0)),
            Arc::new(StdMutex::new(Vec::new())),
        );
        let tasks = TaskTracker::new();
        let (gate, seen) = (Arc::clone(&permits), Arc::clone(&sizes));
        let acceptor = Acceptor::with_writers(&tasks, move |batch| {
            let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
            async move {
                gate.acquire().await.unwrap().forget();
                seen.lock().unwrap().push(batch.len());
                judge(&batch)
            }
        });
        (acceptor, permits, sizes, tasks)
    }

    async fn settle_tasks() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_waits_shares_a_transaction_and_each_gets_its_own_answer() {
        let (acceptor, permits, sizes, _tasks) = paced();
        let one = |customer| {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(submission(customer)).await })
        };
        let mut first = Vec::new();
        for _ in 0..WRITERS {
            first.push(one(1));
            settle_tasks().await;
        }
        let (known, unknown) = (one(1), one(2));
        settle_tasks().await;
        permits.add_permits(100);
        for lone in first {
            assert_eq!(lone.await.unwrap(), Ok(Accepted::Now));
        }
        assert_eq!(known.await.unwrap(), Ok(Accepted::Now));
        assert_eq!(unknown.await.unwrap(), Err(ApiError::UnknownCustomer));
        let mut sizes = sizes.lock().unwrap().clone();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 1, 2]);
    }

    #[tokio::test]
    async fn one_that_the_database_refuses_or_somebody_locks_does_not_take_the_others_with_it() {
        for (odd, error) in [(3, StoreError::Unusable("odd")), (5, LOCKED)] {
            let (waiting, answers): (Vec<_>, Vec<_>) = [1, odd, 1]
                .map(|customer| {
                    let (answer, answered) = oneshot::channel();
                    let submission = submission(customer);
                    (Waiting { submission, answer }, answered)
                })
                .into_iter()
                .unzip();
            write_batch(
                waiting,
                &|batch: Arc<[Submission]>| async move { judge(&batch) },
            )
            .await;
            let mut got = Vec::new();
            for answered in answers {
                got.push(answered.await.unwrap());
            }
            assert_eq!(
                got,
                [
                    Ok(Acceptance::Accepted),
                    Err(error),
                    Ok(Acceptance::Accepted)
                ]
            );
        }
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_asked_once_a_batch() {
        let (acceptor, permits, sizes, _tasks) = paced();
        permits.add_permits(1);
        let told = acceptor.accept(submission(4)).await.unwrap_err();
        assert_eq!(told.code(), crate::error::Code::DatabaseUnavailable);
        assert_eq!(*sizes.lock().unwrap(), [1]);
    }

    #[tokio::test]
    async fn a_full_channel_refuses_at_once_and_nothing_that_waited_is_lost() {
        let (acceptor, permits, sizes, tasks) = paced();
        let room = WAITING_MAX + WRITERS * BATCH_MAX;
        let mut accepting = tokio::task::JoinSet::new();
        for _ in 0..room + 100 {
            let acceptor = acceptor.clone();
            accepting.spawn(async move { acceptor.accept(submission(1)).await });
            tokio::task::yield_now().await;
        }
        settle_tasks().await;
        let told = acceptor.accept(submission(1)).await.unwrap_err();
        assert_eq!(told, ApiError::Overloaded);
        permits.add_permits(room);
        let results = accepting.join_all().await;
        let accepted = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(accepted, sizes.lock().unwrap().iter().sum::<usize>());
        assert!(
            accepted >= WAITING_MAX && accepted < results.len(),
            "{accepted}"
        );
        assert!(sizes.lock().unwrap().iter().all(|size| *size <= BATCH_MAX));
        drop(acceptor);
        tasks.close();
        tasks.wait().await;
    }
}
