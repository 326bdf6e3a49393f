//! Which of the jobs that came out of the queue are worked on here and now, and for which devices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use push_core::admit::{Admission, admit};
use push_core::id::{CustomerId, NotificationId};
use push_core::job::{GiveUpReason, Job};
use push_core::left_out::left_out;
use push_core::notification::Notification;
use push_core::plan::PlannedTarget;
use push_core::preferences::Preferences;
use push_core::timeline::{Step, TimelineEntry};
use push_core::wanted::{Suppression, Verdict, judge};
use push_queue::{ConsumeFrom, Delivery, Message, Route, Unreadable};
use push_store::{Claim, ClaimId, Claiming, Customer};
use push_trace::{Span, SpanKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::database::{NoResult, has_all_keys, in_time, until_available};
use crate::hand::InHand;
use crate::metrics::{self, CacheAsked, Stage};
use crate::run::Worker;
use crate::subscription::give_back;

/// A job that is to be worked on now.
pub struct Admitted {
    pub delivery: Delivery,
    /// From the queue to the record.
    pub span: Span,
    pub job: Arc<Job>,
    pub what: What,
    pub in_hand: InHand,
}

/// What is to be done with a job.
pub enum What {
    /// It goes to these devices; and what is to be told of the others.
    Deliver(Vec<PlannedTarget>, Option<String>),
    /// It is ended on purpose.
    Suppress(Suppression),
    /// It waits in the database until then.
    PutOff(DateTime<Utc>),
}

/// What became of a batch.
#[derive(Default)]
pub struct Batch {
    pub admitted: Vec<Admitted>,
    /// Each of these comes after one that is on its way: to be admitted again in a moment.
    pub behind: Vec<Delivery>,
}

/// A job of this batch.
struct Taken {
    delivery: Delivery,
    span: Span,
    job: Job,
    in_hand: InHand,
}

/// Admits a batch with one look at the database. Every delivery of the batch is either in the
/// result or has been acknowledged, dead-lettered or given back to the queue; that, once `pause` is cancelled.
pub async fn admit_batch(
    worker: &Worker,
    batch: Vec<Delivery>,
    pause: &CancellationToken,
) -> Batch {
    let claim = ClaimId::generate();
    let jobs = take(worker, batch, claim, pause).await;
    match look_up(worker, &jobs, claim, pause).await {
        Ok(known) => admit_known(worker, jobs, &known).await,
        Err(NoResult::Stopped) => {
            put_back(worker, jobs).await;
            Batch::default()
        }
        Err(NoResult::Failed(error)) => {
            tracing::warn!(%error, jobs = jobs.len(), "a batch could not be looked up; its jobs are taken one by one");
            one_by_one(worker, jobs, claim, pause).await
        }
    }
}

/// Takes the jobs out of the deliveries. What is no job goes to the dead letters, alone, and so does what is sealed with a key
/// that no program has; what is in hand already is dropped. Taken before the look at the database: a copy that is taken after the
/// first was recorded is seen to be stale.
async fn take(
    worker: &Worker,
    batch: Vec<Delivery>,
    claim: ClaimId,
    pause: &CancellationToken,
) -> Vec<Taken> {
    let mut jobs = Vec::with_capacity(batch.len());
    let (mut copies, mut not_now) = (Vec::new(), Vec::new());
    for delivery in batch {
        if delivery.is_beyond_limit() {
            tracing::error!(
                deliveries = delivery.delivery_count,
                "a message comes again and again: dead-lettered"
            );
            metrics::job("beyond_limit");
            give_up(worker, delivery, GiveUpReason::DeliveryLimit).await;
            continue;
        }
        match delivery.job() {
            Ok(job) => {
                let Some(room) = room(worker, pause).await else {
                    not_now.push(delivery);
                    continue;
                };
                let round = (job.notification.id, job.round);
                let customer = job.notification.customer;
                match worker.hand.take(round, customer, claim, room) {
                    Some(in_hand) => jobs.push(Taken {
                        span: Span::of_request(delivery.trace_parent),
                        delivery,
                        job,
                        in_hand,
                    }),
                    None => {
                        metrics::job("in_hand");
                        copies.push(delivery);
                    }
                }
            }
            Err(Unreadable::Sealed(_)) if !has_all_keys(&worker.store, pause).await => {
                metrics::job("key_missing");
                not_now.push(delivery);
            }
            Err(reason) => {
                tracing::error!(%reason, bytes = delivery.body.len(), "a message on the work queue is no job: dead-lettered");
                metrics::job("poison");
                dead_letter(delivery).await;
            }
        }
    }
    acknowledge(copies).await;
    give_back(worker, ConsumeFrom::Jobs, not_now).await;
    jobs
}

/// Waits until the worker has room: after a reconnect the rounds of the lost connection are still at work.
async fn room(worker: &Worker, pause: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    let room = Arc::clone(&worker.room).acquire_owned();
    // Never closed.
    pause.run_until_cancelled(room).await?.ok()
}

/// What the database knows about a batch of jobs.
struct Known {
    claimed: HashMap<NotificationId, Claiming>,
    customers: HashMap<CustomerId, Arc<Customer>>,
}

/// Claims what is to be worked on, and finds the customers' devices.
async fn look_up(
    worker: &Worker,
    jobs: &[Taken],
    by: ClaimId,
    pause: &CancellationToken,
) -> Result<Known, NoResult> {
    let claim = |taken: &Taken| Claim {
        notification: taken.job.notification.id,
        round: taken.job.round,
    };
    let claims: Vec<_> = jobs.iter().map(claim).collect();
    let mut customers: Vec<_> = jobs
        .iter()
        .map(|taken| taken.job.notification.customer)
        .collect();
    customers.sort_unstable();
    customers.dedup();
    let (claims, customers) = (claims.as_slice(), customers.as_slice());
    let asked = until_available(pause, move || async move {
        // Before the database is asked, so that by its clock the claims last a little longer.
        let since = Instant::now();
        let mut known = worker.cache.known(customers, since);
        let hits = known.len();
        let missing = customers.iter().filter(|id| !known.contains_key(*id));
        let missing: Vec<_> = missing.copied().collect();
        let (claimed, read) = tokio::try_join!(
            worker.store.claim(by, claims, worker.claim_for),
            worker.cache.read(&worker.store, &missing)
        )?;
        known.extend(read);
        let stale = outdated(jobs, &claimed, &known);
        known.extend(worker.cache.read(&worker.store, &stale).await?);
        let asked = CacheAsked {
            hits: hits.saturating_sub(stale.len()),
            misses: missing.len(),
            stale: stale.len(),
        };
        Ok((claimed, known, since, asked))
    });
    let (claimed, customers, since, asked) = asked.await?;
    metrics::cache(&asked, worker.cache.size());
    for taken in jobs {
        let notification = &taken.job.notification;
        // Not a copy of an earlier round in the same batch: dropped, it would let go of the claim of the next one.
        let is_claimed = claimed
            .get(&notification.id)
            .is_some_and(|it| it.claimed.ours && it.claimed.recorded.round < taken.job.round);
        if is_claimed && let Some(customer) = customers.get(&notification.customer) {
            taken
                .in_hand
                .claimed(since, customer.version, worker.claim_for);
        }
    }
    Ok(Known { claimed, customers })
}

/// Customers who changed after they were read.
fn outdated(
    jobs: &[Taken],
    claimed: &HashMap<NotificationId, Claiming>,
    known: &HashMap<CustomerId, Arc<Customer>>,
) -> Vec<CustomerId> {
    let outdated = jobs.iter().filter_map(|taken| {
        let notification = &taken.job.notification;
        let now = claimed.get(&notification.id)?.version;
        let read = known.get(&notification.customer)?.version;
        (read < now).then_some(notification.customer)
    });
    let mut outdated: Vec<_> = outdated.collect();
    outdated.sort_unstable();
    outdated.dedup();
    outdated
}

/// So that one row that cannot be read holds up no other job.
async fn one_by_one(
    worker: &Worker,
    jobs: Vec<Taken>,
    claim: ClaimId,
    pause: &CancellationToken,
) -> Batch {
    let mut batch = Batch::default();
    for taken in jobs {
        let single = vec![taken];
        match look_up(worker, &single, claim, pause).await {
            Ok(known) => {
                let one = admit_known(worker, single, &known).await;
                batch.admitted.extend(one.admitted);
                batch.behind.extend(one.behind);
            }
            Err(NoResult::Stopped) => put_back(worker, single).await,
            Err(NoResult::Failed(error)) => {
                for Taken { delivery, job, .. } in single {
                    tracing::error!(%error, notification.id = %job.notification.id, "the job cannot be looked up: dead-lettered");
                    metrics::job("unprocessable");
                    dead_letter(delivery).await;
                }
            }
        }
    }
    batch
}

async fn admit_known(worker: &Worker, jobs: Vec<Taken>, known: &Known) -> Batch {
    let mut batch = Batch::default();
    let mut done = Vec::new();
    let mut elsewhere = Vec::new();
    let mut copies = Vec::new();
    for Taken {
        delivery,
        span,
        mut job,
        in_hand,
    } in jobs
    {
        let claiming = known.claimed.get(&job.notification.id);
        let admission = admit(&job, claiming.map(|claiming| claiming.claimed));
        match admission {
            Admission::Deliver | Admission::DeliverInterrupted => {
                job.interrupted = admission == Admission::DeliverInterrupted;
                if job.round == 1 {
                    worker.watermark.taken(job.notification.created_at);
                    if !job.interrupted {
                        let waited = since_due(&job.notification, Utc::now());
                        metrics::stage(Stage::Queue, waited.saturating_sub(span.elapsed()));
                    }
                }
                metrics::stage(Stage::Admit, span.elapsed());
                span.first_part().end(SpanKind::Internal, "admit", |_| {});
                let what = match verdict(worker, &job, claiming, known) {
                    Verdict::Deliver => plan(worker, &job, known),
                    Verdict::Suppress(why) => {
                        metrics::job("suppressed");
                        What::Suppress(why)
                    }
                    Verdict::PutOff(until) => {
                        metrics::job("put_off");
                        What::PutOff(until)
                    }
                };
                batch.admitted.push(Admitted {
                    delivery,
                    span,
                    job: Arc::new(job),
                    what,
                    in_hand,
                });
            }
            Admission::Interrupts => {
                tracing::error!(notification.id = %job.notification.id, "one worker after the other was interrupted while it had this in hand: dead-lettered");
                metrics::job("interrupts");
                give_up(worker, delivery, GiveUpReason::DeliveryLimit).await;
            }
            Admission::AlreadySettled => {
                metrics::job("already_settled");
                copies.push(job.notification.id);
                done.push(delivery);
            }
            Admission::Stale => {
                metrics::job("stale");
                copies.push(job.notification.id);
                done.push(delivery);
            }
            Admission::Elsewhere => {
                metrics::job("elsewhere");
                elsewhere.push(delivery);
            }
            Admission::Behind => batch.behind.push(delivery),
            Admission::Unknown => {
                tracing::error!(notification.id = %job.notification.id, "the database has no such notification: dead-lettered");
                metrics::job("unknown");
                dead_letter(delivery).await;
            }
        }
    }
    acknowledge(done).await;
    tell_of_copies(worker, &copies).await;
    postpone(worker, elsewhere, worker.claim_for).await;
    batch
}

/// How long it has been on its way: since it was accepted, or since the time that it was to be sent at.
pub fn since_due(notification: &Notification, now: DateTime<Utc>) -> Duration {
    let due = notification.send_at.unwrap_or(notification.created_at);
    // By two machines' clocks.
    (now - due).to_std().unwrap_or_default()
}

/// Should that not come to pass, nothing else is wrong.
async fn tell_of_copies(worker: &Worker, copies: &[NotificationId]) {
    let text = "a copy of its job came out of the queue, and was skipped: its round is recorded";
    let entry = TimelineEntry::new(Utc::now(), Step::Duplicate, text);
    if let Err(error) = in_time(worker.store.tell(copies, &entry, true)).await {
        tracing::debug!(%error, "some timelines do not tell of a copy");
    }
}

/// Whether it is still wanted.
fn verdict(worker: &Worker, job: &Job, claiming: Option<&Claiming>, known: &Known) -> Verdict {
    let claimed = claiming.map(|claiming| claiming.claimed);
    if claimed.is_some_and(|claimed| claimed.erased) {
        return Verdict::Suppress(Suppression::Erased);
    }
    let newest = claimed.and_then(|claimed| claimed.newest);
    let everything = Preferences::default();
    let customer = known.customers.get(&job.notification.customer);
    let preferences = customer.map_or(&everything, |customer| &customer.preferences);
    let mandatory = &worker.mandatory_types;
    judge(job, newest, preferences, mandatory, Utc::now())
}

/// The devices that it goes to, and why not to the others: where they are chosen, once.
fn plan(worker: &Worker, job: &Job, known: &Known) -> What {
    let customer = known.customers.get(&job.notification.customer);
    let devices = customer.map_or(&[][..], |customer| customer.devices.as_slice());
    let off = customer.map_or(&[][..], |customer| customer.off.as_slice());
    let targets = worker.reach.plan(job, devices);
    count(job, &targets);
    let are_chosen = job.targets.is_none();
    let left_out = are_chosen.then(|| left_out(&worker.reach, devices, off));
    What::Deliver(targets, left_out.flatten())
}

/// What an interrupted worker may have sent is maybe delivered, whatever comes of it now.
fn count(job: &Job, targets: &[PlannedTarget]) {
    if !job.interrupted {
        return metrics::job("delivered");
    }
    tracing::warn!(notification.id = %job.notification.id, "a worker was interrupted while it had this in hand: maybe sent already");
    metrics::job("interrupted");
    targets
        .iter()
        .for_each(|planned| metrics::maybe_delivered(planned.target.provider));
}

/// Looks at jobs again after a wait, which is mostly that for the claim of the worker that has them in hand. That spends no
/// attempt.
pub async fn postpone(worker: &Worker, jobs: Vec<Delivery>, wait: Duration) {
    if jobs.is_empty() {
        return;
    }
    let route = Route::Retry(worker.ladder.rung_for(wait));
    let messages = jobs.iter().map(|delivery| (route, Message::anew(delivery)));
    let results = worker.broker.publish_all(messages.collect()).await;
    let mut done = Vec::new();
    for (delivery, result) in jobs.into_iter().zip(results) {
        match result {
            Ok(()) => done.push(delivery),
            Err(_) => drop(tokio::spawn(requeue_later(
                delivery,
                wait,
                worker.shutdown.soft.clone(),
            ))),
        }
    }
    acknowledge(done).await;
}

/// Keeps a job that no rung takes (the broker is blocked) until the other worker's claim is over.
/// Returned at once it would come at once, until the broker's delivery limit ended it untried.
async fn requeue_later(delivery: Delivery, wait: Duration, stop: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stop.cancelled() => {}
    }
    requeue(delivery).await;
}

