//! Accepting: from the commit on a notification is never lost (P1).
//!
//! Many requests share a transaction: handlers put what they want accepted into a bounded channel, and a
//! few writers take what waits there, without waiting for more. A lone request is written at once; under load
//! the batches grow by themselves. A full channel refuses at once instead of piling up.
//!
//! A request with many notifications waits in a channel of its own: one of a thousand takes as long as hundreds of
//! single ones, and must not be in their way.
//!
//! The jobs of a transaction are published in one go, while the next one is being committed. Whoever asked is answered when
//! the broker has them, or has taken too long.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::booking::BookingEvent;
use push_core::job::Job;
use push_core::notification::Notification;
use push_core::status::{Reason, Status};
use push_core::trace::TraceContext;
use push_store::{
    Acceptance, Committed, Item, KeptAnswer, Keyed, Store, StoreError, ToAccept, UnknownCustomer,
};
use push_trace::{Span, SpanKind};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::database::in_time;
use crate::error::ApiError;
use crate::limits::policy::Limit;
use crate::metrics::{self, Stage};
use crate::publish::Publisher;

/// Requests with one notification that may wait for a writer: about a tenth of a second of the database's work.
const WAITING_MAX: usize = 1_024;
/// Requests with many that may wait: some seconds of the database's work.
const MANY_WAITING_MAX: usize = 64;
/// A transaction with so many notifications gets no further request: beyond some hundred a larger one gains nothing. So many
/// jobs are published in one portion, and a broker that does not confirm keeps a single request waiting for 2 s, not for 4.
const BATCH_MAX: usize = 200;
/// Transactions at a time: one is being committed while the next is filled.
const WRITERS: usize = 2;
/// The same for requests with many: they leave the database to the single ones.
const MANY_WRITERS: usize = 1;

/// Writes requests in batches.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// With one notification.
    single: mpsc::Sender<Waiting>,
    /// With many.
    many: mpsc::Sender<Waiting>,
}

/// What somebody asks for: all of it is committed together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The notifications in the order in which they are sent: one at least, unless it is about an event.
    pub notifications: Arc<[Notification]>,
    /// What happened to a booking, where it is about that.
    pub event: Option<BookingEvent>,
    /// The key of the request, if its caller gave it one.
    pub keyed: Option<Keyed>,
    /// Who asked for it, and how, for the timeline: words that follow "accepted".
    pub origin: String,
    /// The trace of the request.
    pub trace: TraceContext,
}

impl<'a> From<&'a Submission> for ToAccept<'a> {
    fn from(submission: &'a Submission) -> Self {
        Self {
            notifications: &submission.notifications,
            keyed: submission.keyed.as_ref(),
            origin: &submission.origin,
            event: submission.event.as_ref(),
        }
    }
}

/// What became of a [`Submission`].
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// This became of each of its notifications, in order.
    Now(Vec<Item>),
    /// The request came before, and was answered so. These notifications are not committed, and never will be.
    Before(KeptAnswer),
}

/// A job, and the trace of the request that made it.
type Traced = (Job, TraceContext);

/// Who wants to know, and what came of it.
type Judged = (
    oneshot::Sender<Result<Acceptance, StoreError>>,
    Result<Acceptance, StoreError>,
);

/// A request on its way into the database, and who wants to know.
#[derive(Debug)]
struct Waiting {
    submission: Submission,
    /// From here to the commit.
    span: Span,
    answer: oneshot::Sender<Result<Acceptance, StoreError>>,
}

impl Acceptor {
    /// Starts the writers. They end, all work done, when the last clone is dropped. A notification
    /// that is still pending and had no round `due_after` its acceptance was hardly published: then
    /// the reconciler looks at it. `publisher` publishes the jobs, and where a commit's answer is lost, sees to what
    /// was committed.
    #[must_use]
    pub fn start(
        store: Store,
        unknown: UnknownCustomer,
        due_after: Duration,
        publisher: Publisher,
        tasks: &TaskTracker,
    ) -> Self {
        let telling = tasks.clone();
        let publishing = publisher.clone();
        let commit = move |batch: Arc<[Submission]>| {
            let (store, publisher) = (store.clone(), publisher.clone());
            let telling = telling.clone();
            let due_at = newest(&batch) + due_after;
            async move {
                let written = in_time(store.accept(&batch, unknown, due_at)).await;
                if written
                    .as_ref()
                    .is_err_and(StoreError::leaves_commit_unknown)
                {
                    publisher.unpublished_if_committed(all_of(&batch).map(|asked| asked.id));
                }
                let Committed {
                    acceptances,
                    changed,
                } = written?;
                if !changed.is_empty() {
                    telling.spawn(async move { publisher.tell(&changed).await });
                }
                Ok(acceptances)
            }
        };
        Self::with_writers(tasks, commit, move |jobs| {
            let publisher = publishing.clone();
            async move { publisher.publish(&jobs).await }
        })
    }

