//! Collects what waits, across all jobs, into requests of up to a hundred messages.
//!
//! Nothing is held back to fill a batch: a request takes what is there when it may go. While all
//! requests are under way the queue fills, and then senders wait.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use push_core::outcome::{Cause, Outcome, Retry, Sent, Withheld};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::at_once;
use crate::expo::api::{BATCH_MAX, ExpoApi};
use crate::expo::classify::Verdict;
use crate::push::Push;
use crate::transport::Failure;

/// One more set of requests than can be under way; beyond that, senders wait.
const QUEUE_MAX: usize = 6 * BATCH_MAX as usize;

/// A push whose sender waits for its outcome.
#[derive(Debug)]
struct Waiting {
    push: Push,
    reply: oneshot::Sender<Result<Outcome, Withheld>>,
}

/// The senders' side. The batcher ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Batcher {
    queue: mpsc::Sender<Waiting>,
}

impl Batcher {
    pub(crate) fn start(api: Arc<ExpoApi>, runtime: &Handle) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        runtime.spawn(run(api, waiting));
        Self { queue }
    }

    /// Queues a push and waits for what becomes of it.
    pub(crate) async fn send(&self, push: Push) -> Result<Outcome, Withheld> {
        let (reply, outcome) = oneshot::channel();
        if self.queue.send(Waiting { push, reply }).await.is_err() {
            let stopping = Failure::not_sent("stopping", "The push service is stopping.");
            return Ok(stopping.into());
        }
        let lost = || {
            let stopped = Failure::maybe_sent(
                "stopped",
                "The push service was stopped before Expo's answer came.",
            );
            Ok(stopped.into())
        };
        outcome.await.unwrap_or_else(|_| lost())
    }
}

async fn run(api: Arc<ExpoApi>, mut queue: mpsc::Receiver<Waiting>) {
    let batch_max = usize::try_from(api.batch_max.get()).unwrap_or(1);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, batch_max).await > 0 {
        let Ok(permit) = Arc::clone(&api.requests).acquire_owned().await else {
            return;
        };
        // What came while all requests were under way.
        while batch.len() < batch_max
            && let Ok(waiting) = queue.try_recv()
        {
            batch.push(waiting);
        }
        let (api, batch) = (Arc::clone(&api), mem::take(&mut batch));
        tokio::spawn(async move {
            deliver(&api, batch).await;
            drop(permit);
        });
    }
}

/// How far a batch has been taken apart.
#[derive(Clone, Copy)]
enum Parts {
    Whole,
    Project,
}

/// Sends a batch, and parts of it again where Expo refused the whole because of a part. Ends:
/// parts get smaller each time, and of a single message any refusal is the outcome.
async fn deliver(api: &ExpoApi, batch: Vec<Waiting>) {
    let mut todo = vec![(Parts::Whole, batch)];
    while let Some((parts, batch)) = todo.pop() {
        let (batch, verdict) = send(api, batch).await;
        match (verdict, parts) {
            (Verdict::Each(outcomes), _) => batch
                .into_iter()
                .zip(outcomes)
                .for_each(|(waiting, outcome)| waiting.answer(outcome)),
            (Verdict::All(outcome), _) => {
                if let Outcome::Retry(retry) = &outcome {
                    let rest = mem::take(&mut todo)
                        .into_iter()
                        .flat_map(|(_, batch)| batch);
                    answer_all(rest, &not_reached(retry));
                }
                answer_all(batch, &outcome);
            }
            (Verdict::OneIsBad(outcome), _) if batch.len() == 1 => answer_all(batch, &outcome),
            (Verdict::SeveralProjects(_), _) if batch.len() == 1 => {
                answer_all(batch, &contradiction())
            }
            (Verdict::SeveralProjects(groups), Parts::Whole) => {
                todo.extend(
                    by_project(batch, &groups)
                        .into_values()
                        .map(|group| (Parts::Project, group)),
                );
            }
            (Verdict::SeveralProjects(_), Parts::Project) | (Verdict::OneIsBad(_), _) => {
                todo.extend(
                    batch
                        .into_iter()
                        .map(|waiting| (Parts::Project, vec![waiting])),
                );
            }
        }
    }
}

