//! Record → publish what comes next → acknowledge, for many jobs at a time.
//!
//! The order is the promise: a job is acknowledged only when what became of it is committed. Killed
//! before the record, it comes again; killed after it, its copy is recognised as stale, and what
//! comes next is published by the reconciler, because it was recorded too. Only while the database is away for long does a
//! round wait for its record without its message.

use std::pin::pin;
use std::sync::atomic::Ordering;

use chrono::Utc;
use push_core::id::NotificationId;
use push_core::receipt::Ticket;
use push_core::settle::{Next, Settlement};
use push_core::trace::TraceContext;
use push_queue::{Delivery, Message, Route};
use push_store::{ClaimedRound, Recording};
use push_trace::{Span, SpanKind};
use tokio::sync::mpsc;

use crate::admit::{acknowledge, dead_letter};
use crate::database::{NoResult, away_for, in_time, until_available};
use crate::hand::InHand;
use crate::metrics::{self, Stage};
use crate::receipts::remind;
use crate::run::Worker;

/// What is recorded in one transaction at most: 200 rows were seen to take a few milliseconds.
const BATCH_MAX: usize = 200;

/// A job whose round is over.
pub struct Worked {
    message: Option<Delivery>,
    spans: Spans,
    settlement: Settlement,
    in_hand: InHand,
}

/// Where its time went.
#[derive(Clone, Copy)]
struct Spans {
    /// From the queue to the record.
    job: Span,
    /// From the end of its round to the record.
    settle: Span,
}

impl Worked {
    /// What came of the job in `message`, which has been in hand for as long as `job` tells.
    pub fn new(message: Delivery, job: Span, settlement: Settlement, in_hand: InHand) -> Self {
        Self {
            spans: Spans {
                job,
                settle: Span::within(job.context()),
            },
            message: Some(message),
            settlement,
            in_hand,
        }
    }
}

/// A round that waits for its record. Its message does not wait for ever (see [`crate::subscription`]): without one it is
/// recorded all the same; and should that not come to pass, the reconciler finds the notification, who lets owners
/// record first.
struct Waiting {
    message: Option<Delivery>,
    spans: Spans,
    in_hand: InHand,
}

/// Settles whatever is waiting, until nothing more can come.
pub async fn run(worker: &Worker, worked: mpsc::Receiver<Worked>) {
    let mut inbox = Inbox {
        worked,
        waiting: Vec::new(),
    };
    loop {
        let batch = inbox.next_batch().await;
        if batch.is_empty() {
            return;
        }
        settle_batch(worker, batch, &mut inbox).await;
    }
}

/// What is still to be settled.
struct Inbox {
    worked: mpsc::Receiver<Worked>,
    /// Taken out before its turn.
    waiting: Vec<Worked>,
}

impl Inbox {
    async fn next_batch(&mut self) -> Vec<Worked> {
        if self.waiting.is_empty() {
            self.worked.recv_many(&mut self.waiting, BATCH_MAX).await;
        }
        let batch = self.waiting.len().min(BATCH_MAX);
        self.waiting.drain(..batch).collect()
    }

    /// The messages of all that waits.
    fn take_messages(&mut self) -> impl Iterator<Item = Delivery> {
        self.waiting
            .extend(std::iter::from_fn(|| self.worked.try_recv().ok()));
        self.waiting
            .iter_mut()
            .filter_map(|worked| worked.message.take())
    }
}

async fn settle_batch(worker: &Worker, batch: Vec<Worked>, inbox: &mut Inbox) {
    let (mut rounds, mut waiting) = (Vec::new(), Vec::new());
    for worked in batch {
        rounds.push(ClaimedRound {
            claim: worked.in_hand.claim(),
            version: worked.in_hand.version(),
            settlement: worked.settlement,
        });
        waiting.push(Waiting {
            message: worked.message,
            spans: worked.spans,
            in_hand: worked.in_hand,
        });
    }
    match record(worker, &rounds, &mut waiting, inbox).await {
        Ok(recordings) => follow_up(worker, waiting, &rounds, &recordings).await,
        Err(NoResult::Stopped) => abandon(worker, waiting),
        Err(NoResult::Failed(error)) => {
            tracing::warn!(%error, rounds = rounds.len(), "a batch could not be recorded; its rounds are taken one by one");
            for (round, waiting) in rounds.into_iter().zip(waiting) {
                settle_one(worker, round, waiting, inbox).await;
            }
        }
    }
}

/// So that one round that cannot be recorded holds up no other.
async fn settle_one(worker: &Worker, round: ClaimedRound, waiting: Waiting, inbox: &mut Inbox) {
    let (round, mut waiting) = ([round], vec![waiting]);
    match record(worker, &round, &mut waiting, inbox).await {
        Ok(recordings) => follow_up(worker, waiting, &round, &recordings).await,
        Err(NoResult::Stopped) => abandon(worker, waiting),
        Err(NoResult::Failed(error)) => {
            let [round] = round;
            let notification = round.settlement.notification;
            tracing::error!(%error, notification.id = %notification, "the round cannot be recorded: dead-lettered");
            metrics::job("unprocessable");
            for waiting in &waiting {
                let round = (notification, round.settlement.round);
                end_job(&waiting.spans.job, round, Err("unprocessable"));
            }
            for message in waiting.into_iter().filter_map(|waiting| waiting.message) {
                dead_letter(message).await;
            }
        }
    }
}

/// Unacknowledged, the jobs go back to the queue.
fn abandon(worker: &Worker, waiting: Vec<Waiting>) {
    let messages = waiting.into_iter().filter_map(|waiting| waiting.message);
    messages.for_each(|message| worker.abandoned.keep(message));
}