    fn with_writers<C, F, P, G>(tasks: &TaskTracker, commit: C, publish: P) -> Self
    where
        C: Fn(Arc<[Submission]>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Acceptance>, StoreError>> + Send + 'static,
        P: Fn(Vec<Traced>) -> G + Clone + Send + Sync + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        let lane = |waiting_max, writers| {
            let (waiting, queue) = mpsc::channel(waiting_max);
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..writers {
                let (commit, publish, tracker) = (commit.clone(), publish.clone(), tasks.clone());
                let publish = move |jobs, asked| {
                    let publishing = publish(jobs);
                    tracker.spawn(async move {
                        publishing.await;
                        answer(asked);
                    });
                };
                tasks.spawn(write_batches(Arc::clone(&queue), commit, publish));
            }
            waiting
        };
        Self {
            single: lane(WAITING_MAX, WRITERS),
            many: lane(MANY_WAITING_MAX, MANY_WRITERS),
        }
    }

    /// Commits a request, or tells how it was answered before. Once called, it is committed and published even if the caller
    /// does not wait.
    ///
    /// # Errors
    /// [`ApiError::IdempotencyKeyReused`], [`ApiError::Overloaded`] at once when too many wait, or what the
    /// database says. Unless the connection broke during the commit, nothing was stored then.
    pub async fn accept(&self, submission: Submission) -> Result<Accepted, ApiError> {
        let (answer, answered) = oneshot::channel();
        let lane = if submission.notifications.len() > 1 {
            &self.many
        } else {
            &self.single
        };
        let waiting = Waiting {
            span: Span::within(submission.trace),
            submission,
            answer,
        };
        lane.try_send(waiting).map_err(|_| ApiError::Overloaded)?;
        let lost = |_| ApiError::Internal("a batch writer ended without an answer".to_owned());
        match answered.await.map_err(lost)?? {
            Acceptance::Now(items) => Ok(Accepted::Now(items)),
            Acceptance::Before(answer) => Ok(Accepted::Before(answer)),
            Acceptance::KeyReused => Err(ApiError::IdempotencyKeyReused),
        }
    }
}

/// All notifications of a batch.
fn all_of(batch: &[Submission]) -> impl Iterator<Item = &Notification> {
    batch
        .iter()
        .flat_map(|submission| submission.notifications.iter())
}

fn newest(batch: &[Submission]) -> DateTime<Utc> {
    let newest = all_of(batch).map(|notification| notification.created_at);
    newest.max().unwrap_or_default()
}

async fn write_batches<C, F, P>(queue: Arc<Mutex<mpsc::Receiver<Waiting>>>, commit: C, publish: P)
where
    C: Fn(Arc<[Submission]>) -> F,
    F: Future<Output = Result<Vec<Acceptance>, StoreError>>,
    P: Fn(Vec<Traced>, Vec<Judged>),
{
    loop {
        let batch = take_batch(&mut *queue.lock().await).await;
        if batch.is_empty() {
            return;
        }
        write_batch(batch, &commit, &publish).await;
    }
}

/// What waits, as far as it goes into one transaction. Empty: nothing comes any more.
async fn take_batch(queue: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut batch = Vec::new();
    let mut notifications = 0;
    let mut next = queue.recv().await;
    while let Some(waiting) = next {
        notifications += waiting.submission.notifications.len();
        batch.push(waiting);
        let room = notifications < BATCH_MAX;
        next = room.then(|| queue.try_recv().ok()).flatten();
    }
    batch
}