/// Out of hand first: the message may come again at once.
async fn put_back(worker: &Worker, jobs: Vec<Taken>) {
    let deliveries = jobs.into_iter().map(|taken| taken.delivery).collect();
    give_back(worker, ConsumeFrom::Jobs, deliveries).await;
}

/// Acknowledges what is recorded. If the channel is lost, the jobs come again, and are recognised.
pub async fn acknowledge(deliveries: Vec<Delivery>) {
    if push_queue::ack_all(deliveries).await.is_err() {
        tracing::debug!(
            "the channel of finished jobs is lost; their copies will be recognised as stale"
        );
    }
}

/// Returns a job to the queue. If the channel is lost, the broker does so by itself.
pub async fn requeue(delivery: Delivery) {
    if delivery.requeue().await.is_err() {
        tracing::debug!("the channel of a job to be returned is lost; the broker returns it");
    }
}

/// Gives a job up as it is, and says why. Where that cannot be said, the job is more important than the reason.
async fn give_up(worker: &Worker, delivery: Delivery, reason: GiveUpReason) {
    let told = worker
        .broker
        .publish(Route::Dead, delivery.given_up_for(reason));
    match told.await {
        // Should the acknowledgement be lost, it is given up twice, and recorded once.
        Ok(()) => acknowledge(vec![delivery]).await,
        Err(_) => dead_letter(delivery).await,
    }
}

/// Gives a job up as it is. If the channel is lost, it comes again.
pub async fn dead_letter(delivery: Delivery) {
    if delivery.dead_letter().await.is_err() {
        tracing::debug!("the channel of a job to be dead-lettered is lost; it comes again");
    }
}