async fn record(
    worker: &Worker,
    rounds: &[ClaimedRound],
    waiting: &mut [Waiting],
    inbox: &mut Inbox,
) -> Result<Vec<Recording>, NoResult> {
    let record = move || {
        let receipts_after = worker.receipts.first.as_duration();
        worker
            .store
            .record(rounds, Utc::now(), worker.reconcile_after, receipts_after)
    };
    let mut recorded = pin!(until_available(&worker.shutdown.hard, record));
    loop {
        tokio::select! {
            recorded = &mut recorded => return recorded,
            () = away_for(worker.give_back_after) => {
                let messages = waiting.iter_mut().filter_map(|waiting| waiting.message.take());
                acknowledge(messages.chain(inbox.take_messages()).collect()).await;
            }
        }
    }
}

/// Publishes what comes next for the rounds that were not recorded before, then acknowledges all.
async fn follow_up(
    worker: &Worker,
    waiting: Vec<Waiting>,
    rounds: &[ClaimedRound],
    recordings: &[Recording],
) {
    let (mut next, mut tickets, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for ((waiting, round), recording) in waiting.into_iter().zip(rounds).zip(recordings) {
        // Recorded, a copy is recognised by the record; and the next round may come any moment.
        waiting.in_hand.recorded();
        if *recording == Recording::Recorded {
            let settlement = &round.settlement;
            let trace = waiting.spans.job.context();
            next.extend(next_message(settlement, trace));
            tickets.extend(Ticket::of(settlement));
            metrics::settled(settlement);
            waiting.spans.end(settlement);
            log(settlement, trace);
        } else {
            let round = (round.settlement.notification, round.settlement.round);
            end_job(&waiting.spans.job, round, Err("recorded_before"));
        }
        messages.extend(waiting.message);
    }
    let receipts = Route::ReceiptsAfter(worker.receipts.first);
    tokio::join!(
        publish_next(worker, next),
        remind(worker, receipts, &tickets)
    );
    acknowledge(messages).await;
}

impl Spans {
    /// The round is recorded.
    fn end(&self, settlement: &Settlement) {
        metrics::stage(Stage::Settle, self.settle.elapsed());
        self.settle.end(SpanKind::Internal, "settle", |_| {});
        let next = Ok(metrics::next_label(&settlement.next));
        end_job(&self.job, (settlement.notification, settlement.round), next);
    }
}

/// A round is over: what comes next, or why nobody recorded that. By OpenTelemetry's names ("Semantic conventions for
/// RabbitMQ").
pub fn end_job(
    span: &Span,
    round: (NotificationId, u32),
    next: Result<&'static str, &'static str>,
) {
    span.end(SpanKind::Consumer, "process push.jobs", |about| {
        about.set("messaging.system", "rabbitmq");
        about.set("messaging.operation.type", "process");
        about.set("messaging.destination.name", "push.jobs");
        about.set("messaging.message.id", round.0.to_string());
        about.set("push.round", i64::from(round.1));
        match next {
            Ok(next) => about.set("push.next", next),
            Err(why) => about.failed(why),
        }
    });
}

type NextMessage = (NotificationId, (Route, Message));

fn next_message(settlement: &Settlement, trace: TraceContext) -> Option<NextMessage> {
    let (route, job) = match &settlement.next {
        Next::Done(_) | Next::Later(..) => return None,
        Next::Wait(rung, job) => (Route::Retry(*rung), job),
        Next::DeadLetter(job) => (Route::Dead, job),
    };
    Some((
        settlement.notification,
        (route, Message::job(job, Some(trace))),
    ))
}

/// What the broker does not confirm is left to the reconciler, who finds it in the database: at once
/// what surely was not published, in due time what may be.
async fn publish_next(worker: &Worker, next: Vec<NextMessage>) {
    if next.is_empty() {
        return;
    }
    let (ids, messages): (Vec<_>, Vec<_>) = next.into_iter().unzip();
    let results = worker.broker.publish_all(messages).await;
    let lost = ids
        .into_iter()
        .zip(results)
        .filter_map(|(id, result)| Some((id, result.err()?)));
    let lost: Vec<_> = lost.collect();
    let refused_before = worker
        .next_is_refused
        .swap(!lost.is_empty(), Ordering::Relaxed);
    let Some((_, error)) = lost.first() else {
        return;
    };
    // Once an outage, not once a batch.
    if !refused_before {
        tracing::warn!(%error, jobs = lost.len(), "the broker does not take what comes next; the reconciler will publish it");
    }
    let surely: Vec<_> = lost
        .iter()
        .filter(|(_, error)| !error.may_be_published())
        .map(|(id, _)| *id)
        .collect();
    let hastened = in_time(worker.store.mark_unpublished(&surely, Utc::now()));
    if let Err(error) = hastened.await {
        tracing::warn!(%error, "could not hasten the reconciler; it will find the jobs when they are due");
    }
}

fn log(settlement: &Settlement, trace: TraceContext) {
    let (id, round, trace) = (settlement.notification, settlement.round, trace.trace_id());
    match &settlement.next {
        Next::Done(ending) => {
            let reason = ending.reason().map_or("", |reason| reason.as_str());
            tracing::info!(notification.id = %id, trace.id = %trace, round, status = ending.status().as_str(), reason, "settled");
        }
        Next::Wait(rung, _) => {
            tracing::info!(notification.id = %id, trace.id = %trace, round, %rung, "waits for its next attempt")
        }
        Next::Later(until, _) => {
            tracing::info!(notification.id = %id, trace.id = %trace, round, %until, "waits in the database")
        }
        Next::DeadLetter(_) => {
            tracing::warn!(notification.id = %id, trace.id = %trace, round, "given up: on its way to the dead letters")
        }
    }
}