/// Sends those that are still wanted, and again at once what was not processed: by then, some may be wanted no more.
async fn send(api: &ExpoApi, mut batch: Vec<Waiting>) -> (Vec<Waiting>, Verdict) {
    let mut pauses = at_once::pauses();
    loop {
        // Before, so that nothing of the rate goes to those; and after, since the rate may have them wait.
        batch = still_wanted(batch);
        api.turn_of(batch.len()).await;
        batch = still_wanted(batch);
        if batch.is_empty() {
            return (batch, Verdict::Each(Vec::new()));
        }
        let pushes: Vec<&Push> = batch.iter().map(|waiting| &waiting.push).collect();
        match api.send(&pushes).await {
            Ok(verdict) => return (batch, verdict),
            Err(failure) => match pauses.next().filter(|_| failure.at_once) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return (batch, Verdict::All(failure.into())),
            },
        }
    }
}

impl Waiting {
    /// Whoever has stopped waiting needs no answer.
    fn answer(self, outcome: Outcome) {
        self.reply.send(Ok(outcome)).ok();
    }

    /// The push, unless it is to be withheld: then its sender learns why. Nobody waits any more where the
    /// outcome would be recorded nowhere.
    fn if_wanted(self, now: DateTime<Utc>) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        let Some(withheld) = self.push.withheld(now) else {
            return Some(self);
        };
        self.reply.send(Err(withheld)).ok();
        None
    }
}

fn answer_all(batch: impl IntoIterator<Item = Waiting>, outcome: &Outcome) {
    batch
        .into_iter()
        .for_each(|waiting| waiting.answer(outcome.clone()));
}

/// Without those that became unwanted while they waited for their turn.
fn still_wanted(batch: Vec<Waiting>) -> Vec<Waiting> {
    let now = Utc::now();
    batch
        .into_iter()
        .filter_map(|waiting| waiting.if_wanted(now))
        .collect()
}

/// Those whose turn never came, since the parts before them met trouble: they do not wait behind it.
fn not_reached(trouble: &Retry) -> Outcome {
    Outcome::Retry(Retry {
        sent: Sent::SurelyNot,
        ..trouble.clone()
    })
}

/// Keyed by the group; tokens that Expo did not list are a group of their own.
fn by_project(
    batch: Vec<Waiting>,
    groups: &[Vec<String>],
) -> BTreeMap<Option<usize>, Vec<Waiting>> {
    let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for waiting in batch {
        let token = waiting.push.token.reveal();
        let group = groups
            .iter()
            .position(|group| group.iter().any(|listed| listed == token));
        parts.entry(group).or_default().push(waiting);
    }
    parts
}

fn contradiction() -> Outcome {
    Outcome::Refused(Cause::new(
        "PUSH_TOO_MANY_EXPERIENCE_IDS",
        "Expo finds several projects in a single message; its answer makes no sense.",
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use futures::{FutureExt, poll};

    use super::*;
    use crate::tests::golden;
    use crate::{ExpoSettings, Look};

    #[tokio::test]
    async fn when_the_queue_is_full_senders_wait() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = ExpoSettings {
            base_url: "http://unused".to_owned(),
            access_token: None,
            rate: 600.try_into().unwrap(),
            request_timeout: Duration::from_secs(30),
            look: Look::default(),
        };
        let api = Arc::new(ExpoApi::new(settings).unwrap());
        // As if all requests were under way, and stayed so.
        let requests = u32::try_from(api.requests.available_permits()).unwrap();
        api.requests.acquire_many(requests).await.unwrap().forget();
        let batcher = Batcher::start(api, &Handle::current());

        let senders = (0..2 * QUEUE_MAX).map(|_| batcher.send(golden::push_now("expo")));
        // Without tokio's limit of 128 operations a turn.
        let mut senders = tokio::task::unconstrained(join_all(senders)).boxed();
        // In between the batcher has its turn, and takes one batch into its hands.
        for _ in 0..3 {
            assert!(poll!(&mut senders).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(poll!(&mut senders).is_pending());
        assert_eq!(batcher.queue.capacity(), 0);
        assert!(
            batcher.queue.try_reserve().is_err(),
            "no more than {QUEUE_MAX} are held"
        );
    }
}