/// Commits a batch. Who has a job in it is left to `publish`; everybody else is answered.
async fn write_batch<C, F, P>(batch: Vec<Waiting>, commit: &C, publish: &P)
where
    C: Fn(Arc<[Submission]>) -> F,
    F: Future<Output = Result<Vec<Acceptance>, StoreError>>,
    P: Fn(Vec<Traced>, Vec<Judged>),
{
    let (submissions, asked): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.submission, (waiting.span, waiting.answer)))
        .unzip();
    let submissions: Arc<[Submission]> = submissions.into();
    let results = match commit(Arc::clone(&submissions)).await {
        // One that the database does not take, or that waits for another's lock, must not take the others with it.
        Err(error) if (!error.is_unavailable() || error.is_locked()) && submissions.len() > 1 => {
            let mut results = Vec::with_capacity(submissions.len());
            for submission in submissions.iter() {
                let alone = commit(Arc::new([submission.clone()])).await;
                results.push(alone.and_then(|answers| each(answers, 1).remove(0)));
            }
            results
        }
        Err(error) => vec![Err(error); submissions.len()],
        Ok(answers) => each(answers, submissions.len()),
    };
    measure(&results);
    let (mut jobs, mut with_jobs, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for ((submission, judged), (span, sender)) in submissions.iter().zip(results).zip(asked) {
        committed(&span, &judged, submissions.len());
        let before = jobs.len();
        add_jobs(&mut jobs, submission, &judged);
        let asked = if jobs.len() > before {
            &mut with_jobs
        } else {
            &mut without
        };
        asked.push((sender, judged));
    }
    answer(without);
    if !jobs.is_empty() {
        publish(jobs, with_jobs);
    }
}

/// What the database made of a request.
fn committed(span: &Span, judged: &Result<Acceptance, StoreError>, requests: usize) {
    if let Ok(Acceptance::Now(_)) = judged {
        metrics::stage(Stage::Commit, span.elapsed());
    }
    span.end(SpanKind::Internal, "commit", |about| {
        about.set(
            "push.batch.requests",
            i64::try_from(requests).unwrap_or(i64::MAX),
        );
        if let Err(error) = judged {
            about.failed(if error.is_unavailable() {
                "database_unavailable"
            } else {
                "database"
            });
        }
    });
}

/// Whoever asked may be gone; the notification is committed all the same.
fn answer(asked: Vec<Judged>) {
    for (answer, result) in asked {
        drop(answer.send(result));
    }
}

/// The first jobs of what was accepted and is due now, in order.
fn add_jobs(
    jobs: &mut Vec<Traced>,
    submission: &Submission,
    judged: &Result<Acceptance, StoreError>,
) {
    let Ok(Acceptance::Now(items)) = judged else {
        return;
    };
    let news = submission.notifications.iter().zip(items);
    for (news, _) in news.filter(|(_, item)| **item == Item::Accepted) {
        if news.is_late() {
            metrics::settled(Status::Suppressed, Some(Reason::Expired));
        } else if news.send_at.is_none() {
            // Those that are to be sent later wait in the database.
            jobs.push((Job::first(news.clone()), submission.trace));
        }
    }
}

fn measure(results: &[Result<Acceptance, StoreError>]) {
    let (mut accepted, mut replayed, mut limited) = (0, 0, 0);
    for acceptance in results.iter().flatten() {
        match acceptance {
            Acceptance::Now(items) => items.iter().for_each(|item| match item {
                Item::Accepted => accepted += 1,
                Item::Ignored(why) => metrics::ignored(*why),
                Item::RateLimited(_) => limited += 1,
                Item::UnknownCustomer => {}
            }),
            Acceptance::Before(_) => replayed += 1,
            Acceptance::KeyReused => {}
        }
    }
    if accepted > 0 {
        metrics::accepted(accepted);
    }
    metrics::replayed(replayed);
    metrics::rate_limited(Limit::Customer, limited);
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
    use push_core::trace::SampledShare;
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
            send_at: None,
            expires_at: created_at + Ttl::DEFAULT.as_duration(),
        };
        Submission {
            notifications: Arc::new([notification]),
            event: None,
            keyed: None,
            origin: String::new(),
            trace: TraceContext::begin(SampledShare::default()),
        }
    }

    fn many(count: usize) -> Submission {
        let one = submission(1).notifications[0].clone();
        Submission {
            notifications: vec![one; count].into(),
            event: None,
            keyed: None,
            origin: String::new(),
            trace: TraceContext::begin(SampledShare::default()),
        }
    }

    fn accepted() -> Acceptance {
        Acceptance::Now(vec![Item::Accepted])
    }

    /// Customer 1 is known, 2 is not, 3 makes the database refuse its statement, 4 makes it go away, 5 is locked by
    /// somebody.
    fn judge(batch: &[Submission]) -> Result<Vec<Acceptance>, StoreError> {
        let answer = |submission: &Submission| match submission.notifications[0].customer.get() {
            1 => Ok(Acceptance::Now(vec![
                Item::Accepted;
                submission.notifications.len()
            ])),
            2 => Ok(Acceptance::Now(vec![Item::UnknownCustomer])),
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
        let commit = move |batch: Arc<[Submission]>| {
            let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
            async move {
                gate.acquire().await.unwrap().forget();
                seen.lock().unwrap().push(all_of(&batch).count());
                judge(&batch)
            }
        };
        let acceptor = Acceptor::with_writers(&tasks, commit, async |_| {});
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
            assert_eq!(lone.await.unwrap(), Ok(Accepted::Now(vec![Item::Accepted])));
        }
        assert_eq!(
            known.await.unwrap(),
            Ok(Accepted::Now(vec![Item::Accepted]))
        );
        assert_eq!(
            unknown.await.unwrap(),
            Ok(Accepted::Now(vec![Item::UnknownCustomer]))
        );
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
                    let span = Span::within(submission.trace);
                    (
                        Waiting {
                            submission,
                            span,
                            answer,
                        },
                        answered,
                    )
                })
                .into_iter()
                .unzip();
            write_batch(
                waiting,
                &|batch: Arc<[Submission]>| async move { judge(&batch) },
                &|_, asked| answer(asked),
            )
            .await;
            let mut got = Vec::new();
            for answered in answers {
                got.push(answered.await.unwrap());
            }
            assert_eq!(got, [Ok(accepted()), Err(error), Ok(accepted())]);
        }
    }

    /// A slow broker holds up those who have a job on their way to it, and nobody else.
    #[tokio::test]
    async fn who_has_a_job_is_answered_when_it_is_published_and_others_go_on_meanwhile() {
        let confirmed = Arc::new(Semaphore::new(0));
        let tasks = TaskTracker::new();
        let broker = Arc::clone(&confirmed);
        let acceptor = Acceptor::with_writers(
            &tasks,
            async |batch: Arc<[Submission]>| judge(&batch),
            move |jobs: Vec<Traced>| {
                let broker = Arc::clone(&broker);
                async move {
                    assert_eq!(jobs.len(), 1);
                    broker.acquire().await.unwrap().forget();
                }
            },
        );
        let mut accepting = tokio::task::JoinSet::new();
        for _ in 0..3 * WRITERS {
            let acceptor = acceptor.clone();
            accepting.spawn(async move { acceptor.accept(submission(1)).await });
            settle_tasks().await;
        }
        let unknown = acceptor.accept(submission(2)).await;
        assert!(matches!(unknown, Ok(Accepted::Now(_))), "it has no job");
        assert!(accepting.try_join_next().is_none());
        // They are asked for at once, all of them.
        confirmed.add_permits(3 * WRITERS);
        let all = accepting.join_all().await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(confirmed.available_permits(), 0);
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
    async fn requests_with_many_share_a_transaction_up_to_a_size_and_are_not_in_the_way_of_single_ones()
     {
        let (acceptor, permits, sizes, _tasks) = paced();
        let send = |submission| {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(submission).await })
        };
        let mut asked = Vec::new();
        for count in [1_000, 1_000, BATCH_MAX - 1, 1_000, 2, 3] {
            asked.push(send(many(count)));
            settle_tasks().await;
        }
        // One transaction with many is under way, and each writer of single ones is free.
        for _ in 0..2 * WRITERS {
            asked.push(send(submission(1)));
            settle_tasks().await;
        }
        permits.add_permits(100);
        for asked in asked {
            assert!(matches!(asked.await.unwrap(), Ok(Accepted::Now(_))));
        }
        let mut sizes = sizes.lock().unwrap().clone();
        sizes.sort_unstable();
        assert_eq!(
            sizes,
            [1, 1, 2, 5, 1_000, 1_000, BATCH_MAX - 1 + 1_000],
            "a size is reached before a request more is taken"
        );
    }

    #[tokio::test]
    async fn too_many_requests_with_many_are_refused_and_single_ones_are_not() {
        let (acceptor, permits, _, _tasks) = paced();
        let mut accepting = tokio::task::JoinSet::new();
        for _ in 0..MANY_WAITING_MAX + MANY_WRITERS {
            let acceptor = acceptor.clone();
            accepting.spawn(async move { acceptor.accept(many(1_000)).await });
            settle_tasks().await;
        }
        let told = acceptor.accept(many(2)).await.unwrap_err();
        assert_eq!(told, ApiError::Overloaded);
        permits.add_permits(1_000);
        assert!(acceptor.accept(submission(1)).await.is_ok());
        let all = accepting.join_all().await;
        assert!(all.iter().all(Result::is_ok));
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
